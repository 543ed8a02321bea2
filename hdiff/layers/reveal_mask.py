"""What tokens see in the order of their reveal: the attention of any-order trunks.

Dimensions: B batch, L tokens, M queries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hdiff.reveal_order import given_order


def seen_in_order(
    is_visible: Tensor,
    order: Tensor | None,
    *,
    token_mask: Tensor | None = None,
    document_ids: Tensor | None = None,
    queries: Tensor | None = None,
) -> Tensor:
    """Which tokens each token sees.

    A visible token sees visible tokens that were revealed no later than itself, so nothing that is revealed
    afterwards changes it. A hidden one sees all visible tokens and itself, so no hidden one changes another.

    Args:
        is_visible: Tokens that are not hidden, bool (B, L).
        order: Whatever is revealed earlier has a lower number, tokens of one unit the same, long (B, L); not
            read at hidden tokens. None: `given_order`.
        token_mask: Real tokens, bool (B, L); None if all are.
        document_ids: Document of each token, -1 at padding, long (B, L): it sees no other. None: the row.
        queries: Positions of the tokens that ask, long (B, M); None: all in turn.

    Returns:
        bool (B, M, L).
    """
    num_rows, length = is_visible.shape
    if order is None:
        order = given_order(length, device=is_visible.device).expand(num_rows, length)
    if queries is None:
        queries = torch.arange(length, device=is_visible.device).expand(num_rows, length)
    last = torch.iinfo(order.dtype).max
    asking = order.masked_fill(~is_visible, last - 1).gather(1, queries)  # (B, M)
    is_real = is_visible if token_mask is None else is_visible & token_mask
    seen = order.masked_fill(~is_real, last)[:, None, :] <= asking[:, :, None]
    if document_ids is not None:
        seen &= document_ids[:, None, :] == document_ids.gather(1, queries)[:, :, None]
    return seen.scatter_(2, queries[..., None], True)  # itself
