"""corrupted_words: when the words of one parsed sentence are hidden, and what stands in their place.

A word takes the place of a token, so that a person can read the states. Dimensions: W words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from hdiff.corruption import Cascade, Corruption, RateMatched, TreeCascade, UniformState, UnitMasking
from hdiff.data.batch import Batch
from hdiff.pages.inspection import explore
from hdiff.parsers.buckets import Buckets
from hdiff.structure import LEVELS, SpanTree


@dataclass(frozen=True)
class CorruptedWords:
    """One draw of a corruption.

    Attributes:
        times: Time at which each word is hidden or replaced, W of them.
        units: Words that are hidden together have one number.
        stages: For each word what stands in its place once it is hidden, until its `time`: `text`, `level`,
            `time`, in the order of time; empty where nothing does.
    """

    times: tuple[float, ...]
    units: tuple[int, ...]
    stages: tuple[tuple[Mapping[str, Any], ...], ...]


def corrupt_words(
    tree: SpanTree,
    corruption: Corruption,
    *,
    buckets: Buckets,
    replacements: Sequence[str],
    generator: torch.Generator,
) -> CorruptedWords | None:
    """Draws masking times as training does.

    Args:
        tree: A parsed sentence with salience.
        corruption: That of a run.
        buckets: Classes of salience.
        replacements: What a word may be replaced by.
        generator: Source of randomness.

    Returns:
        The draw; None for corruptions that hide no token at a time of its own.
    """
    batch = _word_batch(tree, buckets)
    if isinstance(corruption, UnitMasking):
        times = corruption.masking_times(batch, generator=generator)[0].tolist()
        return CorruptedWords(tuple(times), _runs(times), ((),) * len(times))
    if isinstance(corruption, RateMatched):
        log_times = corruption.log_times(batch, generator=generator)[0]
        times = corruption.schedule.time(log_times.exp()).tolist()
        return CorruptedWords(tuple(times), tuple(range(len(times))), ((),) * len(times))
    if isinstance(corruption, UniformState):
        speed = corruption.speeds.per_token(batch)[0]
        u = torch.rand(speed.shape, generator=generator, dtype=torch.float64)
        times = corruption.schedule.time(u ** (1 / speed)).tolist()
        chosen = torch.randint(len(replacements), speed.shape, generator=generator).tolist()
        stages = tuple(({"text": replacements[i], "level": "token", "time": 1.0},) for i in chosen)
        return CorruptedWords(tuple(times), tuple(range(len(times))), stages)
    if isinstance(corruption, Cascade):
        return _cascade(tree, corruption, batch, buckets, generator)
    return None


def _cascade(
    tree: SpanTree, corruption: Cascade, batch: Batch, buckets: Buckets, generator: torch.Generator
) -> CorruptedWords:
    streams = corruption.streams(batch)
    drawn = [
        corruption.schedule.time(log_t[0].exp()).tolist()
        for log_t in corruption.log_times(batch, streams, generator=generator)
    ]
    is_types = [stream.types is not None for stream in streams]
    own = drawn[is_types.index(False)]
    if isinstance(corruption, TreeCascade):
        levels = list(corruption.levels)
        ordered = levels if corruption.direction == "coarse_to_fine" else levels[::-1]
        shown = [_types(tree, corruption, level, buckets) for level in ordered]
    else:
        ordered = ["token"]
        shown = [["its class"] * len(own)]
    typed = [times for times, is_type in zip(drawn, is_types, strict=True) if is_type]
    stages = []
    for word in range(len(own)):
        found = [
            {"text": texts[word], "level": level, "time": times[word]}
            for level, texts, times in zip(ordered, shown, typed, strict=True)
        ]
        # Of several visible types the finest tells most.
        stages.append(tuple(sorted(found, key=lambda stage: -LEVELS.index(str(stage["level"])))))
    return CorruptedWords(tuple(own), tuple(range(len(own))), tuple(stages))


def _types(tree: SpanTree, corruption: TreeCascade, level: str, buckets: Buckets) -> list[str]:
    """The type of every word at a level in words: `[` begins a unit, its label, its salience bucket."""
    units = _units(tree, level)
    labels = _labels(tree, level, units)
    bucket = buckets.indexes(list(tree.salience)).tolist()
    texts = []
    for word, label in enumerate(labels):
        begins = word == 0 or units[word] != units[word - 1]
        text = ("[" if begins else "·") if "boundary" in corruption.types else ""
        text += label if "label" in corruption.types else ""
        is_finest = level == corruption.levels[-1]
        texts.append(text + (f" s{bucket[word]}" if "salience" in corruption.types and is_finest else ""))
    return texts


def _labels(tree: SpanTree, level: str, units: Sequence[int]) -> list[str]:
    """Label of the unit that each word is in: that of the coarsest span that covers exactly the unit."""
    words = tree.words
    allowed = LEVELS[LEVELS.index(level) :]
    by_extent: dict[tuple[int, int], str] = {}
    for span in tree.spans:  # coarse levels come first
        if span.level in allowed:
            by_extent.setdefault((span.start, span.end), span.label)
    labels = []
    for word, unit in enumerate(units):
        first = units.index(unit)
        last = len(units) - 1 - units[::-1].index(unit)
        labels.append(by_extent.get((words[first].start, words[last].end), words[word].label))
    return labels


def _units(tree: SpanTree, level: str) -> list[int]:
    exploration = explore(tree, [0.0] * len(tree.words), level=level, title="")
    return [int(word["unit"]) for word in exploration["words"]]


def _word_batch(tree: SpanTree, buckets: Buckets) -> Batch:
    """The words of a text in place of tokens."""
    count = len(tree.words)
    salience = torch.tensor([tree.salience], dtype=torch.float32)
    zeros = torch.zeros(1, count, dtype=torch.long)
    units: dict[str, Tensor] = {level: torch.tensor([_units(tree, level)]) for level in LEVELS[:-1]}
    return Batch(
        input_ids=zeros,
        token_mask=torch.ones_like(zeros, dtype=torch.bool),
        unit_ids=units,
        labels={level: zeros for level in LEVELS[:-1]},
        salience=salience,
        salience_buckets=torch.from_numpy(buckets.indexes(salience.numpy())),
    )


def _runs(times: Sequence[float]) -> tuple[int, ...]:
    """Neighbours with one time are one unit."""
    units = [0]
    for before, time in pairwise(times):
        units.append(units[-1] + int(time != before))
    return tuple(units)
