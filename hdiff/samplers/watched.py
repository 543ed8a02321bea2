"""WatchedSampler: a sampler that reports its state after every step. Torch only.

Dimensions: B rows, L tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import final

import torch
from torch import Tensor

from hdiff.corruption.base import Corruption
from hdiff.corruption.unit_masking import UnitMasking
from hdiff.data.batch import Batch
from hdiff.heads.sampling import Sampling
from hdiff.samplers.base import FillsMasks, Sampler, Samples, Score
from hdiff.samplers.filling import Choice, Chooser, MaskedSampler, View

StepCallback = Callable[[int, Tensor], None]
"""Gets the step that is done, from 0, and the tokens, `mask_id` where hidden, long (B, L)."""


@final
class WatchedSampler(Sampler):
    """Draws and scores exactly as another sampler of masked units, and reports every step of drawing.

    Args:
        watched: The sampler.
        callback: Called after every step; what it raises ends the sampling.
    """

    def __init__(self, watched: MaskedSampler, callback: StepCallback) -> None:
        super().__init__(sampling=watched.sampling)
        self.watched = watched
        self.callback = callback

    @property
    def num_steps(self) -> int | None:
        """Steps T of the watched sampler; None if it finds them itself."""
        return getattr(self.watched, "num_steps", None)

    @property
    def has_bound(self) -> bool:
        return _Reporting(self.watched, _nothing, self.sampling).has_bound

    def sample(
        self,
        denoiser: FillsMasks,
        corruption: Corruption,
        *,
        num_samples: int | None = None,
        length: int | None = None,
        text: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Samples:
        reporting = _Reporting(self.watched, self.callback, self.sampling)
        samples = reporting.sample(
            denoiser, corruption, num_samples=num_samples, length=length, text=text, generator=generator
        )
        self.callback(samples.nfe - 1, samples.tokens)
        return samples

    def score(
        self,
        denoiser: FillsMasks,
        corruption: Corruption,
        batch: Batch,
        *,
        is_hidden: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Score:
        silent = _Reporting(self.watched, _nothing, self.sampling)
        return silent.score(denoiser, corruption, batch, is_hidden=is_hidden, generator=generator)


@final
class _Reporting(MaskedSampler):
    """The watched sampler's choices; before each, the state that the step before has left is reported."""

    def __init__(self, watched: MaskedSampler, callback: StepCallback, sampling: Sampling) -> None:
        super().__init__(sampling=sampling, refresh=watched.refresh)
        self.watched = copy(watched)
        self.watched.sampling = sampling
        self.callback = callback

    @property
    def has_bound(self) -> bool:
        return self.watched.has_bound

    def begin(
        self, corruption: UnitMasking, tokens: Tensor, is_masked: Tensor, generator: torch.Generator | None
    ) -> Chooser:
        chooser = self.watched.begin(corruption, tokens, is_masked, generator)

        def choose(view: View) -> Choice:
            if view.step:
                self.callback(view.step - 1, view.tokens)
            return chooser(view)

        return choose


def _nothing(step: int, tokens: Tensor) -> None:
    """Reports to nobody."""
