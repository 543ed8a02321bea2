"""Labelled bracket F1 as EVALB computes it, on SpanTrees.

Conventions of EVALB's COLLINS.prm, the usual ones for the Penn Treebank: the outer TOP or ROOT does not count
and words do not count; punctuation (words of such marks alone) is taken out before brackets are compared;
every bracket of a unary chain counts; brackets over one word count; PRT and ADVP are the same.
Source: Sekine and Collins, EVALB (1997).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass

from hdiff.structure import SpanTree

_PUNCTUATION = frozenset(",:`'.\"“”‘’;!?-–—…")
_SAME = {"PRT": "ADVP"}

Bracket = tuple[str, int, int]


@dataclass
class BracketScore:
    """Labelled brackets that match, of those found and those in the gold trees.

    Attributes:
        matched: In both.
        found: Of the parser.
        gold: Of the gold trees.
        exact: Sentences whose brackets are all right.
        sentences: Sentences compared.
    """

    matched: int = 0
    found: int = 0
    gold: int = 0
    exact: int = 0
    sentences: int = 0

    def add(self, gold: SpanTree, found: SpanTree) -> None:
        """Compares one sentence; the parser was given the gold words."""
        wanted, given = brackets(gold), brackets(found)
        both = sum((wanted & given).values())
        self.matched += both
        self.found += sum(given.values())
        self.gold += sum(wanted.values())
        self.exact += wanted == given
        self.sentences += 1

    def to_dict(self) -> dict[str, float]:
        """Precision, recall, F1 and share of exact sentences in [0, 1], and the counts."""
        precision = self.matched / self.found if self.found else 0.0
        recall = self.matched / self.gold if self.gold else 0.0
        total = self.found + self.gold
        return {
            "precision": precision,
            "recall": recall,
            "f1": 2 * self.matched / total if total else 0.0,
            "exact": self.exact / self.sentences if self.sentences else 0.0,
            "matched": self.matched,
            "found": self.found,
            "gold": self.gold,
        }


def brackets(tree: SpanTree) -> Counter[Bracket]:
    """Labelled extents (label, first word, end word) over words that are not punctuation."""
    words = tree.words
    starts, ends = [word.start for word in words], [word.end for word in words]
    counted = [0]
    for word in words:
        is_mark = _PUNCTUATION.issuperset(tree.text[word.start : word.end])
        counted.append(counted[-1] + (not is_mark))
    counts: Counter[Bracket] = Counter()
    for span in tree.spans:
        if span.level == "word" or not span.label:
            continue
        first, end = counted[bisect_left(starts, span.start)], counted[bisect_left(ends, span.end) + 1]
        if first < end:
            counts[_SAME.get(span.label, span.label), first, end] += 1
    return counts
