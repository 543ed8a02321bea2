"""Head: a normalised distribution over the tokens of a span, given the trunk.

Dimensions: P packed tokens, S spans, D width, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hdiff.heads.class_factors import ClassFactors
from hdiff.heads.sampling import AS_IT_IS, GREEDY, Sampling
from hdiff.packed_spans import PackedSpans


class Head(nn.Module, ABC):
    """p(x_S | x_t) for packed spans: exact, normalised, able to sample.

    The head owns the token table, rows 0..V-1 for the vocabulary (also the output weights, unless the head
    has an output table of its own) and row V for the mask; a denoiser embeds its input with it.

    Args:
        vocab_size: Vocabulary V, without the mask.
        width: Width of the trunk D.
        classes: Class of each token id, length V, one table per level, coarse to fine: a token's probability
            is then that of its class times its own within it. None: all tokens are scored together.
    """

    output_embedding: nn.Parameter | None
    """Output table of its own, (V, D); None where the input's serves as one."""

    def __init__(
        self, vocab_size: int, width: int, *, classes: Sequence[Sequence[int]] | None = None
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.width = width
        self.embedding = nn.Embedding(vocab_size + 1, width)
        self.output_bias = nn.Parameter(torch.zeros(vocab_size))
        self.register_parameter("output_embedding", None)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.factors = None if classes is None else ClassFactors(classes, vocab_size, width)

    def embed(self, tokens: Tensor) -> Tensor:
        """Input vectors of tokens, scaled to unit variance as the residual stream needs: (...) -> (..., D).

        Source: arXiv:1706.03762, section 3.4; without the factor the first layer drowns the tokens.
        """
        return self.embedding(tokens) * self.width**0.5  # type: ignore[no-any-return]

    @final
    def untie(self) -> None:
        """Gives the head an output table of its own, which starts as the input's."""
        if self.output_embedding is None:
            self.output_embedding = nn.Parameter(self.embedding.weight.detach()[: self.vocab_size].clone())

    @abstractmethod
    def log_prob(
        self, hidden: Tensor, targets: Tensor, spans: PackedSpans, *, support: Tensor | None = None
    ) -> Tensor:
        """Log-probability of each span's tokens, jointly.

        Args:
            hidden: Trunk output at the spans' tokens, float (P, D).
            targets: Tokens to score, long (P,), in 0..V-1.
            spans: Which tokens form a span.
            support: Tokens that are possible at each position, bool (P, V); None if all are.

        Returns:
            log p(x_S | x_t) in nats, float (S,).
        """

    @abstractmethod
    def sample(
        self,
        hidden: Tensor,
        spans: PackedSpans,
        *,
        generator: torch.Generator | None = None,
        sampling: Sampling = AS_IT_IS,
        support: Tensor | None = None,
    ) -> Tensor:
        """Draws each span's tokens jointly.

        Args:
            hidden: Trunk output at the spans' tokens, float (P, D).
            spans: Which tokens form a span.
            generator: Source of randomness, on the device of `hidden`.
            sampling: Temperature and truncation of every token's draw.
            support: Tokens that are possible at each position, bool (P, V); None if all are.

        Returns:
            Tokens, long (P,).
        """

    def sequential_passes(self, lengths: Tensor) -> Tensor:
        """Passes of the head, one after another, that draw spans of some lengths: one, where not overridden.

        Args:
            lengths: Tokens of a span, long, any shape; 0 where nothing is drawn.

        Returns:
            Passes, the same shape; at least 1, as the head reads the trunk's output once in any case.
        """
        return torch.ones_like(lengths)

    def entropy(
        self,
        hidden: Tensor,
        spans: PackedSpans,
        *,
        generator: torch.Generator | None = None,
        support: Tensor | None = None,
    ) -> Tensor:
        """Joint entropy of each span: exact, or here an unbiased estimate from one draw.

        Args:
            hidden: Trunk output at the spans' tokens, float (P, D).
            spans: Which tokens form a span.
            generator: Source of randomness, on the device of `hidden`.
            support: Tokens that are possible at each position, bool (P, V); None if all are.

        Returns:
            Nats, float (S,).
        """
        drawn = self.sample(hidden, spans, generator=generator, support=support)
        return -self.log_prob(hidden, drawn, spans, support=support)

    def log_confidence(self, hidden: Tensor, spans: PackedSpans, *, support: Tensor | None = None) -> Tensor:
        """Log-probability of each span's greedy filling, every token the most likely one in turn.

        Args:
            hidden: Trunk output at the spans' tokens, float (P, D).
            spans: Which tokens form a span.
            support: Tokens that are possible at each position, bool (P, V); None if all are.

        Returns:
            Nats <= 0, float (S,).
        """
        likely = self.sample(hidden, spans, sampling=GREEDY, support=support)
        return self.log_prob(hidden, likely, spans, support=support)

    def token_log_probs(self, hidden: Tensor, spans: PackedSpans | None = None) -> Tensor:
        """log p of every value of tokens that are spans of their own, as `log_prob` gives it for one value.

        Here one value after another is asked for: right for any head, and V times as slow as one look.

        Args:
            hidden: Trunk output, float (P, D).
            spans: Spans of one token each, for heads that see the row; None: they know of none.

        Returns:
            Nats, float (P, V).
        """
        spans = spans or PackedSpans.single_tokens(len(hidden), device=hidden.device)
        columns = [
            self.log_prob(hidden, torch.full_like(spans.offset, value), spans)
            for value in range(self.vocab_size)
        ]
        return torch.stack(columns, -1)

    def logits(self, hidden: Tensor, support: Tensor | None = None) -> Tensor:
        """Scores of the vocabulary, -inf outside of the support: (..., D) -> (..., V).

        With classes they are log-probabilities; without a support their exponentials sum to 1.
        """
        scores = F.linear(hidden, self._weight, self.output_bias)
        if self.factors is not None:
            scores = self.factors.log_probs(hidden, scores)
        return scores if support is None else scores.masked_fill(~support, -torch.inf)

    @final
    def token_log_prob(self, states: Tensor, targets: Tensor, support: Tensor | None = None) -> Tensor:
        """log p of one token at each place, given the state that predicts it.

        Args:
            states: As `logits` takes them, float (P, D).
            targets: The tokens, long (P,).
            support: Tokens that are possible, bool (P, V); None if all are.

        Returns:
            Nats <= 0, float (P,).
        """
        if self.factors is not None and support is None:
            return self.factors.log_prob(states, targets, self._weight, self.output_bias)
        return -F.cross_entropy(self.logits(states, support).float(), targets, reduction="none")

    @final
    def draw_tokens(
        self,
        states: Tensor,
        sampling: Sampling,
        *,
        generator: torch.Generator | None = None,
        support: Tensor | None = None,
    ) -> Tensor:
        """Draws one token at each place, given the state that predicts it.

        Args:
            states: As `logits` takes them, float (P, D).
            sampling: Temperature and truncation, of the tokens' distribution, whatever their classes.
            generator: Source of randomness, on the device of `states`.
            support: Tokens that are possible, bool (P, V); None if all are.

        Returns:
            Tokens, long (P,).
        """
        if self.factors is not None and support is None and sampling.is_exact:
            return self.factors.draw(states, self._weight, self.output_bias, generator=generator)
        return sampling.draw(self.logits(states, support), generator=generator)

    @property
    def _weight(self) -> Tensor:
        """Output weights, (V, D)."""
        if self.output_embedding is not None:
            return self.output_embedding
        return self.embedding.weight[: self.vocab_size]
