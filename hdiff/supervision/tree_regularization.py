"""TreeRegularization: constituents are told from the trunk's vectors by how much of them is new.

Dimensions: B batch, L tokens, D width, E dimensions that are regularised.
"""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from hdiff.data.batch import Batch
from hdiff.data.token_targets import INSIDE_WORD, TargetSpec
from hdiff.errors import RecipeError
from hdiff.supervision.base import Supervision

_LEAST = 1e-6
"""Squared norms below it have no direction; it keeps the root's gradient finite."""


@final
class TreeRegularization(Supervision):
    """Where a span of the parse splits, its parts depend least on what comes before them.

    A span [a, e) that the parse splits at i has the loss `-log softmax_k(s_k)[i]` over all words k inside,
    `s_k = |h_{k-1} - on h_{a-1}| + |h_{e-1} - on h_{k-1}| + |h_k - on h_{k-1}|`, each the norm of what is
    orthogonal to another vector; the first is 0 at the beginning of a sentence. Source: TreeReg,
    arXiv:2411.18885, section 3; the term of its code that is the same for all k is left out. There h are some
    heads of a middle layer; here they are the first dimensions of the trunk's output, alike for every family.
    Spans of more than two parts split after their first part, then the rest does. The sum is given per token.

    Args:
        width: Width of the trunk D.
        weight: Weight beside the bound.
        trees: `parsed`; or, as a control, `random`, `shuffled`, `balanced` or `right_branching` trees over
            the same words.
        share: Share of the trunk's dimensions that are regularised.
    """

    def __init__(
        self, width: int, *, weight: float = 1.0, trees: str = "parsed", share: float = 0.25
    ) -> None:
        super().__init__(weight, trees)
        if not 0 < share <= 1:
            raise RecipeError(f"share is {share}; it is a share of the width in (0, 1]")
        self.num_dimensions = max(2, round(share * width))
        self._spec = TargetSpec(("gaps",), trees)

    @property
    def spec(self) -> TargetSpec:
        return self._spec

    def forward(self, hidden: Tensor, batch: Batch) -> Tensor:
        gaps = self.target(batch, "gaps").masked_fill(~batch.token_mask, 0)
        gaps[:, 0] = 0  # nothing of the row comes before
        first, end = span_of_splits(gaps)
        place = torch.arange(gaps.shape[1], device=gaps.device)
        candidate = (place > first[..., None]) & (place < end[..., None]) & (gaps != INSIDE_WORD)[:, None]
        chosen = (gaps > 0) & (candidate.sum(-1) > 1)  # (B, L): splits of spans with more than one place to
        if not bool(chosen.any()):
            return hidden.sum() * 0.0
        starts_sentence = gaps.gather(1, first) == 0
        scores = split_scores(hidden[..., : self.num_dimensions].float(), first, end, starts_sentence)
        scores = scores.masked_fill(~candidate, -torch.inf)[chosen]
        nats = F.cross_entropy(scores, place.expand_as(gaps)[chosen], reduction="sum")
        return nats / batch.num_tokens  # not a mean over splits: batches of an update must add up


def span_of_splits(gaps: Tensor) -> tuple[Tensor, Tensor]:
    """First token and end, long (B, L), of the span split before each token; of use where `gaps` > 0."""
    length = gaps.shape[1]
    place = torch.arange(length, device=gaps.device)
    border = (gaps != INSIDE_WORD)[:, None, :].expand(-1, length, -1)  # (B, split, other)
    other, own = gaps[:, None, :], gaps[:, :, None]
    before = border & (other <= own) & (place < place[:, None])
    after = border & (other < own) & (place > place[:, None])
    first = torch.where(before, place, 0).amax(-1)
    end = torch.where(after, place, length).amin(-1)
    return first, end


def split_scores(hidden: Tensor, first: Tensor, end: Tensor, starts_sentence: Tensor) -> Tensor:
    """How independent the parts are if a span were split before each token.

    Args:
        hidden: Vectors, float (B, L, E).
        first: First token of each span, long (B, S).
        end: End of each span, long (B, S).
        starts_sentence: Whether nothing comes before its first token, bool (B, S).

    Returns:
        float (B, S, L); the score of token 0 means nothing.
    """
    on = hidden @ F.normalize(hidden, dim=-1).mT  # (B, L, L): component of row i along row j
    square = (hidden * hidden).sum(-1, keepdim=True)
    new = (square - on * on).clamp(min=_LEAST).sqrt()  # |h_i - on h_j|
    length = hidden.shape[1]

    def rows(table: Tensor, index: Tensor) -> Tensor:
        """Rows of (B, L, L) by (B, S), shifted so that column k speaks of token k - 1."""
        taken = table.gather(1, index.clamp(min=0)[..., None].expand(-1, -1, length))
        return F.pad(taken[..., :-1], (1, 0))

    left = rows(new.mT, first - 1).masked_fill(starts_sentence[..., None], 0.0)
    right = rows(new, end - 1)
    beside = F.pad(new.diagonal(-1, 1, 2), (1, 0))[:, None]  # |h_k - on h_{k-1}|
    return left + right + beside
