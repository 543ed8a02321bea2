"""Reveal order: which units a T-step sampler fills in which step.

The sampler and the T-step bound both call `reveal_step`, so the bound is computed exactly as the
sampler runs. Trunks whose tokens see what was revealed before them also ask in which order.
Dimensions: B batch, L tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hdiff.errors import DataError

GOLDEN_RATIO = 0.6180339887498949
"""Multiples of it, modulo 1, lie evenly spread over [0, 1) however many there are."""


def check_num_steps(num_steps: int) -> int:
    """Returns `num_steps`, or raises DataError if it is below 1."""
    if num_steps < 1:
        raise DataError(f"num_steps is {num_steps}; a sampler needs at least 1 step")
    return num_steps


def reveal_step(rank: Tensor, num_units: Tensor, num_steps: int) -> Tensor:
    """Splits a random order of N units into min(T, N) groups of nearly equal size.

    Args:
        rank: Place of each token's unit in the order, long (B, L).
        num_units: Units per row N, long (B,).
        num_steps: Steps T of the sampler.

    Returns:
        Step in which each token is revealed, 0..min(T, N)-1, long (B, L).
    """
    total = num_units.clamp(min=1)[:, None]
    num_groups = total.clamp(max=check_num_steps(num_steps))
    return torch.div(rank * num_groups, total, rounding_mode="floor")


def given_order(length: int, *, device: torch.device | None = None) -> Tensor:
    """In which order given tokens count as revealed, where nobody says: before all others, spread evenly.

    It depends on positions alone, and like a random order it goes through the row with no direction.

    Args:
        length: Tokens of a row L.
        device: Where the numbers should be.

    Returns:
        Different numbers in [-L, 0), the lowest being the first, long (L,).
    """
    keys = torch.arange(length, device=device, dtype=torch.float64) * GOLDEN_RATIO % 1.0
    return keys.argsort().argsort() - length
