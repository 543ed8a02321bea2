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

from hdiff.corruption import Corruption
from hdiff.corruption.type_code import TypeCode
from hdiff.data.batch import Batch
from hdiff.pages.inspection import explore
from hdiff.parsers.buckets import Buckets
from hdiff.structure import LEVELS, SpanTree

Typed = tuple[str, Sequence[str], Sequence[float]]
"""Level of a stream, type of each word in words, and the time at which it is hidden."""


@dataclass(frozen=True)
class CorruptedWords:
    """One draw of a corruption.

    Attributes:
        times: Time at which each word is hidden or replaced, W of them.
        units: Words that are hidden together have one number.
        stages: For each word what stands in its place once it is hidden, until its `time`: `text`, `level`,
            `time`, in the order of time; empty where nothing does.
        is_replaced: Whether words are replaced by others and not hidden.
    """

    times: tuple[float, ...]
    units: tuple[int, ...]
    stages: tuple[tuple[Mapping[str, Any], ...], ...]
    is_replaced: bool = False


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
    drawn = corruption.hiding_times(_word_batch(tree, buckets), generator=generator)
    if drawn is None:
        return None
    times = drawn.tokens[0].tolist()
    if drawn.is_replaced:
        chosen = torch.randint(len(replacements), (len(times),), generator=generator).tolist()
        stages = tuple(({"text": replacements[i], "level": "token", "time": 1.0},) for i in chosen)
        return CorruptedWords(tuple(times), tuple(range(len(times))), stages, is_replaced=True)
    typed = [
        (level, _types(tree, code, level, buckets), of_types[0].tolist())
        for (level, code), of_types in zip(corruption.type_codes, drawn.types, strict=True)
    ]
    return CorruptedWords(
        tuple(times), _runs(times), tuple(_stages(typed, word) for word in range(len(times)))
    )


def _stages(
    typed: Sequence[tuple[str, Sequence[str], Sequence[float]]], word: int
) -> tuple[Mapping[str, Any], ...]:
    """What stands in the place of a word; of several visible types the finest tells most."""
    stages = [{"text": texts[word], "level": level, "time": times[word]} for level, texts, times in typed]
    return tuple(sorted(stages, key=lambda stage: -LEVELS.index(str(stage["level"]))))


def _types(tree: SpanTree, code: TypeCode, level: str, buckets: Buckets) -> list[str]:
    """The type of every word at a level in words."""
    if code.is_lexical:
        return ["its class"] * len(tree.words)
    units = _units(tree, level)
    bucket = buckets.indexes(list(tree.salience)).tolist()
    return [
        code.words(word == 0 or units[word] != units[word - 1], label, bucket[word])
        for word, label in enumerate(_labels(tree, level, units))
    ]


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
