"""VisibleStream: a stream of a corruption as far as the visible types tell.

Dimensions: B batch, L tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class VisibleStream:
    """A stream as far as the visible types tell.

    Attributes:
        units: Units, long (B, L); right wherever a unit is ready.
        speed: Speed of each position's unit, float64 (B, L); right wherever a unit is ready.
        ready: Hidden units of which everything they depend on is visible, bool (B, L).
        number: Number of the type stream; None for the tokens.
    """

    units: Tensor
    speed: Tensor
    ready: Tensor
    number: int | None


def single_stream(ready: Tensor, speed: float, number: int | None) -> VisibleStream:
    """A stream of single positions that may be revealed, bool (B, L), of one speed; None: the tokens."""
    units = torch.arange(ready.shape[1], device=ready.device).expand(ready.shape)
    return VisibleStream(
        units, torch.full(ready.shape, speed, dtype=torch.float64, device=ready.device), ready, number
    )
