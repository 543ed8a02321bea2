"""MinimalPair: a sentence and its ungrammatical twin, BLiMP files, accuracy."""

from __future__ import annotations

import glob
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hdiff.errors import DataError

KEYS = ("sentence_good", "sentence_bad", "UID", "field")
"""Keys of a line of BLiMP, in the order of the attributes of a pair."""


@dataclass(frozen=True)
class MinimalPair:
    """Two sentences that differ in little more than grammaticality.

    Attributes:
        good: The grammatical sentence.
        bad: The other one.
        paradigm: Which contrast the pair tests; accuracy is counted per paradigm.
        field: Area of grammar, for example `morphology`.
    """

    good: str
    bad: str
    paradigm: str
    field: str


def read_minimal_pairs(source: Path | str) -> list[MinimalPair]:
    """Reads pairs in the format of BLiMP, one JSON object per line.

    Source: BLiMP, arXiv:1912.00582 (github.com/alexwarstadt/blimp).

    Args:
        source: A folder of .jsonl files, or a glob pattern.

    Returns:
        The pairs, by file name and line.

    Raises:
        DataError: If nothing is there, a line is malformed, or there are no pairs.
    """
    folder = Path(source)
    files = (
        sorted(folder.glob("*.jsonl"))
        if folder.is_dir()
        else [Path(f) for f in sorted(glob.glob(str(source)))]
    )
    files = [file for file in files if file.is_file()]
    if not files:
        raise DataError(
            f"no minimal pairs at {source}: expected a folder of .jsonl files or a glob; get BLiMP from "
            f"data/ of github.com/alexwarstadt/blimp"
        )
    pairs = [pair for file in files for pair in _read_file(file)]
    if not pairs:
        raise DataError(f"the {len(files)} files at {source} hold no pairs; expected a JSON object per line")
    return pairs


def _read_file(file: Path) -> Iterator[MinimalPair]:
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except ValueError as error:
            raise DataError(
                f"{file}, line {number} is not JSON ({error}); download the file again"
            ) from error
        good, bad, paradigm, field = (_text(fields, key, f"{file}, line {number}") for key in KEYS)
        yield MinimalPair(good, bad, paradigm, field)


def _text(fields: Any, key: str, where: str) -> str:
    value = fields.get(key) if isinstance(fields, dict) else None
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where} has {value!r} for '{key}'; every line needs text for {', '.join(KEYS)}")
    return value


def spread_pairs(pairs: Sequence[MinimalPair], max_pairs: int | None) -> list[MinimalPair]:
    """At most so many pairs of each paradigm, spread evenly: neighbours in a file resemble each other.

    Args:
        pairs: All pairs.
        max_pairs: Pairs per paradigm; None keeps all.

    Returns:
        The kept pairs in their order.

    Raises:
        DataError: If `max_pairs` is below 1.
    """
    if max_pairs is None:
        return list(pairs)
    if max_pairs < 1:
        raise DataError(f"max_pairs is {max_pairs}; keep at least 1 pair per paradigm, or None for all")
    places: dict[str, list[int]] = {}
    for place, pair in enumerate(pairs):
        places.setdefault(pair.paradigm, []).append(place)
    kept: list[int] = []
    for indices in places.values():
        count = min(max_pairs, len(indices))
        kept += [indices[index * len(indices) // count] for index in range(count)]
    return [pairs[place] for place in sorted(kept)]


@dataclass(frozen=True)
class Accuracy:
    """Share of pairs whose good sentence costs fewer nats than the bad one; ties count half.

    Attributes:
        share: In [0, 1].
        stderr: Standard error over pairs; NaN for a single pair.
        pairs: How many.
        ties: How many of them cost exactly the same: their sentences have the same tokens, as a rule.
    """

    share: float
    stderr: float
    pairs: int
    ties: int

    @classmethod
    def of(cls, nats: Sequence[tuple[float, float]]) -> Accuracy:
        """Counts pairs (nats of the good sentence, nats of the bad one)."""
        outcomes = [0.5 if good == bad else float(good < bad) for good, bad in nats]
        count = len(outcomes)
        stderr = statistics.stdev(outcomes) / math.sqrt(count) if count > 1 else math.nan
        return cls(statistics.fmean(outcomes), stderr, count, outcomes.count(0.5))


@dataclass(frozen=True)
class PairScores:
    """Nats of both sentences of every pair, and what follows from them.

    Attributes:
        pairs: The pairs.
        nats: Of their good and their bad sentences, in the same order.
        draws: Random orders or states that each figure is a mean of; 1 where there is nothing random.
        likelihood: What the nats are, in words.
    """

    pairs: tuple[MinimalPair, ...]
    nats: tuple[tuple[float, float], ...]
    draws: int
    likelihood: str

    @property
    def paradigms(self) -> dict[str, Accuracy]:
        """Accuracy of each paradigm, in the order of the pairs."""
        scores: dict[str, list[tuple[float, float]]] = {}
        for pair, nats in zip(self.pairs, self.nats, strict=True):
            scores.setdefault(pair.paradigm, []).append(nats)
        return {name: Accuracy.of(nats) for name, nats in scores.items()}

    @property
    def accuracy(self) -> float:
        """Mean over paradigms."""
        return statistics.fmean(accuracy.share for accuracy in self.paradigms.values())

    @property
    def stderr(self) -> float:
        """Standard error of `accuracy` over pairs, the paradigms being fixed."""
        errors = [accuracy.stderr for accuracy in self.paradigms.values()]
        return math.hypot(*errors) / len(errors)
