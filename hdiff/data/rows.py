"""Rows: parsed documents with salience, aligned to a tokenizer. No torch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from hdiff.data.alignment import align
from hdiff.data.shard import read_trees
from hdiff.data.tokenizer import Tokenizer
from hdiff.parsers import InverseDocumentFrequency
from hdiff.structure import LEVELS, SpanTree

NO_TOKENS = "the tokenizer finds no token"


@dataclass
class RowWriter:
    """Turns trees into rows of a data set and counts what it sees.

    Attributes:
        tokenizer: Gives the tokens.
        salience: Scores the words.
        levels: Levels to keep.
        labels: All labels, in the order of their ids.
        rejected_file: Where documents that give no row are written, one JSON object per line.
        rejected: How many documents were refused, by reason.
        snapped: Spans of kept levels with a border inside a token.
    """

    tokenizer: Tokenizer
    salience: InverseDocumentFrequency
    levels: Sequence[str]
    labels: Sequence[str]
    rejected_file: TextIO
    rejected: Counter[str] = field(default_factory=Counter)
    snapped: int = 0

    def rows(self, split: str, shards: Sequence[Path], counts: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Rows of one split.

        Args:
            split: `train` or `validation`.
            shards: Files `parse_shard` wrote.
            counts: Receives documents, tokens, words, characters and spans per level.

        Yields:
            One mapping per document with the columns of `hdiff.data.arrow.features`.
        """
        counts.update(documents=0, tokens=0, words=0, characters=0, spans=dict.fromkeys(self.levels, 0))
        label_ids = {label: label_id for label_id, label in enumerate(self.labels)}
        for shard in shards:
            for item in read_trees(shard):
                if not isinstance(item, SpanTree):
                    self._reject(split, *item)
                    continue
                row = self._row(item, label_ids)
                if not row["input_ids"]:
                    self._reject(split, item.text, NO_TOKENS)
                    continue
                counts["documents"] += 1
                counts["tokens"] += len(row["input_ids"])
                counts["words"] += len(item.words)
                counts["characters"] += len(item.text)
                for rank, number in Counter(row["span_level"]).items():
                    counts["spans"][LEVELS[rank]] += number
                yield row

    def _row(self, tree: SpanTree, label_ids: dict[str, int]) -> dict[str, Any]:
        input_ids, offsets = self.tokenizer.encode(tree.text)
        scored = self.salience.apply(tree)
        kept = SpanTree(
            tree.text, tuple(span for span in scored.spans if span.level in self.levels), scored.salience
        )
        spans = align(kept, offsets)
        self.snapped += spans.snapped
        return {
            "input_ids": input_ids,
            "span_start": spans.starts,
            "span_end": spans.ends,
            "span_level": [LEVELS.index(level) for level in spans.levels],
            "span_label": [label_ids[label] for label in spans.labels],
            "salience": spans.salience,
            "text": tree.text,
        }

    def _reject(self, split: str, text: str, reason: str) -> None:
        self.rejected[reason] += 1
        self.rejected_file.write(json.dumps({"split": split, "reason": reason, "text": text}) + "\n")
