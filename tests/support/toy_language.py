"""A language small enough to enumerate, and a denoiser that knows its exact posterior.

Dimensions: B batch, L tokens, V vocabulary, N strings of the language, S spans, P packed tokens.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from hdiff.corruption import Corrupted
from hdiff.data.batch import Batch
from hdiff.heads import AS_IT_IS, Sampling
from hdiff.models.output import DenoiserOutput
from hdiff.packed_spans import PackedSpans


class ToyLanguage:
    """All strings of L tokens over V symbols, with random probabilities."""

    def __init__(
        self, vocab_size: int = 3, length: int = 4, *, seed: int = 0, sharpness: float = 2.0
    ) -> None:
        self.vocab_size, self.length = vocab_size, length
        self.strings = torch.tensor(list(itertools.product(range(vocab_size), repeat=length)))  # (N, L)
        generator = torch.Generator().manual_seed(seed)
        scores = sharpness * torch.randn(len(self.strings), generator=generator, dtype=torch.float64)
        self.probability = scores.softmax(0)  # (N,)

    @property
    def entropy(self) -> float:
        """Nats per string."""
        return float(-(self.probability * self.probability.log()).sum())

    def sample(self, count: int, generator: torch.Generator) -> Batch:
        chosen = torch.multinomial(self.probability, count, replacement=True, generator=generator)
        return Batch.of(self.strings[chosen])

    def posterior(self, x_t: Tensor) -> Tensor:
        """p(string | visible tokens of x_t): (B, N)."""
        hidden = x_t == self.vocab_size
        agrees = (hidden[:, None, :] | (x_t[:, None, :] == self.strings[None])).all(-1)
        joint = agrees * self.probability
        return joint / joint.sum(1, keepdim=True)

    def marginal_gap(self, x_t: Tensor, positions: list[int]) -> float:
        """Total correlation of some positions given the visible tokens of one row, nats."""
        posterior = self.posterior(x_t[None])[0]
        keys = self.strings[:, positions]
        joint: dict[tuple[int, ...], float] = {}
        for key, p in zip(map(tuple, keys.tolist()), posterior.tolist(), strict=True):
            joint[key] = joint.get(key, 0.0) + p
        marginals = [
            [float(posterior[self.strings[:, i] == v].sum()) for v in range(self.vocab_size)]
            for i in positions
        ]
        return sum(
            p * (math.log(p) - sum(math.log(m[v]) for m, v in zip(marginals, key, strict=True)))
            for key, p in joint.items()
            if p > 0
        )


class ToyHead(nn.Module):
    """Exact joint (or product of exact marginals) of a span; `hidden` carries the row's x_t."""

    def __init__(self, language: ToyLanguage, *, joint: bool) -> None:
        super().__init__()
        self.language, self.joint = language, joint
        self.embedding = nn.Embedding(1, 1)

    def sequential_passes(self, lengths: Tensor) -> Tensor:
        return torch.ones_like(lengths)

    def log_prob(self, hidden: Tensor, targets: Tensor, spans: PackedSpans) -> Tensor:
        strings, length = self.language.strings, self.language.length
        column = spans.token_index % length
        matches = targets[:, None] == strings[:, column].T  # (P, N)
        if not self.joint:
            posterior = self.language.posterior(hidden.long())
            return spans.sum_tokens((posterior * matches).sum(1).log())
        first = spans.offset == 0
        posterior = self.language.posterior(hidden[first].long())  # (S, N)
        misses = torch.zeros_like(posterior).index_add(0, spans.span_index, (~matches).to(posterior.dtype))
        return (posterior * (misses == 0)).sum(1).log()

    def sample(
        self,
        hidden: Tensor,
        spans: PackedSpans,
        *,
        generator: torch.Generator | None = None,
        sampling: Sampling = AS_IT_IS,
    ) -> Tensor:
        column = spans.token_index % self.language.length
        posterior = self.language.posterior(hidden.long())  # (P, N)
        drawn = torch.multinomial(posterior, 1, generator=generator).squeeze(1)  # one string per token
        if self.joint:
            first = (spans.offset == 0).nonzero().squeeze(1)
            drawn = drawn[first[spans.span_index]]
        return self.language.strings[drawn, column]


class ToyDenoiser(nn.Module):
    """The denoiser nobody can beat: exact posterior of the toy language."""

    def __init__(self, language: ToyLanguage, *, joint: bool) -> None:
        super().__init__()
        self.head = ToyHead(language, joint=joint)
        self.vocab_size = self.mask_id = language.vocab_size

    def hidden(self, x_t: Tensor, token_mask: Tensor | None = None) -> Tensor:
        return x_t.double()[:, None, :].expand(-1, x_t.shape[1], -1)  # (B, L, L): each token sees the row

    def forward(self, corrupted: Corrupted) -> DenoiserOutput:
        spans = corrupted.spans
        hidden = spans.gather(self.hidden(corrupted.x_t))
        return DenoiserOutput(log_prob=self.head.log_prob(hidden, spans.gather(corrupted.x_0), spans))


class UniformDenoiser(nn.Module):
    """Gives every token probability 1 / V."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.vocab_size = vocab_size

    def forward(self, corrupted: Corrupted) -> DenoiserOutput:
        return DenoiserOutput(log_prob=-corrupted.spans.length.double() * math.log(self.vocab_size))
