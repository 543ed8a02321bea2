"""Sampler: from hidden tokens to text, and the bound of exactly that way of filling.

Dimensions: B rows, L tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, ClassVar, Protocol, final

import torch
from torch import Tensor
from typing_extensions import Self

from hdiff.corruption.base import Corruption
from hdiff.corruption.masked_units import MaskedUnits
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.heads.base import Head
from hdiff.heads.sampling import AS_IT_IS, Sampling
from hdiff.models.wrapped import unwrapped
from hdiff.samplers.samples import Samples, Score


class HasHead(Protocol):
    """What every sampler asks of a model: a head, which owns the token table, and the mask."""

    head: Head

    @property
    def mask_id(self) -> int:
        """Id of a hidden token."""


class FillsMasks(HasHead, Protocol):
    """What samplers of masked units ask: `Denoiser`, `BlockDenoiser`, or a network of yours with a head."""

    def hidden(self, x_t: Tensor, token_mask: Tensor | None = None) -> Tensor:
        """Output of the trunk.

        Args:
            x_t: Tokens, `mask_id` where hidden, long (B, L).
            token_mask: Real tokens, bool (B, L); None if all are.

        Returns:
            float (B, L, D), D as the head reads it.
        """


OnStep = Callable[[int, Tensor], None]
"""Gets the step that is done, from 0, and the tokens, `mask_id` where hidden, long (B, L).

Step -1 is a random start, where there is one. What it raises ends the sampling."""


class Sampler(ABC):
    """Fills hidden tokens in a number of steps.

    Args:
        sampling: Temperature and truncation of every draw.

    Attributes:
        scores_padding: Whether `score` takes rows with padding.
        bans: Whether some tokens can be left out of its draws.
        process: How it writes, for pages that show it writing; empty if there is nothing to add.
    """

    scores_padding: ClassVar[bool] = True
    bans: ClassVar[bool] = True
    process: str = ""

    def __init__(self, *, sampling: Sampling = AS_IT_IS) -> None:
        self.sampling = self.check_sampling(sampling)

    def check_sampling(self, sampling: Sampling) -> Sampling:
        """Returns `sampling`, or raises DataError if this sampler cannot draw so."""
        return sampling

    def with_sampling(self, sampling: Sampling) -> Self:
        """The same sampler with another way to draw."""
        other = copy(self)
        vars(other).update(sampling=self.check_sampling(sampling))
        return other

    def banning(self, tokens: Sequence[int]) -> Self:
        """The same sampler, which never draws some tokens, for example the one that ends a text."""
        return self.with_sampling(replace(self.sampling, banned=(*self.sampling.banned, *tokens)))

    @property
    def has_bound(self) -> bool:
        """Whether `score` bounds -log p of what `sample` draws from."""
        return self.sampling.is_exact

    def is_exact(self, denoiser: HasHead, corruption: Corruption) -> bool:
        """Whether `score` is -log p itself: its order is a function of the visible tokens alone.

        Source: DUEL, arXiv:2603.01367.

        Args:
            denoiser: The model.
            corruption: Says what the units are.

        Returns:
            False where the order is drawn, so that `score` is one estimate of a bound.
        """
        return False

    def t_step_units(self, corruption: Corruption) -> MaskedUnits | None:
        """Units whose T-step bound is this sampler's, from single steps; None where only `score` knows it."""
        return None

    @abstractmethod
    def sample(
        self,
        denoiser: Any,
        corruption: Corruption,
        tokens: Tensor,
        *,
        generator: torch.Generator | None = None,
        on_step: OnStep | None = None,
    ) -> Samples:
        """Draws samples.

        Args:
            denoiser: The model.
            corruption: Says what the units are; must not be conditional on structure.
            tokens: Rows, `mask_id` where they are to be filled, long (B, L); `hidden_rows` makes fresh ones.
            generator: Source of randomness, on the model's device.
            on_step: Called after every step.

        Returns:
            The samples and their history.

        Raises:
            DataError: If there is nothing to fill, or model, corruption and sampler do not belong together.
        """

    @abstractmethod
    def score(
        self,
        denoiser: Any,
        corruption: Corruption,
        batch: Batch,
        *,
        is_hidden: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Score:
        """Runs the sampler with the true tokens revealed in place of draws.

        Source: docs/concepts.md, "samplers and their bounds".

        Args:
            denoiser: The model.
            corruption: Says what the units are; must not be conditional on structure.
            batch: The texts.
            is_hidden: Tokens to score given the others, bool (B, L); None scores all real tokens.
            generator: Source of randomness, on the model's device.

        Returns:
            One estimate per row of the bound of this sampler.

        Raises:
            DataError: If the sampler has no bound, or as `sample`.
        """


def check_temperature_only(sampling: Sampling, what: str) -> Sampling:
    """Returns `sampling`, or raises DataError if it truncates or bans: `what` has a temperature alone."""
    if sampling != Sampling(temperature=sampling.temperature):
        raise DataError(f"top_k and top_p are for masked units; {what} have a temperature")
    return sampling


class UnscoredSampler(Sampler):
    """A sampler whose way of drawing has no likelihood bound.

    Attributes:
        why_no_score: What `score` says, with what to do instead.
    """

    why_no_score: ClassVar[str]

    @property
    def has_bound(self) -> bool:
        return False

    @final
    def score(
        self,
        denoiser: Any,
        corruption: Corruption,
        batch: Batch,
        *,
        is_hidden: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Score:
        raise DataError(self.why_no_score)


def hidden_rows(denoiser: HasHead, num_rows: int, length: int) -> Tensor:
    """Rows with nothing given.

    Args:
        denoiser: The model that is to fill them.
        num_rows: Rows B.
        length: Tokens per row L.

    Returns:
        `mask_id` everywhere, long (B, L), on the device of the model.

    Raises:
        DataError: If there is not at least one token to fill.
    """
    if num_rows < 1 or length < 1:
        raise DataError(f"{num_rows} samples of {length} tokens; both must be at least 1")
    model = unwrapped(denoiser)
    return torch.full((num_rows, length), model.mask_id, device=model.head.embedding.weight.device)


def check_rows_to_fill(tokens: Tensor, mask_id: int) -> Tensor:
    """Refuses rows with nothing to fill.

    Args:
        tokens: Rows, long (B, L).
        mask_id: Id of a hidden token.

    Returns:
        Where they are hidden, bool (B, L).

    Raises:
        DataError: If the shape is another, or nothing is hidden.
    """
    if tokens.ndim != 2 or not tokens.numel():
        raise DataError(f"the text has shape {tuple(tokens.shape)}; give at least one row of tokens, (B, L)")
    is_masked = tokens == mask_id
    if not bool(is_masked.any()):
        raise DataError(
            f"no token of the text is hidden; put mask_id ({mask_id}) where tokens are to be filled"
        )
    return is_masked


def check_free_rows(tokens: Tensor, mask_id: int, corruption: Corruption) -> None:
    """Raises DataError if some tokens are given, for samplers in which every step may change every token."""
    if not bool(check_rows_to_fill(tokens, mask_id).all()):
        raise DataError(
            f"{type(corruption).__name__} starts from fresh rows only, and some tokens are given; train a "
            f"model of masked units to fill gaps"
        )
