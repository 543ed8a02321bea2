"""Statistics of generated token sequences that expose dull or repetitive text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence


def unigram_entropy(tokens: Sequence[Hashable]) -> float:
    """Entropy in nats of the tokens of one text, as used for samples in arXiv:2409.02908."""
    counts = Counter(tokens)
    return sum(-count / len(tokens) * math.log(count / len(tokens)) for count in counts.values()) + 0.0


def distinct_n(texts: Sequence[Sequence[Hashable]], n: int) -> float:
    """Share of different n-grams among all n-grams of a set of texts (arXiv:1510.03055)."""
    grams = [tuple(text[i : i + n]) for text in texts for i in range(len(text) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def repetition(text: Sequence[Hashable], n: int) -> float:
    """Share of the n-grams of one text that occurred in it before (rep-n of arXiv:2202.06417)."""
    grams = [tuple(text[i : i + n]) for i in range(len(text) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
