"""ProductHead: the tokens of a span are independent given the trunk, the usual choice.

Dimensions: P packed tokens, S spans, D width, V vocabulary.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from hdiff.heads.base import Head
from hdiff.heads.sampling import AS_IT_IS, Sampling
from hdiff.packed_spans import PackedSpans


@final
class ProductHead(Head):
    """p(x_S | x_t) = prod_i p(x_i | x_t): the baseline, factorised over tokens."""

    def log_prob(
        self, hidden: Tensor, targets: Tensor, spans: PackedSpans, *, support: Tensor | None = None
    ) -> Tensor:
        return spans.sum_tokens(self.token_log_prob(hidden, targets, support))

    def sample(
        self,
        hidden: Tensor,
        spans: PackedSpans,
        *,
        generator: torch.Generator | None = None,
        sampling: Sampling = AS_IT_IS,
        support: Tensor | None = None,
    ) -> Tensor:
        return self.draw_tokens(hidden, sampling, generator=generator, support=support)

    def entropy(
        self,
        hidden: Tensor,
        spans: PackedSpans,
        *,
        generator: torch.Generator | None = None,
        support: Tensor | None = None,
    ) -> Tensor:
        log_probs = self.logits(hidden, support).float().log_softmax(-1)
        return spans.sum_tokens(torch.special.entr(log_probs.exp()).sum(-1))

    def token_log_probs(self, hidden: Tensor, spans: PackedSpans | None = None) -> Tensor:
        return self.logits(hidden).float().log_softmax(-1)
