"""AuditLanguage: all strings of four tokens, with structure that is a function of the string.

Dimensions: B batch, L tokens, V vocabulary, N strings of the language.
"""

from __future__ import annotations

import itertools
from typing import final

import torch
from torch import Tensor

from hdiff.corruption.cascade import is_first
from hdiff.data.batch import Batch
from hdiff.errors import DataError


@final
class AuditLanguage:
    """All strings of L = 4 tokens over V = 3 symbols with random probabilities, small enough to enumerate.

    Clauses, phrases and words are nested; they, their labels and the salience depend on the tokens around
    them, so that whoever sees structure that should be hidden learns something about the tokens.

    Args:
        is_lexical: Whether salience is a function of the token id, instead of the token in its context.
        num_buckets: Salience buckets, 1 to 3.
        seed: Seed of the probabilities.
    """

    vocab_size = 3
    length = 4

    def __init__(self, *, is_lexical: bool = False, num_buckets: int = 2, seed: int = 0) -> None:
        if not 1 <= num_buckets <= 3:
            raise DataError(f"num_buckets is {num_buckets}; the audit's language has 1 to 3 salience buckets")
        self.strings = torch.tensor(list(itertools.product(range(self.vocab_size), repeat=self.length)))
        scores = 2 * torch.randn(
            len(self.strings), generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
        self.probability = scores.softmax(0)  # (N,)
        self._whole = _with_structure(self.strings, is_lexical, num_buckets)

    @property
    def entropy(self) -> float:
        """Nats per string."""
        return float(-(self.probability * self.probability.log()).sum())

    def every(self) -> Batch:
        """Each string once, in the order of `strings`."""
        return self._whole

    def sample(self, count: int, generator: torch.Generator) -> Batch:
        """Draws strings with their structure: the levels sentence, clause, phrase and word."""
        return self.of(torch.multinomial(self.probability, count, replacement=True, generator=generator))

    def of(self, numbers: Tensor) -> Batch:
        """The strings of given numbers, long (B,), as a batch."""
        whole = self._whole
        assert whole.salience is not None
        assert whole.salience_buckets is not None
        return Batch(
            input_ids=whole.input_ids[numbers],
            token_mask=whole.token_mask[numbers],
            unit_ids={level: ids[numbers] for level, ids in whole.unit_ids.items()},
            labels={level: values[numbers] for level, values in whole.labels.items()},
            salience=whole.salience[numbers],
            salience_buckets=whole.salience_buckets[numbers],
        )

    def numbers(self, tokens: Tensor) -> Tensor:
        """Which string each row is, long (B,), from tokens (B, L)."""
        digits = self.vocab_size ** torch.arange(self.length - 1, -1, -1)
        return (tokens * digits).sum(1)


def _with_structure(strings: Tensor, is_lexical: bool, num_buckets: int) -> Batch:
    before, after = strings.roll(1, 1), strings.roll(-1, 1)
    total = strings.sum(1, keepdim=True)
    first = torch.zeros_like(strings, dtype=torch.bool)
    first[:, 0] = True
    starts_word = first | ((before + strings) % 3 != 1)
    starts_phrase = first | (starts_word & ((before + 2 * strings + total) % 3 != 0))
    starts_clause = first | (starts_phrase & ((before * strings + total) % 2 == 1))
    starts = {"sentence": first, "clause": starts_clause, "phrase": starts_phrase, "word": starts_word}
    unit_ids = {level: start.long().cumsum(1) - 1 for level, start in starts.items()}
    labels = {level: _labels(strings, ids) for level, ids in unit_ids.items()}
    bucket = (strings if is_lexical else strings + 2 * after + before) % num_buckets
    token_mask = torch.ones_like(first)
    return Batch(strings, token_mask, unit_ids, labels, bucket.float() / num_buckets, bucket)


def _labels(strings: Tensor, units: Tensor) -> Tensor:
    """Labels 0..2, equal within a unit: the sum of its tokens and of its last one."""
    ends = is_first(units).roll(-1, 1)
    ends[:, -1] = True
    value = strings + strings * ends
    return torch.zeros_like(units).scatter_add(1, units, value).gather(1, units) % 3
