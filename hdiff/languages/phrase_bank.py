"""Phrase bank: the demonstration with known answers, and what exact marginals reach without a joint.

Rows are phrases drawn independently and uniformly from a bank, so the entropy, the share of valid
phrases and the best a product of marginals can do are all known exactly.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cache

Phrase = tuple[str, ...]


def valid_phrase_rate(texts: Sequence[str], phrases: Sequence[Phrase]) -> float:
    """Share of valid phrases among the consecutive groups of words of each text.

    Args:
        texts: Texts of words separated by spaces; a phrase starts every len(phrases[0]) words.
        phrases: The bank, phrases of equal length.

    Returns:
        A share in [0, 1]. A group at the end that is too short counts as invalid.
    """
    bank = set(phrases)
    size = len(phrases[0])
    groups = [
        tuple(words[i : i + size]) for words in map(str.split, texts) for i in range(0, len(words), size)
    ]
    return sum(group in bank for group in groups) / len(groups) if groups else 0.0


def entropy_per_token(phrases: Sequence[Phrase]) -> float:
    """Exact -log p of the text in nats per token: log(number of phrases) / words per phrase."""
    return math.log(len(phrases)) / len(phrases[0])


def factorised_ceiling(phrases: Sequence[Phrase], num_tokens: int, num_steps: int) -> float:
    """Valid-phrase rate of the factorised denoiser with exact marginals under the ancestral sampler.

    It has the best bound of all factorised denoisers. One that gives up some phrases can have more that are
    valid.

    The denoiser knows the true marginal of every hidden token given what is visible; tokens filled
    in the same step are drawn independently. The sampler splits a random order of the row's tokens
    into min(T, N) groups of nearly equal size (`hdiff.reveal_order`). All assignments of one
    phrase's tokens to steps are enumerated with their probabilities.

    Args:
        phrases: The bank.
        num_tokens: Tokens per row N.
        num_steps: Steps T.

    Returns:
        Expected share of valid phrases.
    """
    size = len(phrases[0])
    num_groups = min(num_steps, num_tokens)
    sizes = [0] * num_groups
    for rank in range(num_tokens):
        sizes[rank * num_groups // num_tokens] += 1
    expected = 0.0
    total = math.perm(num_tokens, size)
    for pattern, ways in _ordered_patterns(sizes, size).items():
        expected += ways / total * _valid_probability(tuple(phrases), pattern)
    return expected


def _ordered_patterns(sizes: Sequence[int], size: int) -> dict[tuple[int, ...], int]:
    """Ways in which a phrase's tokens can fall into steps, by order pattern.

    A pattern gives each token the rank of its step among the steps the phrase uses: (0, 0, 1, 0)
    means token 2 comes alone, after the others together.
    """
    weights: dict[tuple[int, ...], int] = {}
    for num_used in range(1, size + 1):
        shapes = [
            p for p in itertools.product(range(num_used), repeat=size) if set(p) == set(range(num_used))
        ]
        counts = {tuple(shape.count(step) for step in range(num_used)) for shape in shapes}
        ways = {count: _placements(tuple(sizes), count) for count in counts}
        for shape in shapes:
            weights[shape] = ways[tuple(shape.count(step) for step in range(num_used))]
    return weights


@cache
def _placements(sizes: tuple[int, ...], counts: tuple[int, ...]) -> int:
    """Ordered ways to put counts[0] tokens into one step, counts[1] into a later one, and so on."""
    if not counts:
        return 1
    if not sizes:
        return 0
    here = math.perm(sizes[0], counts[0])
    return here * _placements(sizes[1:], counts[1:]) + _placements(sizes[1:], counts)


def _valid_probability(phrases: tuple[Phrase, ...], pattern: tuple[int, ...]) -> float:
    """P(a bank phrase results) when tokens are drawn in the order of `pattern` from exact marginals."""
    probability = 0.0
    for phrase in phrases:
        share = 1.0
        for step in range(max(pattern) + 1):
            visible = [i for i in range(len(phrase)) if pattern[i] < step]
            consistent = [other for other in phrases if all(other[i] == phrase[i] for i in visible)]
            for i in (i for i in range(len(phrase)) if pattern[i] == step):
                share *= sum(other[i] == phrase[i] for other in consistent) / len(consistent)
        probability += share
    return probability
