"""Between SpanTrees and what benepar reads and gives. Imports benepar; torch only through it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from benepar.integrations.spacy_plugin import SentenceWrapper
from benepar.parse_base import BaseInputExample

from hdiff.structure import Span, SpanTree

from .brackets import CLAUSE_LABELS
from .nltk_trees import to_nltk

ROOT_LABEL = "S"
"""Label of a sentence that the model gives none."""


class Example(BaseInputExample):  # type: ignore[misc]
    """One sentence as benepar takes it, words spelt as its spaCy component spells them.

    Args:
        gold: A tree of one sentence.

    Attributes:
        gold: The tree.
        words: Its words.
        space_after: Whether whitespace follows each word.
        tree: The same as an `nltk.Tree`.
    """

    def __init__(self, gold: SpanTree) -> None:
        self.gold = gold
        words = gold.words
        spell = SentenceWrapper.TEXT_NORMALIZATION_MAPPING
        self.words = [spell.get(form, form) for form in (gold.text[word.start : word.end] for word in words)]
        self.space_after = [left.end < right.start for left, right in pairwise(words)] + [False]
        self.tree = to_nltk(gold)

    def leaves(self) -> list[str]:
        return self.words

    def pos(self) -> list[tuple[str, str]]:
        return [(word, "UNK") for word in self.words]


def found_spans(
    places: Sequence[Span], starts: Sequence[int], ends: Sequence[int], chains: Sequence[Sequence[str]]
) -> list[Span]:
    """What benepar found in one sentence, as spans of the text.

    Args:
        places: The words of the sentence.
        starts: First word of each constituent, in preorder.
        ends: Word after its last one.
        chains: Its labels, outermost first; several for a unary chain, none for a bare word.

    Returns:
        The sentence, then its clauses and phrases.
    """
    spans: list[Span] = []
    for start, end, chain in zip(starts, ends, chains, strict=True):
        first, last = places[start].start, places[end - 1].end
        if not spans:  # the sentence itself
            spans.append(Span(first, last, chain[0] if chain else ROOT_LABEL, "sentence"))
            chain = chain[1:]
        spans += [
            Span(first, last, label, "clause" if label in CLAUSE_LABELS else "phrase") for label in chain
        ]
    return spans
