"""DenoiserOutput: what an objective needs of a network.

Dimensions: B batch, L tokens, S spans, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hdiff.models.planner import Plan
from hdiff.packed_spans import PackedSpans


@dataclass(frozen=True)
class DenoiserOutput:
    """What the objective needs.

    Attributes:
        log_prob: log p(x_S | x_t) of every packed span in nats, float (S,).
        type_log_prob: The same for the units of every type stream.
        log_speed: Predicted log masking speed of every span, float (S,); None if the model predicts none.
        plan: What the planner expects at every token; None if the model has none.
        hidden: Trunk output, float (B, L, D), for supervision; None where only that of the spans was needed.
    """

    log_prob: Tensor
    type_log_prob: tuple[Tensor, ...] = ()
    log_speed: Tensor | None = None
    plan: Plan | None = None
    hidden: Tensor | None = None


def padding_mask(token_mask: Tensor, is_padded: bool | None = None) -> Tensor | None:
    """None when no row has padding, so that attention can take its fast path.

    Args:
        token_mask: Real tokens, bool (B, L).
        is_padded: Whether any row has padding; None asks the device.

    Returns:
        The mask, or None.
    """
    is_padded = not bool(token_mask.all()) if is_padded is None else is_padded
    return token_mask if is_padded else None


def without_padding(hidden: Tensor, token_mask: Tensor | None) -> Tensor:
    """Zeros at padding, which heads that see the row take for places that are not there."""
    return hidden if token_mask is None else hidden * token_mask[..., None]


def asked(spans: PackedSpans, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, PackedSpans]:
    """Packed trunk output, packed targets, and the spans with their rows."""
    packed, read = spans.read(hidden)
    return packed, spans.gather(targets), read
