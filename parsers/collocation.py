"""Collocations: how strongly words are tied to their neighbours; multi-word units.

Strength of a pair: normalised pointwise mutual information, NLTK's `pmi` over -log2 p(left, right), in
[-1, 1]. Source: Church and Hanks, "Word association norms, mutual information, and lexicography" (1990);
Bouma, "Normalized (pointwise) mutual information in collocation extraction" (2009).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log2
from typing import Any, final

from hdiff.errors import ParserError
from hdiff.plugins import install_command
from hdiff.structure import Span, SpanTree

from .salience_base import Salience
from .word_statistics import WordStatistics, neighbours

MIN_COUNT = 5
"""Pairs that occur less often are too few to tell (Church and Hanks)."""

UNIT_THRESHOLD = 0.5
UNIT_LABEL = "MWU"


@final
@dataclass(frozen=True)
class Collocations(Salience):
    """Salience of a word: its strongest tie to a neighbour, by strength in (0, 1] of pairs, or 0."""

    strengths: Mapping[str, float] = field(default_factory=dict)

    name = "collocation"
    needs_pairs = True

    @classmethod
    def of(cls, statistics: WordStatistics) -> Collocations:
        if statistics.num_documents and not statistics.word_counts:
            raise ParserError("collocations need pairs; count with WordStatistics.of(trees, pairs=True)")
        association = _pmi()
        num_words = sum(statistics.word_counts.values())
        strengths = {}
        for pair, count in sorted(statistics.pair_counts.items()):
            left, _, right = pair.partition(" ")
            margins = statistics.word_counts[left], statistics.word_counts[right]
            if count < MIN_COUNT or not all(margins):
                continue
            strength = association(count, margins, num_words) / -log2(count / num_words)
            if strength > 0:
                strengths[pair] = round(min(strength, 1.0), 4)
        return cls(strengths)

    def scores(self, tree: SpanTree) -> tuple[float, ...]:
        scores = [0.0] * len(tree.words)
        for position, left, right in neighbours(tree):
            strength = self.strengths.get(f"{left} {right}", 0.0)
            scores[position] = max(scores[position], strength)
            scores[position + 1] = max(scores[position + 1], strength)
        return tuple(scores)

    def multi_word_units(self, tree: SpanTree, *, threshold: float = UNIT_THRESHOLD) -> list[Span]:
        """Longest runs of words in which every neighbour is tied to the next.

        Args:
            tree: A parsed text.
            threshold: Least strength of a tie.

        Returns:
            Phrases with the label MWU, in text order, disjoint; those that cross a span of the tree are left
            out.
        """
        words = tree.words
        runs: list[list[int]] = []
        for position, left, right in neighbours(tree):
            if self.strengths.get(f"{left} {right}", 0.0) >= threshold:
                if runs and runs[-1][1] == position:
                    runs[-1][1] = position + 1
                else:
                    runs.append([position, position + 1])
        units = [Span(words[first].start, words[last].end, UNIT_LABEL, "phrase") for first, last in runs]
        return [unit for unit in units if not any(_cross(unit, span) for span in tree.spans)]

    def to_dict(self) -> dict[str, Any]:
        return {"strengths": dict(self.strengths)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Collocations:
        return cls(dict(data["strengths"]))


def _pmi() -> Any:
    try:
        from nltk.metrics.association import BigramAssocMeasures
    except ImportError as error:
        raise ParserError(
            f"NLTK cannot be imported ({error}), salience 'collocation' needs it; run:",
            install_command("nltk"),
        ) from error
    return BigramAssocMeasures.pmi


def _cross(one: Span, other: Span) -> bool:
    return one.start < other.start < one.end < other.end or other.start < one.start < other.end < one.end
