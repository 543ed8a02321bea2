"""TokenTargets: what supervision predicts of each token, read off the stored parse of a text.

Dimensions: N tokens of all documents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from hdiff.data.control_trees import PARSED, with_control_trees
from hdiff.data.sources.arrow import WORD_COLUMNS
from hdiff.data.stored_spans import StoredSpans
from hdiff.errors import DataError
from hdiff.structure import level_rank

if TYPE_CHECKING:
    from hdiff.data.prepared import PreparedData
    from hdiff.data.sources.arrow import ArrowRows

LARGEST_COUNT = 3
"""Spans that open or close at one token are counted up to here."""

INSIDE_WORD = -1
"""Gap before a token that is not the first of its word."""


@dataclass(frozen=True)
class TargetSpec:
    """What supervision wants to know of each token.

    Attributes:
        names: Names of `TARGETS`, or `tag` (a finer part of speech) and `relation` (to the word's head).
        trees: `parsed`, or the name of a control of `hdiff.data.control_trees`.
        num_labels: Labels of a kind that are told apart, 0 for none; rarer labels count as the last.
    """

    names: tuple[str, ...]
    trees: str = PARSED
    num_labels: int = 20

    @property
    def levels(self) -> tuple[str, ...]:
        """Levels that a parse must have for them."""
        return ("word",) if {"pos", *WORD_COLUMNS}.issuperset(self.names) else ("phrase", "word")


@dataclass(frozen=True)
class _Numbers:
    """Number of each label id: 0 for none, 1 for the most frequent."""

    words: NDArray[np.int64]
    phrases: NDArray[np.int64]


def _pos(spans: StoredSpans, numbers: _Numbers) -> NDArray[np.int64]:
    """Label of the word of each token: its part of speech."""
    words = spans.words
    label_ids = np.zeros(spans.num_tokens, dtype=np.int64)
    label_ids[words.tokens()] = np.repeat(numbers.words[words.label], words.end - words.first)
    return label_ids


def _phrase(spans: StoredSpans, numbers: _Numbers) -> NDArray[np.int64]:
    """Label of the innermost phrase, clause or sentence around each token."""
    return _innermost(spans, numbers)[0]


def _parent(spans: StoredSpans, numbers: _Numbers) -> NDArray[np.int64]:
    """Label of the span around the innermost one."""
    return _innermost(spans, numbers)[1]


def _innermost(spans: StoredSpans, numbers: _Numbers) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    innermost = np.zeros(spans.num_tokens, dtype=np.int64)
    parent = np.zeros(spans.num_tokens, dtype=np.int64)
    for level in spans.above_words.by_depth():
        tokens = level.tokens()
        parent[tokens] = innermost[tokens]
        innermost[tokens] = np.repeat(numbers.phrases[level.label], level.end - level.first)
    return innermost, parent


def _opens(spans: StoredSpans, numbers: _Numbers) -> NDArray[np.int64]:
    """How many spans above words begin at each token, at most `LARGEST_COUNT`."""
    return np.bincount(spans.above_words.first, minlength=spans.num_tokens).clip(max=LARGEST_COUNT)


def _closes(spans: StoredSpans, numbers: _Numbers) -> NDArray[np.int64]:
    """How many spans above words end with each token, at most `LARGEST_COUNT`."""
    return np.bincount(spans.above_words.end - 1, minlength=spans.num_tokens).clip(max=LARGEST_COUNT)


def _gaps(spans: StoredSpans, numbers: _Numbers) -> NDArray[np.int64]:
    """How many spans hold both a token and the one before: 0 between sentences, `INSIDE_WORD` inside one.

    Inside a span the least of these numbers is where its parts meet, so they say the whole tree. Source:
    syntactic distances, arXiv:1806.04168.
    """
    around = spans.above_words.count_around()
    around[spans.words.count_around() > 0] = INSIDE_WORD
    return around


TARGETS: dict[str, Callable[[StoredSpans, _Numbers], NDArray[np.int64]]] = {
    "pos": _pos,
    "phrase": _phrase,
    "parent": _parent,
    "opens": _opens,
    "closes": _closes,
    "gaps": _gaps,
}

LABEL_TARGETS = tuple(name for name in (*TARGETS, *WORD_COLUMNS) if name != "gaps")
"""Targets that are one of a few labels."""


def target_size(name: str, num_labels: int) -> int:
    """Different values of a target, from 0."""
    return LARGEST_COUNT + 1 if name in ("opens", "closes") else num_labels


@final
class TokenTargets:
    """Columns of one spec, in the numbers of one data set.

    Args:
        prepared: The data set; its training split says which labels are frequent.
        spec: What is wanted.

    Raises:
        DataError: If the data set was prepared without what a target needs.
    """

    def __init__(self, prepared: PreparedData, spec: TargetSpec) -> None:
        self.spec = spec
        self.check(prepared)
        spans = _train_spans(prepared)
        names = prepared.manifest["labels"]
        self._words = _numbers(spans.words.label, names, spec.num_labels)
        self._phrases = _numbers(spans.above_words.label, names, spec.num_labels)
        rows = prepared.split("train")
        self._told = {
            name: _numbers(rows.values(column), names, spec.num_labels)
            for name, column in WORD_COLUMNS.items()
            if name in spec.names
        }

    def of_rows(
        self, rows: ArrowRows, starts: NDArray[np.int64], labels: Sequence[str]
    ) -> dict[str, NDArray[np.int16]]:
        """The columns of some documents.

        Args:
            rows: Documents, with the columns of `hdiff.data.sources.arrow.schema`.
            starts: First token of each and the end of the last, int64 (documents + 1,).
            labels: Labels by their ids in these rows, which may be of another data set.

        Returns:
            Target -> its value at each token, int16 (N,).
        """
        spans = with_control_trees(StoredSpans.of_rows(rows, starts), starts, self.spec.trees)
        last = self.spec.num_labels - 1  # also of labels that the data set lacks
        numbers = _Numbers(
            *(
                np.array([known.get(name, last) for name in [*labels, ""]], dtype=np.int64)
                for known in (self._words, self._phrases)
            )
        )
        return {
            name: (
                _of_words(rows.values(WORD_COLUMNS[name]), spans.words, self._told[name], labels, last)
                if name in WORD_COLUMNS
                else TARGETS[name](spans, numbers)
            ).astype(np.int16)
            for name in self.spec.names
        }

    def check(self, prepared: PreparedData) -> None:
        """Raises DataError if a data set, this or another one, was prepared without what a target needs."""
        kept, parser = list(prepared.manifest["levels"]), prepared.manifest["parser"]["name"]
        wanted = f"supervision by {list(self.spec.names)} of trees '{self.spec.trees}'"
        for level in self.spec.levels:
            if level not in kept:
                raise DataError(
                    f"{wanted} needs level '{level}', {prepared.path} keeps {kept} (parser '{parser}'); "
                    f"re-run hdiff prepare with",
                    f"--parser spacy --levels {','.join(sorted({*self.spec.levels, *kept}, key=level_rank))}",
                )
        told = prepared.manifest.get("told", ())
        for name in WORD_COLUMNS:
            if name in self.spec.names and name not in told:
                raise DataError(
                    f"{wanted} needs the {name} of each word, {prepared.path} has none (parser '{parser}', "
                    f"prepared by hdiff {prepared.manifest['hdiff_version']}); prepare it again with",
                    "--parser spacy",
                )
        if "pos" not in self.spec.names:
            return
        labels = {
            prepared.manifest["labels"][label] for label in np.unique(_train_spans(prepared).words.label)
        }
        if len(labels) < 2:
            raise DataError(
                f"{wanted} needs parts of speech, the words of {prepared.path} are labelled {sorted(labels)} "
                f"(parser '{parser}'); re-run hdiff prepare with",
                "--parser spacy",
            )


def _of_words(
    told: NDArray[np.int16],
    words: StoredSpans,
    known: dict[str, int],
    labels: Sequence[str],
    last: int,
) -> NDArray[np.int64]:
    """Number of what is told of the word of each token, 0 outside of words and where nothing is told."""
    targets = np.zeros(words.num_tokens, dtype=np.int64)
    if len(told) == len(words.first):
        numbers = np.array([known.get(name, last) for name in [*labels, ""]], dtype=np.int64)
        targets[words.tokens()] = np.repeat(numbers[told], words.end - words.first)
    return targets


def _train_spans(prepared: PreparedData) -> StoredSpans:
    """Spans of the training split, to be counted: positions are those in each document."""
    rows = prepared.split("train")
    return StoredSpans.of_rows(rows, np.zeros(len(rows) + 1, dtype=np.int64))


def _numbers(labels: NDArray[np.int64], names: Sequence[str], num_labels: int) -> dict[str, int]:
    """1 for the most frequent label, and so on; all rare ones share the last number."""
    counts = np.bincount(labels, minlength=len(names))
    order = [label for label in np.argsort(-counts, kind="stable").tolist() if counts[label]]
    return {names[label]: min(place, num_labels - 1) for place, label in enumerate(order, start=1)}
