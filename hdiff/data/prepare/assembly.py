"""Assembly: finished shards put together into the files of a data set."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hdiff.data.prepare.align_step import HISTOGRAM_BINS, rejected_path, token_salience_path
from hdiff.data.prepare.documents import read_places
from hdiff.data.prepare.job import Report
from hdiff.data.prepare.selection import SPLITS
from hdiff.data.sources.arrow import write_split


class OnProgress(Protocol):
    """Told how far a preparation is."""

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Called with a stage, how many documents are done, and how many there are (None: not known)."""


@dataclass(frozen=True)
class Done:
    """A step of a shard that is done: split, output, and what is kept of the report of its job."""

    split: str
    path: Path
    report: Report


def write_splits(shards: Sequence[Done], folder: Path, progress: OnProgress) -> list[Path]:
    """Writes the rows of all shards, in order, as one Arrow data set per split; returns the files."""
    files = []
    for split in SPLITS:
        of_split = [shard.path for shard in shards if shard.split == split]
        stage = f"write {split}"
        progress(stage, 0, len(of_split))
        shutil.rmtree(folder / split, ignore_errors=True)
        files += write_split(of_split, folder / split, on_shard=partial(progress, stage, total=len(of_split)))
    return files


def write_rejected(shards: Sequence[Done], documents: Path, path: Path) -> dict[str, int]:
    """Puts the rejected documents of all shards into one file; returns their number by reason."""
    counts: Counter[str] = Counter()
    places_of = cache(read_places)
    with path.open("w", encoding="ascii") as file:
        for shard in shards:
            for line in rejected_path(shard.path).read_text(encoding="ascii").splitlines():
                row = json.loads(line)
                counts[row["reason"]] += 1
                place = places_of(documents / shard.path.name)[row.pop("position")]
                if inside := row.pop("inside", ""):
                    place = f"{place}, {inside}"
                file.write(json.dumps({"split": shard.split, "place": place, **row}) + "\n")
    return dict(counts.most_common())


def write_token_salience(shards: Sequence[Done], path: Path, vocab_size: int) -> list[int]:
    """Writes the mean salience of each token id over training; an id that never occurs gets the mean of all.

    Args:
        shards: Aligned shards.
        path: The file, .npy, float32 (V,).
        vocab_size: V.

    Returns:
        Training tokens by salience, in equal bins over [0, 1].
    """
    sums, counts = np.zeros(vocab_size), np.zeros(vocab_size)
    histogram = np.zeros(HISTOGRAM_BINS, dtype=np.int64)
    for shard in shards:
        if shard.split == "train":
            with np.load(token_salience_path(shard.path), allow_pickle=False) as arrays:
                sums[arrays["ids"]] += arrays["sums"]
                counts[arrays["ids"]] += arrays["counts"]
                histogram += arrays["histogram"]
    mean = np.full(vocab_size, sums.sum() / max(1.0, counts.sum()))
    np.divide(sums, counts, out=mean, where=counts > 0)
    with path.open("wb") as file:
        np.save(file, mean.astype(np.float32))
    bins: list[int] = histogram.tolist()
    return bins


def count(shards: Sequence[Done], split: str, levels: Sequence[str]) -> dict[str, Any]:
    """Documents, tokens, words and characters of a split, its spans, and documents without any."""
    reports = [shard.report for shard in shards if shard.split == split]
    counts: dict[str, Any] = {
        name: sum(report[name] for report in reports)
        for name in ("documents", "tokens", "words", "characters")
    }
    for name in ("spans", "without"):
        counts[name] = {level: sum(report[name][level] for report in reports) for level in levels}
    return counts
