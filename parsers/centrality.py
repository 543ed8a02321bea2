"""TextRank: how central each word is in the dependency graph of its text.

Words are linked by their dependency edges, equal words are one node; a word is important if important words
are linked to it. Source: Mihalcea and Tarau, "TextRank: bringing order into texts" (EMNLP 2004), eq. 2, with
dependency edges in place of co-occurrence, on the undirected graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, final

from hdiff.errors import ParserError
from hdiff.structure import SpanTree

from .salience_base import Salience
from .word_statistics import WordStatistics

DAMPING = 0.85
ITERATIONS = 30


def text_rank(tree: SpanTree) -> tuple[float, ...]:
    """Centrality of each word, relative to the most central word of the text.

    Args:
        tree: A tree with heads.

    Returns:
        One score in [0, 1] per word; words without letters and digits have 0.

    Raises:
        ParserError: If the tree has no heads.
    """
    if tree.heads is None:
        raise ParserError("text rank needs the heads of the words; parse with annotations=('heads',)")
    words = [tree.text[word.start : word.end].lower() for word in tree.words]
    nodes = {word: node for node, word in enumerate(dict.fromkeys(filter(_is_word, words)))}
    links: list[set[int]] = [set() for _ in nodes]
    for word, head in zip(words, tree.heads, strict=True):
        if head >= 0 and word in nodes and words[head] in nodes and words[head] != word:
            links[nodes[word]].add(nodes[words[head]])
            links[nodes[words[head]]].add(nodes[word])
    ranks = _ranks(links)
    top = max(ranks, default=1.0)
    return tuple(ranks[nodes[word]] / top if word in nodes else 0.0 for word in words)


def _ranks(links: list[set[int]]) -> list[float]:
    """Power iteration; a node without links has the rank of the random jump alone."""
    ranks = [1.0] * len(links)
    for _ in range(ITERATIONS):
        shares = [rank / len(linked) if linked else 0.0 for rank, linked in zip(ranks, links, strict=True)]
        ranks = [1 - DAMPING + DAMPING * _sum(shares[other] for other in sorted(linked)) for linked in links]
    return ranks


def _sum(values: Iterable[float]) -> float:
    return sum(values, 0.0)


def _is_word(word: str) -> bool:
    return any(character.isalnum() for character in word)


@final
class TextRank(Salience):
    """Salience by `text_rank`."""

    name = "textrank"
    needs = ("heads",)

    @classmethod
    def of(cls, statistics: WordStatistics) -> TextRank:
        return cls()

    def scores(self, tree: SpanTree) -> tuple[float, ...]:
        return text_rank(tree)

    def to_dict(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TextRank:
        return cls()
