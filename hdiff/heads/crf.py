"""CRFHead: a linear chain over the tokens of a span, normalised over all strings exactly.

Dimensions: P packed tokens, S spans, N spans that have a token at an offset, D width, V vocabulary, R rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import final

import torch
from torch import Tensor, nn

from hdiff.errors import RecipeError
from hdiff.heads.base import Head
from hdiff.heads.sampling import AS_IT_IS, Sampling
from hdiff.packed_spans import PackedSpans

LARGEST_LOG_FACTOR = 20.0
"""log psi is cut off at +-20, so that T, a mean of psi, is far inside float32 whatever the weights."""


@final
class CRFHead(Head):
    """p(x_1..x_n | x_t) = exp(sum_i u_i(x_i)) prod_{i>1} T(x_{i-1}, x_i) / Z, u_i the usual scores.

    T(a, b) = sum_r phi_r(a) psi_r(b) has rank R, so a step of the forward recursion costs V R instead of V^2
    and Z is exact for any vocabulary. phi_r(a) = softmax_r(W e(a)) is the class of a token, psi_r(b) =
    exp(W' e(b)) > 0 what the class before does to the odds of b; e is the token table. A span of one token is
    scored as by `ProductHead`; at first W' = 0, T = 1, and all spans are.

    Source: arXiv:2201.02715, section 3 (products with a low-rank transition matrix are taken in rank space).
    There T is the locally normalised transition between hidden states of an HMM, its factors features of
    state embeddings; here the tokens themselves are the states, and the chain is normalised as a whole: a
    conditional random field. (arXiv:1910.11555 gives log T low rank instead, for which Z is approximated.)

    Args:
        vocab_size: Vocabulary V, without the mask.
        width: Width of the trunk D.
        rank: Rank R of the transitions; 1 leaves the tokens independent.
        classes: See `Head`; u_i are log-probabilities then.
    """

    def __init__(
        self,
        vocab_size: int,
        width: int,
        *,
        rank: int = 16,
        classes: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__(vocab_size, width, classes=classes)
        if rank < 1:
            raise RecipeError(
                f"crf head with rank={rank}; it is at least 1, and 1 leaves the tokens independent "
                f"(use 2 or more for a joint)"
            )
        self.leave = nn.Linear(width, rank, bias=False)
        self.enter = nn.Linear(width, rank, bias=False)
        # psi = 1 makes T = sum_r phi_r = 1; phi differs between ranks, so that psi learns at once.
        nn.init.normal_(self.leave.weight, std=width**-0.5)
        nn.init.zeros_(self.enter.weight)

    def log_prob(
        self, hidden: Tensor, targets: Tensor, spans: PackedSpans, *, support: Tensor | None = None
    ) -> Tensor:
        order, counts = _by_offset(spans)
        unary = self._unary(hidden, order, support)
        log_phi, log_psi = self._log_factors()
        filtered = _forward(unary, counts, log_phi.exp(), log_psi.exp())
        log_norm = torch.cat([scores.logsumexp(-1) for scores in filtered])  # adds up to log Z
        token = unary.gather(1, targets[order][:, None]).squeeze(1) - log_norm  # (P,), sorted
        pair = (log_phi[targets.roll(1)] + log_psi[targets]).logsumexp(-1)  # log T, where a token is before
        pair = torch.where(spans.offset > 0, pair, torch.zeros_like(pair))
        return spans.sum_tokens(token[order.argsort()] + pair)

    def token_log_probs(self, hidden: Tensor, spans: PackedSpans | None = None) -> Tensor:
        return self.logits(hidden).float().log_softmax(-1)  # a chain of one token has no transition

    def sample(
        self,
        hidden: Tensor,
        spans: PackedSpans,
        *,
        generator: torch.Generator | None = None,
        sampling: Sampling = AS_IT_IS,
        support: Tensor | None = None,
    ) -> Tensor:
        """Draws each span from its last token to its first: p(x_n), p(x_{n-1} | x_n) ..., all exact.

        `sampling` acts on each of these conditionals, which themselves are those of the model as it is: what
        is summed out before a token knows the support, but no temperature, truncation or ban. Greedy is
        the most likely last token, then the most likely one before it, not the most likely string.

        Args:
            hidden: Trunk output at the spans' tokens, float (P, D).
            spans: Which tokens form a span.
            generator: Source of randomness, on the device of `hidden`.
            sampling: Temperature and truncation of every token's draw.
            support: Tokens that are possible at each position, bool (P, V); None if all are.

        Returns:
            Tokens, long (P,).
        """
        tokens = torch.zeros_like(spans.token_index)
        for place, _, drawn in self._backward(hidden, spans, generator, sampling, support):
            tokens[place] = drawn
        return tokens

    def entropy(
        self,
        hidden: Tensor,
        spans: PackedSpans,
        *,
        generator: torch.Generator | None = None,
        support: Tensor | None = None,
    ) -> Tensor:
        """Joint entropy of each span: exact for one token, else an unbiased estimate.

        It adds up the entropies of all conditionals along one draw.

        Args:
            hidden: Trunk output at the spans' tokens, float (P, D).
            spans: Which tokens form a span.
            generator: Source of randomness, on the device of `hidden`.
            support: Tokens that are possible at each position, bool (P, V); None if all are.

        Returns:
            Nats, float (S,).
        """
        nats = torch.zeros(len(spans.token_index), device=hidden.device)
        for place, scores, _ in self._backward(hidden, spans, generator, AS_IT_IS, support):
            nats = nats.index_copy(0, place, torch.special.entr(scores.softmax(-1)).sum(-1))
        return spans.sum_tokens(nats)

    def _unary(self, hidden: Tensor, order: Tensor, support: Tensor | None) -> Tensor:
        """u_i of the sorted tokens, float32 (P, V)."""
        return self.logits(hidden[order], None if support is None else support[order]).float()

    def _log_factors(self) -> tuple[Tensor, Tensor]:
        """log phi and log psi, float32 (V, R) each."""
        # In bfloat16, as autocast would have it, Z would not be the sum over all strings; so below.
        with torch.autocast(self.embedding.weight.device.type, enabled=False):
            tokens = self.embed(torch.arange(self.vocab_size, device=self.embedding.weight.device))
            log_psi = self.enter(tokens).float().clamp(-LARGEST_LOG_FACTOR, LARGEST_LOG_FACTOR)
            return self.leave(tokens).float().log_softmax(-1), log_psi

    def _backward(
        self,
        hidden: Tensor,
        spans: PackedSpans,
        generator: torch.Generator | None,
        sampling: Sampling,
        support: Tensor | None,
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """By offset, the last first: packed indices (N,), scores given the next token (N, V), draws (N,)."""
        order, counts = _by_offset(spans)
        log_phi, log_psi = self._log_factors()
        phi, psi = log_phi.exp(), log_psi.exp()
        filtered = _forward(self._unary(hidden, order, support), counts, phi, psi)
        following = order[:0]
        for place, scores in zip(reversed(order.split_with_sizes(counts)), reversed(filtered), strict=True):
            with torch.autocast(scores.device.type, enabled=False):
                transition = psi[following] @ phi.T  # T(., x_{i+1}) of the spans that go on
            given = scores[: len(following)] + transition.log()
            scores = torch.cat([given, scores[len(following) :]])
            following = sampling.draw(scores, generator=generator)
            yield place, scores, following


def _forward(unary: Tensor, counts: list[int], phi: Tensor, psi: Tensor) -> list[Tensor]:
    """Weights of the prefixes of all spans, summed over all tokens but the last.

    Args:
        unary: Scores of the sorted tokens, float32 (P, V).
        counts: Spans at each offset.
        phi: Classes of the tokens, float32 (V, R).
        psi: What a class does to the next token, float32 (V, R).

    Returns:
        For each offset the log weight of each last token, less the logs of the sums before; float32 (N, V).
        Its softmax is p(x_i | the span is cut after i), and the logs of its sums add up to log Z.
    """
    first, *later = unary.split_with_sizes(counts)
    filtered = [first]
    with torch.autocast(unary.device.type, enabled=False):
        for step in later:
            message = filtered[-1][: len(step)].softmax(-1) @ phi  # (N, R): spans that go on come first
            filtered.append(step + (message @ psi.T).log())
    return filtered


def _by_offset(spans: PackedSpans) -> tuple[Tensor, list[int]]:
    """Sorts packed tokens by offset, then longer spans first: those that go on lead each step.

    Args:
        spans: The packed spans.

    Returns:
        Packed index of each sorted token, long (P,), and the number of spans at offset 0, 1, 2 ...; never
        empty, 0 if there is no span.
    """
    rank = spans.length.argsort(descending=True, stable=True).argsort()
    order = (spans.offset * spans.num_spans + rank[spans.span_index]).argsort()
    sizes = torch.tensor(spans.lengths, dtype=torch.long).bincount(minlength=2)
    return order, sizes.flip(0).cumsum(0).flip(0)[1:].tolist()
