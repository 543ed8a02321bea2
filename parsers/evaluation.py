"""Evaluation: the spans of a parser against gold trees, on the gold words.

Conventions, after EVALB (Sekine and Collins 1997) where they apply to spans of several parsers:
- extents are word positions of one sentence; punctuation is stripped from both ends of a span;
- spans of two words or more count, the whole sentence counts too; a unary chain is one span (the outermost
  label of the gold tree stands for it), so every extent counts once;
- unlabelled: extents; labelled: extents with a category. Parsers name things differently, so categories are
  coarse: clause (S, SBAR, relcl, ...), NP (NP, QP, NML, NX, WHNP), VP, PP (PP, WHPP), ADJP (ADJP, WHADJP),
  ADVP (ADVP, WHADVP), and other;
- scores are micro-averages over all sentences.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hdiff.errors import UserError
from hdiff.structure import SpanTree

from .balance import Balance
from .base import Parser
from .evalb import BracketScore
from .span_errors import SpanError, span_errors

_LABELS_OF = {
    "NP": "NP QP NML NX WHNP NAC",
    "VP": "VP",
    "PP": "PP WHPP",
    "ADJP": "ADJP WHADJP",
    "ADVP": "ADVP WHADVP",
}
CATEGORIES = {label: category for category, labels in _LABELS_OF.items() for label in labels.split()}
LEVELS = ("clause", "phrase")

Extent = tuple[int, int]


@dataclass
class Score:
    """Spans that match, of those found and those in the gold trees.

    Attributes:
        matched: In both.
        found: Of the parser.
        gold: Of the gold trees.
    """

    matched: int = 0
    found: int = 0
    gold: int = 0

    def to_dict(self) -> dict[str, float]:
        """Precision, recall and F1 in [0, 1] (0 where undefined), and the counts."""
        precision = self.matched / self.found if self.found else 0.0
        recall = self.matched / self.gold if self.gold else 0.0
        f1 = 2 * precision * recall / (precision + recall) if self.matched else 0.0
        return {
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "matched": self.matched,
            "found": self.found,
            "gold": self.gold,
        }


@dataclass
class SpanScores:
    """Scores that grow sentence by sentence.

    Attributes:
        unlabelled: Extents.
        labelled: Extents with their category.
        evalb: Brackets with their treebank label.
        by_level: Recall and precision of extents that are clauses, or phrases, on each side.
        by_label: Labelled scores of each category.
        gold_balance: Brackets and quotes in spans of the gold trees.
        balance: The same of the parser.
        errors: What differs, in the order of the sentences.
        sentences: Sentences compared.
        words: Words in them.
    """

    unlabelled: Score = field(default_factory=Score)
    labelled: Score = field(default_factory=Score)
    evalb: BracketScore = field(default_factory=BracketScore)
    by_level: dict[str, Score] = field(default_factory=dict)
    by_label: dict[str, Score] = field(default_factory=dict)
    gold_balance: Balance = field(default_factory=Balance)
    balance: Balance = field(default_factory=Balance)
    errors: list[SpanError] = field(default_factory=list)
    sentences: int = 0
    words: int = 0

    def add(self, gold: SpanTree, found: SpanTree) -> None:
        """Compares one sentence; the parser was given the gold words."""
        assert _places(gold) == _places(found)
        wanted, given = extents(gold), extents(found)
        self.sentences += 1
        self.words += len(gold.words)
        self.evalb.add(gold, found)
        self.errors += span_errors(gold, wanted, given)
        self.gold_balance.add(gold)
        self.balance.add(found)
        _add(self.unlabelled, set(wanted), set(given))
        labelled = {(extent, label) for extent, (label, _) in wanted.items()}
        labelled_found = {(extent, label) for extent, (label, _) in given.items()}
        _add(self.labelled, labelled, labelled_found)
        for label in {label for _, label in labelled | labelled_found}:
            _add(
                self.by_label.setdefault(label, Score()),
                {item for item in labelled if item[1] == label},
                {item for item in labelled_found if item[1] == label},
            )
        for level in LEVELS:
            _add(
                self.by_level.setdefault(level, Score()),
                {extent for extent, (_, its) in wanted.items() if its == level},
                {extent for extent, (_, its) in given.items() if its == level},
            )

    def to_dict(self) -> dict[str, Any]:
        """All scores, JSON-able."""
        return {
            "unlabelled": self.unlabelled.to_dict(),
            "labelled": self.labelled.to_dict(),
            "evalb": self.evalb.to_dict(),
            "by_level": {level: score.to_dict() for level, score in self.by_level.items()},
            "by_label": {
                label: score.to_dict()
                for label, score in sorted(self.by_label.items(), key=lambda item: -item[1].gold)
            },
            "unbalanced": {"gold": self.gold_balance.to_dict(), "parser": self.balance.to_dict()},
            "sentences": self.sentences,
            "words": self.words,
        }


def extents(tree: SpanTree) -> dict[Extent, tuple[str, str]]:
    """Spans of two words or more between punctuation, as word positions.

    Args:
        tree: One sentence.

    Returns:
        Half-open extent -> (category, level) of the outermost span that has it.
    """
    words = tree.words
    first_at = {word.start: position for position, word in enumerate(words)}
    last_at = {word.end: position for position, word in enumerate(words)}
    is_punctuation = [word.label in ("PUNCT", "SYM") and _is_mark(tree, word) for word in words]
    categories: dict[Extent, tuple[str, str]] = {}
    for span in tree.spans:
        if span.level == "word":
            continue
        first, last = first_at[span.start], last_at[span.end]
        while first < last and is_punctuation[first]:
            first += 1
        while last > first and is_punctuation[last]:
            last -= 1
        if first < last:
            is_clause = span.level in ("sentence", "clause") and span.label not in CATEGORIES
            category = "clause" if is_clause else CATEGORIES.get(span.label, "other")
            level = "clause" if span.level == "sentence" else span.level
            categories.setdefault((first, last + 1), (category, level))
    return categories


def evaluate(
    gold: Sequence[SpanTree], parsed: Iterable[SpanTree | UserError], *, groups: Sequence[str] = ()
) -> dict[str, Any]:
    """Scores a parser that was given the gold words.

    Args:
        gold: Gold trees, one sentence each.
        parsed: What the parser made of each, or why it failed; read as a stream, and timed. A tree with
            other words counts as failed.
        groups: The group of each gold tree, for figures by group.

    Returns:
        `unlabelled`, `labelled`, `evalb`, `by_level`, `by_label`, `unbalanced`, `sentences`, `words`,
        `failed`, and `tokens_per_second` of the parser; `by_group`, the same scores for each group, if
        given; `errors`, every `SpanError`.
    """
    scores = SpanScores()
    by_group = {group: SpanScores() for group in groups}
    failed = 0
    began = time.perf_counter()
    results = list(parsed)
    seconds = time.perf_counter() - began
    for number, (tree, result) in enumerate(zip(gold, results, strict=True)):
        if isinstance(result, SpanTree) and _places(tree) == _places(result):
            scores.add(tree, result)
            if groups:
                by_group[groups[number]].add(tree, result)
        else:
            failed += 1
    return {
        **scores.to_dict(),
        **({"by_group": {name: score.to_dict() for name, score in by_group.items()}} if groups else {}),
        "errors": [error.to_dict() for error in scores.errors],
        "failed": failed,
        "tokens_per_second": round(sum(len(tree.words) for tree in gold) / max(seconds, 1e-9)),
    }


def sentence_boundaries(parser: Parser, documents: Iterable[Sequence[Sequence[str]]]) -> dict[str, float]:
    """Where a parser ends sentences in raw text, against the gold sentences.

    Args:
        parser: The parser.
        documents: Sentences of each paragraph of each document; sentences are joined by blanks, paragraphs
            by blank lines.

    Returns:
        Precision, recall, F1 of sentence ends, and the counts.
    """
    gold: list[set[int]] = []
    texts: list[str] = []
    for document in documents:
        text = ""
        ends: set[int] = set()
        for paragraph in document:
            text += "\n\n" if text else ""
            for number, sentence in enumerate(paragraph):
                text += f" {sentence}" if number else sentence
                ends.add(len(text))
        texts.append(text)
        gold.append(ends)
    score = Score()
    for ends, tree in zip(gold, parser.parse(texts), strict=True):
        _add(score, ends, {sentence.end for sentence in tree.at("sentence")})
    return score.to_dict()


def _add(score: Score, gold: set[Any], found: set[Any]) -> None:
    score.matched += len(gold & found)
    score.found += len(found)
    score.gold += len(gold)


def _places(tree: SpanTree) -> list[Extent]:
    return [(word.start, word.end) for word in tree.words]


def _is_mark(tree: SpanTree, word: Any) -> bool:
    return not any(character.isalnum() for character in tree.text[word.start : word.end])
