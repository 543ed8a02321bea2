"""TrunkCache: keys, values and outputs of a trunk, of which some positions are computed anew.

Dimensions: B batch, L tokens, M positions computed anew, H heads, E width of a head, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self


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

    @classmethod
    def empty(cls, like: Tensor, num_rows: int, length: int, *, num_layers: int, head_width: int) -> Self:
        """A cache in which no position is computed yet.

        Args:
            like: Says type, device and width, (D,).
            num_rows: Rows B.
            length: Tokens of a row L.
            num_layers: Layers of the trunk.
            head_width: Width of a head E.

        Returns:
            Zeros.
        """
        heads = (num_rows, length, len(like) // head_width, head_width)
        layers = [like.new_zeros(heads) for _ in range(2 * num_layers)]
        return cls(tuple(layers[::2]), tuple(layers[1::2]), like.new_zeros(num_rows, length, len(like)))


def positions_of(active: Tensor) -> Tensor:
    """Positions to compute anew, long (B, M); rows with fewer repeat their first, which changes nothing."""
    count = active.sum(1, keepdim=True)
    order = (~active).long().argsort(dim=1, stable=True)[:, : max(1, int(count.max()))]
    slots = torch.arange(order.shape[1], device=active.device)
    return torch.where(slots < count, order, order[:, :1])
