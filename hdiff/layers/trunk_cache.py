"""TrunkCache: keys, values and outputs of a trunk, of which some positions are computed anew.

Dimensions: B batch, L tokens, M positions computed anew, H heads, E width of a head, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TrunkCache:
    """What a bidirectional trunk keeps between calls. Its tensors are overwritten in place.

    Keys and values of a position depend on all it sees, so of a whole row those that are kept are stale: an
    approximation of the trunk, but a function of visible tokens all the same, so that bounds stay bounds.
    Source of the idea: Fast-dLLM, arXiv:2505.22618; we keep all visible positions, not blocks. In block
    diffusion finished blocks see no later ones, and what is kept of them is exact.

    Attributes:
        keys: Rotated keys of every layer, (B, L, H, E).
        values: Values of every layer, (B, L, H, E).
        output: Output of the trunk, (B, L, D).
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    output: Tensor


def positions_of(active: Tensor) -> Tensor:
    """Positions to compute anew, long (B, M); rows with fewer repeat their first, which changes nothing."""
    count = active.sum(1, keepdim=True)
    order = (~active).long().argsort(dim=1, stable=True)[:, : max(1, int(count.max()))]
    slots = torch.arange(order.shape[1], device=active.device)
    return torch.where(slots < count, order, order[:, :1])
