"""View and Choice: what a way of filling sees, and what it fills next.

Dimensions: B batch, L tokens, S spans.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from hdiff.errors import DataError
from hdiff.models.planner import Plan
from hdiff.samplers.base import FillsMasks


@dataclass(frozen=True)
class View:
    """What may be looked at when the next spans are chosen. Nothing hidden is in it.

    Attributes:
        denoiser: The model.
        tokens: Tokens, `mask_id` where hidden, long (B, L).
        is_masked: Tokens still to be filled, bool (B, L).
        hidden: Trunk output, float (B, L, D); zeros in rows that are finished.
        step: Steps done.
    """

    denoiser: FillsMasks
    tokens: Tensor
    is_masked: Tensor
    hidden: Tensor
    step: int

    @cached_property
    def plan(self) -> Plan:
        """The planner's reading of the state.

        Raises:
            DataError: If the model has no planner.
        """
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
    """

    units: Tensor
    selected: Tensor
