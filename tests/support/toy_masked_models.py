"""Masked models whose every answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hdiff.data.tokenizer import Tokenizer
from hdiff.diagnosis import MaskedModel, MaskedSubject


def word_tokenizer(size: int) -> Tokenizer:
    """A tokenizer of `size` words, two of which are <eos> and <unk>."""
    return Tokenizer.train([" ".join(f"w{number}" for number in range(size - 2))], "words")


def subject_of(model: MaskedModel, *, longest: int = 64, joint: bool = False) -> MaskedSubject:
    """A toy as the subject of a diagnosis."""
    tokenizer = word_tokenizer(model.vocab_size)
    return MaskedSubject("toy", model, tokenizer, longest, joint=model if joint else None)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Everywhere:
    """Predicts one distribution at every place, whatever is visible.

    Attributes:
        log_p: float64 (V,).
    """

    log_p: Tensor

    @property
    def vocab_size(self) -> int:
        return len(self.log_p)

    @property
    def mask_id(self) -> int:
        return len(self.log_p)

    def log_probs(self, x_t: Tensor, token_mask: Tensor) -> Tensor:
        return self.log_p.expand(*x_t.shape, -1)


@dataclass(frozen=True)
class Pairs:
    """Tokens 2 k and 2 k + 1 are drawn from a table, apart from all others.

    Attributes:
        table: p(a, b), float64 (V, V).
    """

    table: Tensor

    @property
    def vocab_size(self) -> int:
        return len(self.table)

    @property
    def mask_id(self) -> int:
        return len(self.table)

    def log_probs(self, x_t: Tensor, token_mask: Tensor) -> Tensor:
        found = torch.empty(*x_t.shape, self.vocab_size, dtype=torch.float64)
        for row, tokens in enumerate(x_t.tolist()):
            for place in range(len(tokens)):
                is_first = place % 2 == 0
                table = self.table.T if is_first else self.table  # (other, own)
                other = tokens[place + 1 if is_first else place - 1]
                p = table.sum(0) if other == self.mask_id else table[other] / table[other].sum()
                found[row, place] = p.log()
        return found

    def pair_log_probs(self, x_t: Tensor, places: Tensor, pairs: Tensor) -> Tensor:
        assert bool((places % 2 == 0).all())
        return self.table.log()[pairs[..., 0], pairs[..., 1]]


@dataclass(frozen=True)
class Sentences:
    """The exact posterior of a list of sentences, all equally likely; tokens that fit none have p = 0.

    Attributes:
        sentences: Token ids.
        vocab_size: Vocabulary V.
    """

    sentences: Sequence[tuple[int, ...]]
    vocab_size: int

    @property
    def mask_id(self) -> int:
        return self.vocab_size

    def log_probs(self, x_t: Tensor, token_mask: Tensor) -> Tensor:
        found = torch.zeros(*x_t.shape, self.vocab_size, dtype=torch.float64)
        for row, (tokens, real) in enumerate(zip(x_t.tolist(), token_mask.tolist(), strict=True)):
            seen = [token for token, is_real in zip(tokens, real, strict=True) if is_real]
            for sentence in self.sentences:
                pairs = zip(seen, sentence, strict=False)
                if len(sentence) == len(seen) and all(s in (self.mask_id, t) for s, t in pairs):
                    for place, token in enumerate(sentence):
                        found[row, place, token] += 1
        return (found / found.sum(-1, keepdim=True)).log()
