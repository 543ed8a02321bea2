"""Segmentation: a sampler's spans, drawn beforehand or predicted from what is visible.

Dimensions: B rows, L tokens, S spans.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Literal, final

import torch
from torch import Tensor

from hdiff.corruption.base import Corruption
from hdiff.corruption.masked_units import MaskedUnits
from hdiff.corruption.token_masking import TokenMasking
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.heads.sampling import AS_IT_IS, Sampling
from hdiff.packed_spans import PackedSpans
from hdiff.samplers.base import HasHead
from hdiff.samplers.choice import Choice, View
from hdiff.samplers.filling import Chooser, MaskedSampler
from hdiff.samplers.selection import cut, limit, shuffle_lengths, spread

Boundaries = Literal["likely", "drawn", "corruption", "shuffled"]
BOUNDARIES: tuple[Boundaries, ...] = ("likely", "drawn", "corruption", "shuffled")
"""Where spans begin; `PlannedSampler` says what each means."""
Segmentation = Literal["corruption", "planned"]
_BOUNDARIES_OF: dict[str, Boundaries] = {"corruption": "corruption", "planned": "likely"}


def check_longest(longest: int) -> int:
    """Returns `longest`, or raises DataError if a span could hold no token."""
    if longest < 1:
        raise DataError(f"longest is {longest}; a span has at least 1 token")
    return longest


def segmenter(
    boundaries: Boundaries,
    corruption: MaskedUnits,
    tokens: Tensor,
    *,
    longest: int,
    generator: torch.Generator | None,
) -> Callable[[View, Tensor], Tensor]:
    """A function that gives the units of every state.

    Args:
        boundaries: Where spans begin.
        corruption: Says what the units are if they are its own.
        tokens: Visible tokens, long (B, L).
        longest: Longest predicted span in tokens.
        generator: Source of randomness.

    Returns:
        A state and the tokens that spans are made of, bool (B, L) -> units, all other tokens being units of
        their own, long (B, L).
    """
    if boundaries == "corruption":
        fixed = corruption.units(Batch.of(tokens), generator=generator)
        return lambda _view, own: cut(fixed, own)
    border = torch.full(tokens.shape, 0.5, device=tokens.device)
    if boundaries == "drawn":
        border = torch.rand(tokens.shape, generator=generator, device=tokens.device)

    def units_of(view: View, own: Tensor) -> Tensor:
        units = limit(view.plan.begin_logit.sigmoid() > border, own, longest)
        return shuffle_lengths(units, own, generator=generator) if boundaries == "shuffled" else units

    return units_of


class SegmentedSampler(MaskedSampler):
    """A sampler that fills some of the spans its text is cut into; subclasses say which.

    Args:
        segmentation: `corruption` (its units, drawn once) or `planned` (likely borders at every state).
        longest: Longest planned span in tokens.
        sampling: Temperature and truncation of every draw.
        refresh: See `MaskedSampler`.
    """

    def __init__(
        self,
        *,
        segmentation: Segmentation = "corruption",
        longest: int = 8,
        sampling: Sampling = AS_IT_IS,
        refresh: int = 1,
    ) -> None:
        super().__init__(sampling=sampling, refresh=refresh)
        if segmentation not in _BOUNDARIES_OF:
            raise DataError(f"segmentation is '{segmentation}'; use 'corruption' (its units) or 'planned'")
        self.segmentation, self.longest = segmentation, check_longest(longest)

    def is_exact(self, denoiser: HasHead, corruption: Corruption) -> bool:
        is_fixed = self.segmentation == "planned" or isinstance(corruption.masked_units(), TokenMasking)
        return self.has_bound and is_fixed

    @abstractmethod
    def take(self, view: View, spans: PackedSpans, generator: torch.Generator | None) -> Tensor:
        """Which spans are filled next.

        Args:
            view: The state.
            spans: All hidden spans.
            generator: Source of randomness.

        Returns:
            bool (S,), at least one in every row that has any.
        """

    @final
    def begin(
        self, corruption: MaskedUnits, tokens: Tensor, is_masked: Tensor, generator: torch.Generator | None
    ) -> Chooser:
        units_of = segmenter(
            _BOUNDARIES_OF[self.segmentation], corruption, tokens, longest=self.longest, generator=generator
        )

        def choose(view: View) -> Choice:
            units = units_of(view, view.is_masked)
            spans = PackedSpans.from_units(units, view.is_masked)
            return Choice(units, spread(self.take(view, spans, generator), spans, units.shape))

        return choose
