"""Trunk: the transformer every family shares.

Pre-LN without biases, rotary positions, GELU-tanh MLP of four times the width, no time input.
Source: the shape of MDLM's (arXiv:2406.07524, appendix) without adaptive layer norm; initial weights, tied
output and residuals without gates are ours.
Dimensions: B batch, L tokens, D width, H heads, E = D / H.
"""

from __future__ import annotations

from typing import ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hdiff.errors import RecipeError
from hdiff.layers.attention import attention
from hdiff.layers.document_mask import DocumentMask
from hdiff.layers.trunk_cache import TrunkCache, positions_of


def rotary_angles(positions: Tensor, width: int) -> Tensor:
    """Angles of rotary embeddings, float32 (L, E / 2), of positions (L,) (arXiv:2104.09864)."""
    exponents = torch.arange(0, width, 2, device=positions.device, dtype=torch.float32) / width
    return positions[:, None].float() * 10_000.0**-exponents


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turns each pair (first half, second half) of a head's width by its angle.

    Args:
        x: (..., L, H, E).
        angles: (L, E / 2), or (B, L, E / 2) where rows have positions of their own.

    Returns:
        (..., L, H, E).
    """
    cos, sin = angles.cos(), angles.sin()
    cos, sin = torch.cat([cos, cos], -1)[..., None, :], torch.cat([-sin, sin], -1)[..., None, :]
    first, second = x.chunk(2, dim=-1)
    return torch.addcmul(x * cos.to(x.dtype), torch.cat([second, first], -1), sin.to(x.dtype))


@final
class FeedForward(nn.Module):
    """GELU-tanh MLP of four times the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.expand = nn.Linear(width, 4 * width, bias=False)
        self.contract = nn.Linear(4 * width, width, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        contracted: Tensor = self.contract(F.gelu(self.expand(hidden), approximate="tanh"))
        return contracted


@final
class TrunkLayer(nn.Module):
    """Attention over the row, then the MLP, each on a residual branch."""

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(width, bias=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.project = nn.Linear(width, width, bias=False)
        self.feed_forward_norm = nn.LayerNorm(width, bias=False)
        self.feed_forward = FeedForward(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        hidden: Tensor,
        angles: Tensor,
        token_mask: Tensor | None,
        causal: bool,
        visible: Tensor | DocumentMask | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """(B, L, D) -> (B, L, D), or (P, D) at places of the flattened batch."""
        query, key, value = self.project_in(hidden, angles)
        return self.mix(hidden, query, key, value, token_mask, causal, visible, places)

    def project_in(self, hidden: Tensor, angles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries and keys, and values: (B, L, D) -> (B, L, H, E) each."""
        qkv = self.qkv(self.attention_norm(hidden)).unflatten(-1, (3 * self.num_heads, -1))
        turned, value = qkv.split([2 * self.num_heads, self.num_heads], dim=-2)
        query, key = rotate(turned, angles).chunk(2, dim=-2)  # both in one pass
        return query, key, value

    def mix(
        self,
        hidden: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        token_mask: Tensor | None,
        causal: bool,
        visible: Tensor | DocumentMask | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """Attention of some positions over the row, and the MLP: (B, M, D) -> (B, M, D), or (P, D)."""
        mixed = attention(query, key, value, token_mask=token_mask, causal=causal, visible=visible).flatten(2)
        if places is not None:
            hidden, mixed = hidden.flatten(0, 1)[places], mixed.flatten(0, 1)[places]
        hidden = hidden + self.dropout(self.project(mixed))
        hidden = hidden + self.dropout(self.feed_forward(self.feed_forward_norm(hidden)))
        return hidden


@final
class Trunk(nn.Module):
    """Stack of layers and a final norm.

    Args:
        width: Width D, a multiple of 2 * num_heads.
        depth: Layers.
        num_heads: Attention heads.
        dropout: On the residual branches.
        causal: True for the autoregressive baseline.
        in_order: Whether a visible token sees only what was revealed no later (`seen_in_order`), so that its
            keys and values never change. Whoever calls the trunk says what that is, by `visible`.
    """

    gives_places: ClassVar[bool] = True
    """Whether `forward` can be asked for some places only."""

    def __init__(
        self,
        width: int,
        *,
        depth: int = 4,
        num_heads: int = 4,
        dropout: float = 0.0,
        causal: bool = False,
        in_order: bool = False,
    ) -> None:
        super().__init__()
        if width % (2 * num_heads):
            raise RecipeError(
                f"width {width} with {num_heads} heads; width must be a multiple of {2 * num_heads}"
            )
        self.causal, self.in_order = causal, in_order
        self.computes_again = False
        self.head_width = width // num_heads
        self.layers = nn.ModuleList(TrunkLayer(width, num_heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width, bias=False)
        for layer in self.layers:
            initialise(layer, depth)

    def forward(
        self,
        hidden: Tensor,
        token_mask: Tensor | None = None,
        *,
        visible: Tensor | DocumentMask | None = None,
        positions: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """Contextualises embedded tokens.

        Args:
            hidden: Embedded tokens, float (B, L, D).
            token_mask: Real tokens, bool (B, L); None if all are.
            visible: Which tokens each token sees, bool (L, L) or (B, L, L), or those of its document, in
                place of `token_mask`.
            positions: Positions of the tokens, long (L,); None: 0, 1, 2 ...
            places: Places in the flattened batch to give the output of, long (P,): the last layer computes
                no others beyond their keys and values. None: all.

        Returns:
            float (B, L, D), or (P, D).
        """
        if positions is None:
            positions = torch.arange(hidden.shape[1], device=hidden.device)
        angles = rotary_angles(positions, self.head_width)
        last = len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            asked = places if number == last else None
            given = (hidden, angles, token_mask, self.causal, visible, asked)
            if self.computes_again and self.training:
                hidden = checkpoint(layer, *given, use_reentrant=False)
            else:
                hidden = layer(*given)
        return self.norm(hidden)  # type: ignore[no-any-return]

    def checkpoint_gradients(self) -> None:
        """Has the backward pass compute the layers again instead of keeping what they computed."""
        self.computes_again = True

    def fill_cache(
        self, hidden: Tensor, token_mask: Tensor | None = None, *, visible: Tensor | None = None
    ) -> TrunkCache:
        """As `forward`, keeping what `update` needs.

        Args:
            hidden: Embedded tokens, float (B, L, D).
            token_mask: Real tokens, bool (B, L); None if all are.
            visible: As in `forward`.

        Returns:
            The cache; its `output` is that of `forward`.
        """
        assert not self.causal, "caches are for bidirectional trunks"
        angles = rotary_angles(torch.arange(hidden.shape[1], device=hidden.device), self.head_width)
        keys, values = [], []
        for layer in self._layers():
            query, key, value = layer.project_in(hidden, angles)
            hidden = layer.mix(hidden, query, key, value, token_mask, False, visible)
            keys.append(key.contiguous())
            values.append(value.contiguous())
        return TrunkCache(tuple(keys), tuple(values), self.norm(hidden))

    def update(
        self,
        hidden: Tensor,
        cache: TrunkCache,
        active: Tensor,
        token_mask: Tensor | None = None,
        *,
        visible: Tensor | None = None,
    ) -> Tensor:
        """Computes some positions anew, against the keys and values kept of the others.

        Args:
            hidden: Embedded tokens, float (B, L, D).
            cache: The cache; overwritten at the active positions.
            active: Positions to compute anew, bool (B, L).
            token_mask: Real tokens, bool (B, L); None if all are.
            visible: As in `forward`.

        Returns:
            Output, new at active positions, float (B, L, D).
        """
        positions = positions_of(active)  # (B, M)
        rows = torch.arange(len(positions), device=positions.device)[:, None]
        if visible is not None:  # (B, M, L)
            visible = visible[positions] if visible.ndim == 2 else visible[rows, positions]
        return self.update_at(hidden[rows, positions], cache, positions, token_mask, visible=visible)

    def update_at(
        self,
        chosen: Tensor,
        cache: TrunkCache,
        positions: Tensor,
        token_mask: Tensor | None = None,
        *,
        visible: Tensor | None = None,
    ) -> Tensor:
        """As `update`, of embedded tokens at given positions.

        Args:
            chosen: Embedded tokens, float (B, M, D).
            cache: The cache; overwritten at the positions.
            positions: Positions to compute anew, long (B, M).
            token_mask: Real tokens, bool (B, L); None if all are.
            visible: Which tokens they see, bool (B, M, L), in place of `token_mask`.

        Returns:
            Output, new at the positions, float (B, L, D).
        """
        rows = torch.arange(len(positions), device=positions.device)[:, None]
        angles = rotary_angles(positions.flatten(), self.head_width).view(*positions.shape, -1)
        for layer, keys, values in zip(self._layers(), cache.keys, cache.values, strict=True):
            query, key, value = layer.project_in(chosen, angles)
            keys[rows, positions], values[rows, positions] = key, value
            chosen = layer.mix(chosen, query, keys, values, token_mask, False, visible)
        cache.output[rows, positions] = self.norm(chosen)
        return cache.output

    def _layers(self) -> list[TrunkLayer]:
        return [layer for layer in self.layers if isinstance(layer, TrunkLayer)]


def initialise(layer: nn.Module, depth: int) -> None:
    """Normal(0, 1 / fan-in) weights; projections into the residual stream divided by sqrt(2 * depth).

    A fixed deviation of 0.02 suits width 768; at width 128 attention stays uniform for hundreds of updates
    (docs/log.md).
    """
    for name, parameter in layer.named_parameters():
        if parameter.ndim == 2:
            into_residual = name.endswith(("project.weight", "contract.weight"))
            std = parameter.shape[1] ** -0.5
            nn.init.normal_(parameter, std=std / (2 * depth) ** 0.5 if into_residual else std)
