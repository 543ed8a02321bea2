"""Corruption: how a batch is noised to time t, and what each prediction weighs.

Dimensions: B batch, L tokens, S spans, R type streams.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from typing_extensions import Self

from hdiff.corruption.corrupted import Corrupted
from hdiff.corruption.hiding_times import HidingTimes
from hdiff.corruption.masked_units import MaskedUnits
from hdiff.corruption.type_code import TypeCode
from hdiff.corruption.visible_streams import VisibleStream
from hdiff.data.batch import Batch, Problem
from hdiff.errors import DataError
from hdiff.schedules import LinearSchedule, Schedule

DEFAULT_STEPS = 16
"""Steps T if none are asked for, fewer where there is less to fill."""

UnitLengths = Callable[[str], Sequence[float]]
TokenClasses = Callable[[Any], Any]


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
        draws_order: Whether its states say in which order their visible tokens were revealed.
        is_cascade: Whether types are generated beside the tokens, stream by stream.
        predicted: Which tokens its network predicts, for people.
        block_size: Tokens of a block, where blocks are filled one after another.
        clean_level: Level of noise of a clean token, where the network is told one.
    """

    network: ClassVar[str] = "denoiser"
    takes_joint_heads: ClassVar[bool] = True
    can_be_planned: ClassVar[bool] = True
    sees_whole_rows: ClassVar[bool] = True
    keeps_documents_apart: ClassVar[bool] = False
    draws_order: ClassVar[bool] = False
    is_cascade: ClassVar[bool] = False
    predicted: ClassVar[str] = "hidden tokens, given the visible ones"
    block_size: int | None = None
    clean_level: float = 0.0

    def __init__(self, *, mask_id: int | None = None, schedule: Schedule | None = None) -> None:
        self.mask_id = mask_id
        self.schedule = LinearSchedule() if schedule is None else schedule

    def changed(self, **values: Any) -> Self:
        """A copy with other values of some attributes."""
        other = copy(self)
        vars(other).update(values)
        return other

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
        """This corruption with what a model has learned of it; itself where nothing of it is learned."""
        return self

    def at(self, progress: float) -> Corruption:
        """This corruption when a share `progress` of the updates is done; itself where it stays the same."""
        return self

    @property
    def flag_levels(self) -> tuple[str, ...]:
        """Levels whose units the state tells from random ones, by the flags 1, 2 ... at hidden tokens."""
        return ()

    def network_options(self, vocab_size: int) -> dict[str, Any]:
        """Arguments of its network besides trunk, head, type heads and planner, for V tokens."""
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
        """Hidden masking speed of every token, float64 (B, L); None where speeds are equal or visible."""
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
        """Steps T from which on its plain sampler has a bound; None if T says nothing of one."""
        return None

    def most_steps(self, length: int) -> int | None:
        """Steps beyond which none has anything left to fill; None where every step may change every token."""
        return length * (1 + len(self.type_sizes))

    def default_steps(self, length: int) -> int:
        """Steps T of texts if none are asked for."""
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
        """Draws when each token of a text is hidden; None where tokens have no time of their own."""
        return None

    @property
    def predicts_speed(self) -> bool:
        """Whether the model predicts masking speeds."""
        return False

    def problems(self, batch: Batch) -> list[Problem]:
        """What may be wrong with the structure of a clean batch for this corruption."""
        return []

    @final
    def check(self, batch: Batch, t: Tensor) -> int:
        """Refuses impossible input before any work on it, times outside of (0, 1] too; returns `mask_id`."""
        if self.mask_id is None:
            raise DataError("the corruption has no mask_id; pass mask_id=vocab_size or let a Denoiser set it")
        if t.shape != batch.input_ids.shape[:1]:
            raise DataError(
                f"t has shape {tuple(t.shape)}; give one time per row, ({batch.input_ids.shape[0]},)"
            )
        if batch.given is not None:
            raise DataError(
                "the batch has given tokens, which a corruption would hide; corrupt it with "
                "hdiff.corruption.corrupt_free(batch, ...)"
            )
        if batch.known is None or batch.known.vocab_size > self.mask_id:
            is_outside = ~((t > 0) & (t <= 1)).all()
            times = Problem("times lie in (0, 1]", is_outside, "t", t)
            batch.check(times, batch.unknown_ids(self.mask_id), structure=self.problems)
        return self.mask_id
