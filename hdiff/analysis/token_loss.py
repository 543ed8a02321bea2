"""token_nats: -log p of a span, told apart by its tokens.

Dimensions: P packed tokens, S spans, D width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hdiff.heads import Head, ProductHead
from hdiff.packed_spans import PackedSpans

LONGEST_PREFIX = 16
"""Tokens of a span that are told apart; those after them share what is left equally."""


def token_nats(
    head: Head, hidden: Tensor, targets: Tensor, spans: PackedSpans, *, support: Tensor | None = None
) -> Tensor:
    """What each token adds to -log p(x_S | x_t): that of its prefix less that of the prefix before it.

    For a product and for an autoregressive head that is the chain rule, -log p(x_i | x_<i in S, x_t). A
    mixture or a chain scores a prefix as a span of its own, so there it is a share and may be negative. The
    tokens of a span always add up to the span's -log p.

    Args:
        head: The head.
        hidden: Trunk output at the spans' tokens, float (P, D).
        targets: True tokens, long (P,).
        spans: Which tokens form a span.
        support: Tokens that are possible at each position, bool (P, V); None if all are.

    Returns:
        Nats, float64 (P,).
    """
    if isinstance(head, ProductHead):
        return -head.log_prob(hidden, targets, spans.apart(), **_options(support)).double()
    nats = torch.zeros(len(targets), dtype=torch.float64, device=hidden.device)
    before = torch.zeros(spans.num_spans, dtype=torch.float64, device=hidden.device)
    longest = int(spans.length.max()) if spans.num_spans else 0
    for length in range(1, min(longest, LONGEST_PREFIX) + 1):
        part, kept = spans.prefixes(length)
        live = spans.length >= length  # (S,)
        total = -head.log_prob(hidden[kept], targets[kept], part, **_options(support, kept)).double()
        nats[kept & (spans.offset == length - 1)] = total - before[live]
        before[live] = total
    if longest > LONGEST_PREFIX:
        left = -head.log_prob(hidden, targets, spans, **_options(support)).double() - before
        share = left / (spans.length - LONGEST_PREFIX).clamp(min=1)
        nats = torch.where(spans.offset >= LONGEST_PREFIX, share[spans.span_index], nats)
    return nats


def _options(support: Tensor | None, kept: Tensor | None = None) -> dict[str, Tensor]:
    if support is None:
        return {}
    return {"support": support if kept is None else support[kept]}
