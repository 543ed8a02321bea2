"""one_token_log_probs: what a head says of a token that is a span of its own. Torch only.

Dimensions: P tokens, D width, V vocabulary, K components.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hdiff.heads import AutoregressiveHead, CRFHead, Head, MixtureHead, ProductHead
from hdiff.packed_spans import PackedSpans


def one_token_log_probs(head: Head, hidden: Tensor) -> Tensor:
    """log p(x_i = v | x_t) of tokens that are filled apart.

    It is what `head.log_prob` gives for spans of one token, for all values at once. A head of your own is
    asked for one value after another: right, and V times as slow.

    Args:
        head: The head.
        hidden: Trunk output, float (P, D).

    Returns:
        Nats, float (P, V).
    """
    count = len(hidden)
    spans = PackedSpans.from_units(torch.arange(count)[None].to(hidden.device), _all(count, hidden.device))
    if isinstance(head, (ProductHead, CRFHead)):  # a chain of one token has no transition
        return head.logits(hidden).float().log_softmax(-1)
    if isinstance(head, AutoregressiveHead):
        nothing_before = torch.zeros(count, dtype=torch.long, device=hidden.device)
        return head.logits(head._states(hidden, nothing_before, spans)).float().log_softmax(-1)
    if isinstance(head, MixtureHead):
        expanded = head.expand(hidden)
        by_component = [
            head.logits(head._state(hidden, expanded, component)).float().log_softmax(-1)
            for component in head.components
        ]  # K x (P, V)
        log_weights = head._log_weights(hidden, spans)  # (P, K)
        return (torch.stack(by_component, 1) + log_weights[..., None]).logsumexp(1)
    return by_value(head, hidden)


def by_value(head: Head, hidden: Tensor) -> Tensor:
    """The same by `head.log_prob` alone, one value after another.

    Args:
        head: The head.
        hidden: Trunk output, float (P, D).

    Returns:
        Nats, float (P, V).
    """
    count = len(hidden)
    spans = PackedSpans.from_units(torch.arange(count)[None].to(hidden.device), _all(count, hidden.device))
    columns = [
        head.log_prob(hidden, torch.full((count,), value, device=hidden.device), spans)
        for value in range(head.vocab_size)
    ]
    return torch.stack(columns, -1)


def _all(count: int, device: torch.device) -> Tensor:
    return torch.ones(1, count, dtype=torch.bool, device=device)
