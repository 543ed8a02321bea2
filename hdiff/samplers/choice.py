"""View and Choice: what a way of filling sees, and what it fills next.

Dimensions: B batch, L tokens, S spans.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

from torch import Tensor
from typing_extensions import Self

from hdiff.errors import DataError
from hdiff.models.planner import Plan
from hdiff.packed_spans import PackedSpans
from hdiff.samplers.base import FillsMasks

Reading = Callable[[Tensor | None], Tensor]
"""Trunk output at places of the flattened batch, long (P,) -> float (P, D), or None -> all, (B, L, D)."""


def at(hidden: Tensor, places: Tensor | None) -> Tensor:
    """A `Reading` of what is read already, with `hidden` bound."""
    return hidden if places is None else hidden.flatten(0, 1)[places]


@dataclass(frozen=True)
class View:
    """What may be looked at when the next spans are chosen. Nothing hidden is in it.

    Attributes:
        denoiser: The model.
        tokens: Tokens, `mask_id` where hidden, long (B, L).
        is_masked: Tokens still to be filled, bool (B, L).
        reading: Reads the state, once it is asked to.
        step: Steps done.
    """

    denoiser: FillsMasks
    tokens: Tensor
    is_masked: Tensor
    reading: Reading
    step: int

    @classmethod
    def of(
        cls, denoiser: FillsMasks, tokens: Tensor, is_masked: Tensor, hidden: Tensor, *, step: int = 0
    ) -> Self:
        """A state that was read already, `hidden` being the trunk's output of all of it."""
        return cls(denoiser, tokens, is_masked, partial(at, hidden), step)

    @cached_property
    def hidden(self) -> Tensor:
        """Trunk output, float (B, L, D); zeros in rows that are finished."""
        return self.reading(None)

    def read(self, spans: PackedSpans) -> tuple[Tensor, PackedSpans]:
        """What the head reads of spans: where nothing was looked at before, only they are computed."""
        if "hidden" in self.__dict__ or getattr(self.denoiser.head, "sees_row", False):
            return spans.read(self.hidden)
        return self.reading(spans.token_index), spans

    @cached_property
    def plan(self) -> Plan:
        """The planner's reading of the state."""
        planner = getattr(self.denoiser, "planner", None)
        if planner is None:
            raise DataError("the model has no planner; train it with a recipe that has a section 'planner'")
        plan: Plan = planner(self.hidden)
        return plan


@dataclass(frozen=True)
class Choice:
    """The spans to fill next.

    Attributes:
        units: Unit of every token, long (B, L), contiguous and non-decreasing in a row.
        selected: Tokens to fill, whole units, bool (B, L).
        order: In which order units of one step count as revealed: numbers below L, one per unit, long (B, L).
            None: from left to right.
    """

    units: Tensor
    selected: Tensor
    order: Tensor | None = None
