"""Segmentation: a sampler's spans, drawn beforehand or predicted from what is visible. Torch only.

Dimensions: B rows, L tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from hdiff.corruption.unit_masking import UnitMasking
from hdiff.data.batch import Batch
from hdiff.errors import DataError
from hdiff.models.planner import Plan
from hdiff.samplers.filling import View
from hdiff.samplers.selection import cut, limit

Segmentation = Literal["corruption", "planned"]


def check_segmentation(segmentation: str) -> Segmentation:
    """Returns `segmentation`, or raises DataError if there is none of that name."""
    if segmentation not in ("corruption", "planned"):
        raise DataError(f"segmentation is '{segmentation}'; use 'corruption' (its units) or 'planned'")
    return segmentation  # type: ignore[return-value]


def segmenter(
    segmentation: Segmentation,
    corruption: UnitMasking,
    tokens: Tensor,
    is_masked: Tensor,
    *,
    longest: int,
    generator: torch.Generator | None,
) -> Callable[[View], Tensor]:
    """A function that gives the units of every state, visible tokens being units of their own.

    Args:
        segmentation: `corruption` draws its units once; `planned` asks the planner at every state.
        corruption: Says what the units are.
        tokens: Visible tokens, long (B, L).
        is_masked: Tokens to fill, bool (B, L).
        longest: Longest planned span in tokens.
        generator: Source of randomness.

    Returns:
        The function.
    """
    if segmentation == "planned":
        return lambda view: limit(planned(view).begins, view.is_masked, longest)
    units = cut(corruption.units(Batch.of(tokens), generator=generator), is_masked)
    return lambda view: units


def planned(view: View) -> Plan:
    """The planner's reading of a state.

    Raises:
        DataError: If the model has no planner.
    """
    planner = view.denoiser.planner
    if planner is None:
        raise DataError("the model has no planner; train it with a recipe that has a section 'planner'")
    plan: Plan = planner(view.hidden)
    return plan
