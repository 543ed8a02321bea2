"""Align step: the trees of a shard become rows of token ids, spans and salience.

Dimensions: S spans, L tokens.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hdiff.data.alignment import AlignedSpans, align
from hdiff.data.prepare.job import Job, OnDocument, Report
from hdiff.data.prepare.prompted import encode_pair
from hdiff.data.prepare.trees import read_trees
from hdiff.data.sources.arrow import encode_rows
from hdiff.data.sources.rejected import Rejected
from hdiff.data.tokenizer import Tokenizer
from hdiff.files import file_sha256, write_atomically
from hdiff.structure import LEVELS, Span, SpanTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hdiff.parsers import Salience

NO_TOKENS = "the tokenizer finds no token"
HISTOGRAM_BINS = 1024
ALIGN_FORMAT = 5
"""Changes whenever the same trees give other rows."""


def align_shard(job: Job, settings: dict[str, Any], on_document: OnDocument) -> Report:
    """Turns trees into rows; documents that give no row go to a file beside it.

    Args:
        job: The shard.
        settings: `tokenizer` and `salience` (files) with `tokenizer_sha256` and `salience_sha256`, `levels`
            to keep, `labels` in the order of their ids.
        on_document: Told of each document.

    Returns:
        Documents, tokens, words, characters, spans per level, snapped spans, counts of reasons.

    Raises:
        OSError: If the disk is full.
    """
    identity = align_identity(file_sha256(job.source), settings)
    if (finished := job.finished(identity)) is not None:
        return finished
    rows = Rows(
        _tokenizer(settings["tokenizer"]),
        _salience(settings["salience"]),
        levels={level: LEVELS.index(level) for level in settings["levels"]},
        label_ids={label: label_id for label_id, label in enumerate(settings["labels"])},
        prompts=settings.get("prompts"),
    )
    for position, item in enumerate(read_trees(job.source)):
        rows.add(item)
        on_document(position)
    lines = [
        json.dumps({"position": position, "reason": item.reason, "text": item.text, "inside": item.place})
        + "\n"
        for position, item in rows.rejected.items()
    ]
    write_atomically(rejected_path(job.out), "".join(lines).encode("ascii"))
    write_atomically(token_salience_path(job.out), rows.token_salience())
    return job.finish(identity, encode_rows(rows.columns), rows.facts())


def align_identity(source_sha256: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Everything that decides what the rows of a shard are."""
    decisive = {key: value for key, value in settings.items() if key not in ("tokenizer", "salience")}
    return {"source_sha256": source_sha256, "settings": decisive, "format": ALIGN_FORMAT}


def rejected_path(out: Path) -> Path:
    """Where the documents of a shard lie that give no row."""
    return out.with_name(f"{out.name}.rejected.jsonl")


def token_salience_path(out: Path) -> Path:
    """Where a shard's salience lies: sums and counts by token id, and a histogram, as a .npz file."""
    return out.with_name(f"{out.name}.salience.npz")


@dataclass(frozen=True)
class Rows:
    """Rows of a shard, column by column, and what there is to count."""

    tokenizer: Tokenizer
    salience: Salience
    levels: dict[str, int]
    label_ids: dict[str, int]
    prompts: str | None = None
    columns: dict[str, list[Any]] = field(default_factory=dict)
    rejected: dict[int, Rejected] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    spans: Counter[int] = field(default_factory=Counter)
    without: Counter[int] = field(default_factory=Counter)
    """Documents that have no span of a level."""

    def add(self, item: SpanTree | Rejected) -> None:
        """Adds a document."""
        position = self.counts["documents"] + len(self.rejected)
        if isinstance(item, Rejected):
            self.rejected[position] = item
            return
        if self.prompts is None:
            input_ids, offsets = self.tokenizer.encode(item.text)
        else:
            input_ids, offsets = encode_pair(item.text, self.tokenizer, is_marked=self.prompts == "chat")
        if not input_ids:
            self.rejected[position] = Rejected(item.text, NO_TOKENS)
            return
        scored = self.salience.apply(item)
        spans = tuple([span for span in scored.spans if span.level in self.levels])
        aligned = align(SpanTree(item.text, spans, scored.salience), offsets)
        levels = np.array([self.levels[span.level] for span in spans], dtype=np.int8)[aligned.kept]
        labels = np.array([self.label_ids[span.label] for span in spans], dtype=np.int16)[aligned.kept]
        row = {
            "input_ids": np.array(input_ids, dtype=np.int32),
            "span_start": aligned.starts,
            "span_end": aligned.ends,
            "span_level": levels,
            "span_label": labels,
            "salience": aligned.salience.astype(np.float32),
            "word_tag": self._of_words(item.tags, spans, aligned),
            "word_relation": self._of_words(item.relations, spans, aligned),
            "text": item.text,
            "language": item.language,
        }
        for name, value in row.items():
            self.columns.setdefault(name, []).append(value)
        self.counts.update(
            documents=1,
            tokens=len(input_ids),
            words=len(scored.salience),
            characters=len(item.text),
            snapped=aligned.snapped,
        )
        numbers = np.bincount(levels, minlength=len(LEVELS)).tolist()
        self.spans.update(dict(enumerate(numbers)))
        self.without.update(level for level in self.levels.values() if not numbers[level])

    def _of_words(
        self, told: Sequence[str] | None, spans: Sequence[Span], aligned: AlignedSpans
    ) -> NDArray[np.int16]:
        """Ids of what is told of each word that has a token, (W,)."""
        if not told:
            return np.zeros(0, dtype=np.int16)
        is_word = np.array([span.level == "word" for span in spans])
        ids = np.array([self.label_ids[label] for label in told], dtype=np.int16)
        kept: NDArray[np.int16] = ids[(is_word.cumsum() - 1)[aligned.kept[is_word[aligned.kept]]]]
        return kept

    def facts(self) -> dict[str, Any]:
        """Counts, JSON-able."""
        names = ("documents", "tokens", "words", "characters", "snapped")
        return {
            **{name: self.counts[name] for name in names},
            "spans": {level: self.spans[rank] for level, rank in self.levels.items()},
            "without": {level: self.without[rank] for level, rank in self.levels.items()},
            "rejected": dict(Counter(item.reason for item in self.rejected.values())),
        }

    def token_salience(self) -> bytes:
        """Sum and number of salience scores by token id, and their histogram, as a .npz file."""
        ids = np.concatenate([np.zeros(0, np.int32), *self.columns.get("input_ids", [])])
        scores = np.concatenate([np.zeros(0, np.float32), *self.columns.get("salience", [])])
        tokens, position = np.unique(ids, return_inverse=True)
        sums = np.bincount(position, weights=scores.astype(np.float64), minlength=len(tokens))
        counts = np.bincount(position, minlength=len(tokens))
        file = io.BytesIO()
        histogram, _ = np.histogram(scores, bins=HISTOGRAM_BINS, range=(0.0, 1.0))
        np.savez(file, ids=tokens, sums=sums, counts=counts, histogram=histogram)
        return file.getvalue()


@cache
def _tokenizer(path: str) -> Tokenizer:
    return Tokenizer.load(path)


@cache
def _salience(path: str) -> Salience:
    from hdiff.parsers import salience_from_dict

    return salience_from_dict(json.loads(Path(path).read_bytes()))
