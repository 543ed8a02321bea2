"""Keyword evaluation: does a salience tell gold keywords from the other words? ROC AUC, no torch.

Gold: the E2E data aligned by slot (JSON lines with `text`, words split by spaces, and `spans` [first, end,
slot]). Words inside the values of slots 0 to 6 are keywords; 7 and 8 are punctuation and the end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from hdiff.errors import ParserError
from hdiff.structure import SpanTree

from .salience_base import SALIENCES, salience_class
from .word_statistics import WordStatistics

NUM_SLOTS = 7


class GoldKeywords(NamedTuple):
    """Words split by single spaces, and half-open character offsets of those that are keywords."""

    text: str
    keywords: tuple[tuple[int, int], ...]


def read_keywords(path: Path, *, every: int = 1, limit: int | None = None) -> list[GoldKeywords]:
    """Gold texts of a file.

    Args:
        path: JSON lines.
        every: Take every n-th line only.
        limit: Most texts.

    Returns:
        The texts.

    Raises:
        ParserError: Naming file and line, if a line does not fit.
    """
    texts: list[GoldKeywords] = []
    with path.open("rb") as file:  # a line that is no UTF-8 is one that does not fit
        for number, line in islice(enumerate(file, start=1), 0, None, every):
            if limit is not None and len(texts) == limit:
                break
            try:
                row = json.loads(line)
                words = row["text"].split(" ")
                inside = {
                    word
                    for first, end, slot in row["spans"]
                    if slot < NUM_SLOTS
                    for word in range(first, end)
                }
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ParserError(
                    f"{path}, line {number}: {error!r}; "
                    "expected {'text': ..., 'spans': [[first, end, slot], ...]}"
                ) from error
            keywords, start = [], 0
            for position, word in enumerate(words):
                if position in inside:
                    keywords.append((start, start + len(word)))
                start += len(word) + 1
            texts.append(GoldKeywords(row["text"], tuple(keywords)))
    return texts


def are_keywords(gold: GoldKeywords, tree: SpanTree) -> list[bool]:
    """Whether each word of a tree begins inside a keyword."""
    inside = {character for start, end in gold.keywords for character in range(start, end)}
    return [word.start in inside for word in tree.words]


def roc_auc(scores: Sequence[float], is_positive: Sequence[bool]) -> float:
    """P(score of a positive > score of a negative) + P(equal) / 2, over all pairs.

    Args:
        scores: Scores.
        is_positive: Whether each is a positive.

    Returns:
        The area under the ROC curve.

    Raises:
        ParserError: If there is no positive, or no negative.
    """
    positives = sum(is_positive)
    negatives = len(scores) - positives
    if not positives or not negatives:
        raise ParserError("ROC AUC needs keywords and other words; the gold has only one kind")
    order = sorted(range(len(scores)), key=scores.__getitem__)
    rank_sum, first = 0.0, 0
    while first < len(order):
        last = first
        while last + 1 < len(order) and scores[order[last + 1]] == scores[order[first]]:
            last += 1
        middle = (first + last) / 2 + 1  # ranks count from 1, ties share theirs
        rank_sum += middle * sum(is_positive[order[position]] for position in range(first, last + 1))
        first = last + 1
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def keyword_auc(
    gold: Sequence[GoldKeywords], trees: Iterable[SpanTree], scores: Iterable[Sequence[float]]
) -> float:
    """ROC AUC of scores over the words of all texts together."""
    flags = [flag for text, tree in zip(gold, trees, strict=True) for flag in are_keywords(text, tree)]
    return roc_auc([score for row in scores for score in row], flags)


def evaluate_salience(
    path: Path, parser_spec: str, name: str | None = None, *, limit: int | None = None
) -> dict[str, Any]:
    """ROC AUC of salience methods on the gold keywords of a file.

    Counts are taken over the texts of the file, which have no keywords in them.

    Args:
        path: As `read_keywords` takes it.
        parser_spec: As `load_parser` takes it.
        name: The method; None for all that the parser has the annotations for.
        limit: Most texts.

    Returns:
        `saliences`: name -> `roc_auc` and `microseconds_per_word`; `texts`, `words`, `keywords`.

    Raises:
        ParserError: If the file is malformed, or the parser lacks what the method needs.
    """
    from . import load_parser

    gold = read_keywords(path, limit=limit)
    methods = [salience_class(each) for each in (SALIENCES if name is None else [name])]
    given = load_parser(parser_spec).annotations
    if name is None:
        methods = [method for method in methods if set(method.needs) <= set(given)]
    needs = sorted({need for method in methods for need in method.needs})
    trees = list(load_parser(parser_spec, annotations=needs).parse(text.text for text in gold))
    statistics = WordStatistics.of(trees, pairs=any(method.needs_pairs for method in methods))
    flags = [flag for text, tree in zip(gold, trees, strict=True) for flag in are_keywords(text, tree)]
    rows = {}
    for method in methods:
        salience = method.of(statistics)
        began = time.perf_counter()
        scores = [score for tree in trees for score in salience.scores(tree)]
        seconds = time.perf_counter() - began
        rows[method.name] = {
            "roc_auc": roc_auc(scores, flags),
            "microseconds_per_word": 1e6 * seconds / len(scores),
        }
    return {"saliences": rows, "texts": len(gold), "words": len(flags), "keywords": sum(flags)}
