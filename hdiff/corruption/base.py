"""Corruption: how a batch is noised to time t, and what each prediction weighs. Torch only.

Dimensions: B batch, L tokens, S spans, R type streams.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor, nn

from hdiff.data.batch import Batch, Problem
from hdiff.errors import DataError
from hdiff.packed_spans import PackedSpans
from hdiff.schedules import LinearSchedule, Schedule

Count = Literal["exact", "bernoulli"]

SLOWEST = 0.001
"""Least speed k: times U^(1 / k) of a lesser one are 0 in float64."""


@dataclass(frozen=True)
class TypeTerm:
    """The types of one stream that are to be predicted.

    Attributes:
        stream: Which type stream, 0 the coarsest.
        spans: The units whose types are predicted, packed.
        targets: True types, long (B, L).
        weight: Weight of each unit's -log p(types | state), float (S,).
    """

    stream: int
    spans: PackedSpans
    targets: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Corrupted:
    """A batch at time t, and the spans whose prediction counts.

    Attributes:
        x_t: Tokens with `mask_id` where hidden, long (B, L).
        x_0: Clean tokens, long (B, L). The trunk never reads them; joint heads read the tokens
            before a position inside its own span (teacher forcing).
        token_mask: True at real tokens, bool (B, L).
        is_masked: True where x_t is hidden, bool (B, L).
        spans: The spans to predict, whole units among the masked tokens.
        weight: Weight of each span's -log p(x_S | x_t) in the bound, float (S,).
        conditional_on_structure: True if the masked units were computed from x_0; then the bound
            is one on -log p(x_0 | structure) and not comparable with -log p(x_0).
        types_t: Types that are visible, the number of types where hidden, long (B, L, R); None if the
            corruption has no typed masks.
        type_terms: Types to predict; their loss is the structure part of the bound.
        speed: True relative masking speed of each span, float (S,), if the model must predict it;
            the loss then has a rate term. None: all spans are equally fast, or the state shows it.
        is_chain: Whether times are left out (exact counts), so that only ratios of speeds are predicted.
        state_log_prob: log of the probability that this state was drawn given x_0, float64 (B,), if its law
            is learned and gradients are on; the objective needs its derivative. None: nothing to learn.
        document_ids: As in `Batch`: a token may see its own document only. None: it sees the whole row.
    """

    x_t: Tensor
    x_0: Tensor
    token_mask: Tensor
    is_masked: Tensor
    spans: PackedSpans
    weight: Tensor
    conditional_on_structure: bool
    types_t: Tensor | None = None
    type_terms: tuple[TypeTerm, ...] = ()
    speed: Tensor | None = None
    is_chain: bool = False
    state_log_prob: Tensor | None = None
    document_ids: Tensor | None = None


class Corruption(ABC):
    """Takes a batch to time t. Families: unit masking, typed cascades, rates, replacement, Gaussian noise.

    Args:
        mask_id: Id that stands for a hidden token; the vocabulary size by convention, or None to
            have it set by the model that is trained.
        schedule: Schedule of corruption times.
    """

    def __init__(self, *, mask_id: int | None = None, schedule: Schedule | None = None) -> None:
        self.mask_id = mask_id
        self.schedule = LinearSchedule() if schedule is None else schedule

    @abstractmethod
    def corrupt(self, batch: Batch, t: Tensor, *, generator: torch.Generator | None = None) -> Corrupted:
        """Corrupts every row to its time.

        Args:
            batch: The clean batch.
            t: Times in (0, 1], float (B,).
            generator: Source of randomness (on the device of `t`).

        Returns:
            The corrupted batch and the weight of each prediction.

        Raises:
            DataError: If `t` leaves (0, 1], `mask_id` is not set, a row has no real token, or the structure
                of the batch is not valid.
        """

    @property
    @abstractmethod
    def conditional_on_structure(self) -> bool:
        """Whether the bound is one on -log p(x_0 | structure)."""

    @abstractmethod
    def unconditional(self) -> Corruption:
        """The corruption that gives a bound on -log p(x_0) (or on -log p(x_0, structure) above it)."""

    def of_model(self, model: nn.Module) -> Corruption:
        """This corruption with what a model has learned of it.

        Args:
            model: A model that was built for it.

        Returns:
            The corruption itself where nothing of it is learned.
        """
        return self

    def required_levels(self) -> tuple[str, ...]:
        """Levels the data set must keep."""
        return ()

    @property
    def type_sizes(self) -> tuple[int, ...]:
        """Number of types of each typed stream, coarse to fine; the model needs a head for each."""
        return ()

    @property
    def predicts_speed(self) -> bool:
        """Whether the model predicts masking speeds."""
        return False

    @final
    def check(self, batch: Batch, t: Tensor) -> int:
        """Refuses impossible input before any work on it.

        Args:
            batch: The clean batch.
            t: Times in (0, 1], float (B,).

        Returns:
            `mask_id`.

        Raises:
            DataError: Saying what is wrong and what to do.
        """
        if self.mask_id is None:
            raise DataError("the corruption has no mask_id; pass mask_id=vocab_size or let a Denoiser set it")
        if t.shape != batch.input_ids.shape[:1]:
            raise DataError(
                f"t has shape {tuple(t.shape)}; give one time per row, ({batch.input_ids.shape[0]},)"
            )
        batch.check(Problem("times lie in (0, 1]", ~((t > 0) & (t <= 1)).all(), "t", t))
        return self.mask_id


def check_count(count: Count, schedule: Schedule | None) -> Count:
    """Returns `count`, or raises DataError if it is neither `exact` nor `bernoulli`, or impossible."""
    if count not in ("exact", "bernoulli"):
        raise DataError(f"count is '{count}'; use 'exact' or 'bernoulli'")
    if count == "bernoulli" and schedule is not None and schedule.end < 1:
        raise DataError(
            f"the schedule ends at p_mask(1) = {schedule.end:g} and independent times have no bound then; "
            f"use count: exact, or eps: 0"
        )
    return count


def check_k(k: float, what: str) -> float:
    """Returns a speed `k`, or raises DataError if it is no number that times can be drawn with."""
    if not SLOWEST <= k < float("inf"):
        raise DataError(
            f"k of {what} is {k}; a masking speed is a number > 0, at least {SLOWEST} (1: flat masking)"
        )
    return float(k)
