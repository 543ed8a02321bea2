"""Corruption: how a batch is noised to time t, and what each prediction weighs. Torch only.

Dimensions: B batch, L tokens, S spans, R type streams.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, final

import torch
from torch import Tensor, nn

from hdiff.corruption.hiding_times import HidingTimes
from hdiff.corruption.type_code import TypeCode
from hdiff.corruption.visible_streams import VisibleStream
from hdiff.data.batch import Batch, Problem
from hdiff.errors import DataError
from hdiff.packed_spans import PackedSpans
from hdiff.schedules import LinearSchedule, Schedule

Count = Literal["exact", "bernoulli"]

SLOWEST = 0.001
"""Least speed k: times U^(1 / k) of a lesser one are 0 in float64."""

DEFAULT_STEPS = 16
"""Steps T if none are asked for, fewer where there is less to fill."""


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
        flags: Of which kind the units of hidden tokens are, their number in `flag_levels` from 1; 0 for
            random units and visible tokens, long (B, L). None: the state does not tell, as in every bound
            on -log p(x_0).
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
    flags: Tensor | None = None

    @property
    def signal(self) -> float | None:
        """Share of the signal that is left, mean over tokens; None where tokens are hidden or replaced."""
        return None


UnitLengths = Callable[[str], Sequence[float]]
TokenClasses = Callable[[Any], Any]


class MaskedUnits(Protocol):
    """Units of hidden tokens that may be filled in any order; `UnitMasking` is one."""

    @property
    def mask_id(self) -> int | None:
        """Id of a hidden token."""

    @property
    def conditional_on_structure(self) -> bool:
        """Whether the units were parsed from the text."""

    def units(self, batch: Batch, *, generator: torch.Generator | None = None) -> Tensor:
        """Unit ids, long (B, L): 0, 0, 1, 2, 2 ...; no unit holds both real tokens and padding."""


class Corruption(ABC):
    """Takes a batch to time t. Families: unit masking, typed cascades, rates, replacement, Gaussian noise.

    Args:
        mask_id: Id that stands for a hidden token; the vocabulary size by convention, or None to
            have it set by the model that is trained.
        schedule: Schedule of corruption times.

    Attributes:
        network: Kind of network that restores it (`hdiff.factory.NETWORKS`).
        takes_joint_heads: Whether a head may predict several tokens jointly; else it is a product.
        can_be_planned: Whether a planner can say what is filled next.
        sees_whole_rows: Whether every token of its network sees all others.
        keeps_documents_apart: Whether its states say which document a token belongs to.
        is_cascade: Whether types are generated beside the tokens, stream by stream.
        predicted: Which tokens its network predicts, for people.
        block_size: Tokens of a block, where blocks are filled one after another.
    """

    network: ClassVar[str] = "denoiser"
    takes_joint_heads: ClassVar[bool] = True
    can_be_planned: ClassVar[bool] = True
    sees_whole_rows: ClassVar[bool] = True
    keeps_documents_apart: ClassVar[bool] = False
    is_cascade: ClassVar[bool] = False
    predicted: ClassVar[str] = "hidden tokens, given the visible ones"
    block_size: int | None = None

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

    def at(self, progress: float) -> Corruption:
        """This corruption at some point of training.

        Args:
            progress: Share of the updates that are done, in [0, 1].

        Returns:
            The corruption itself where it stays the same.
        """
        return self

    @property
    def flag_levels(self) -> tuple[str, ...]:
        """Levels whose units the state tells from random ones, by the flags 1, 2 ... at hidden tokens."""
        return ()

    def network_options(self, vocab_size: int) -> dict[str, Any]:
        """Arguments of its network besides trunk, head, type heads and planner.

        Args:
            vocab_size: Vocabulary V.
        """
        return {"predicts_speed": self.predicts_speed, "num_flags": len(self.flag_levels)}

    def with_statistics(
        self, *, unit_lengths: UnitLengths | None = None, token_classes: TokenClasses | None = None
    ) -> Corruption:
        """This corruption with what it takes from the training split filled in.

        Args:
            unit_lengths: Gives the distribution of unit lengths of a level; None: not at hand.
            token_classes: Gives the class of each token id for the corruption that asks; None: not at hand.

        Returns:
            The corruption itself where it takes nothing.
        """
        return self

    def for_toy_language(self, vocab_size: int, length: int) -> Corruption:
        """This corruption as an audit sees it: one that texts of a few tokens can tell from simpler ones.

        Args:
            vocab_size: Vocabulary V.
            length: Tokens of a text.

        Returns:
            The corruption itself where nothing has to be chosen.
        """
        return self

    def token_speeds(self, batch: Batch) -> Tensor | None:
        """Hidden masking speed of every token, float64 (B, L); None where speeds are equal or visible.

        Args:
            batch: The clean batch.
        """
        return None

    def plain_sampler(self, num_steps: int | None = None) -> dict[str, Any]:
        """Its sampler, as a recipe names it.

        Args:
            num_steps: Steps T that are wanted; None: as many as it has values to fill.

        Returns:
            `{kind: name}` of `hdiff.samplers.SAMPLERS`.
        """
        return {"kind": "chain"}

    def fewest_steps(self, length: int) -> int | None:
        """Steps T from which on its plain sampler has a bound; None if T says nothing of one.

        Args:
            length: Tokens of a row L.
        """
        return None

    def most_steps(self, length: int) -> int | None:
        """Steps beyond which none has anything left to fill; None where every step may change every token.

        Args:
            length: Tokens of a text L.
        """
        return length * (1 + len(self.type_sizes))

    def default_steps(self, length: int) -> int:
        """Steps T of texts if none are asked for.

        Args:
            length: Tokens of a text L.
        """
        most = self.most_steps(length)
        return DEFAULT_STEPS if most is None else min(DEFAULT_STEPS, most)

    def visible_streams(self, is_masked: Tensor, types_t: Tensor) -> list[VisibleStream]:
        """Units, speeds and readiness of every stream, from what is visible alone.

        Args:
            is_masked: Hidden tokens, bool (B, L).
            types_t: Visible types, the number of types where hidden, long (B, L, R).

        Returns:
            The streams in the order in which they are generated.

        Raises:
            DataError: If its states are not revealed unit by unit.
        """
        raise DataError(
            f"{type(self).__name__} reveals no streams unit by unit; its sampler is "
            f"'{self.plain_sampler()['kind']}'"
        )

    def required_levels(self) -> tuple[str, ...]:
        """Levels the data set must keep."""
        return ()

    def masked_units(self) -> MaskedUnits | None:
        """The units that its model fills in any order, given any others; None for models that do not."""
        return None

    @property
    def type_codes(self) -> tuple[tuple[str, TypeCode], ...]:
        """Level and code of the types of each typed stream, in the order of generation."""
        return ()

    @property
    def type_sizes(self) -> tuple[int, ...]:
        """Number of types of each typed stream; the model needs a head for each."""
        return tuple(code.size for _, code in self.type_codes)

    @property
    def generates_types_first(self) -> bool:
        """Whether types are drawn before the tokens they stand for."""
        return bool(self.type_sizes)

    @property
    def about_states(self) -> str | None:
        """What a person who sees its states must know besides; None: nothing."""
        return None

    def hiding_times(self, batch: Batch, *, generator: torch.Generator | None = None) -> HidingTimes | None:
        """Draws when each token of a text is hidden.

        Args:
            batch: The clean batch.
            generator: Source of randomness.

        Returns:
            The times; None where tokens have no time of their own.
        """
        return None

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
    """Returns a speed `k`, or raises DataError if times cannot be drawn with it."""
    if not SLOWEST <= k < float("inf"):
        raise DataError(
            f"k of {what} is {k}; a masking speed is a number > 0, at least {SLOWEST} (1: flat masking)"
        )
    return float(k)
