"""Unit choices: a key of the recipe says which spans become units; cuts are a function of seed and text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.data.unit_choice import CUT, INNERMOST, OUTERMOST, document_keys, eligible
from hdiff.errors import DataError
from hdiff.structure import level_rank

PHRASE, WORD = level_rank("phrase"), level_rank("word")
# [S [NP a [NP b c]] [VP d [PP e f]]] with a word for each letter, over one document
SPANS = [(0, 6, 0), (0, 3, 1), (0, 1, 9), (1, 3, 1), (1, 2, 9), (2, 3, 9)]
SPANS += [(3, 6, 2), (3, 4, 9), (4, 6, 3), (4, 5, 9), (5, 6, 9)]
LABELS = ["S", "NP", "VP", "PP", *"....."[:5], "X"]


def chosen(choice: Any, *, seed: int = 0) -> set[tuple[int, int]]:
    """Extents of the spans above the words that may become units."""
    first, end, label = (np.array(column, dtype=np.int64) for column in zip(*SPANS, strict=True))
    rank = np.where(label == 9, WORD, PHRASE)
    flags = eligible(
        choice,
        first=first,
        end=end,
        rank=rank,
        label=label,
        document=np.zeros(len(first), dtype=np.int64),
        keys=document_keys(np.arange(6), np.array([6]), seed=seed),
        labels=LABELS,
    )
    assert flags[rank == WORD].all()
    return {SPANS[place][:2] for place in np.flatnonzero(flags & (rank != WORD))}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (OUTERMOST, {(0, 6), (0, 3), (1, 3), (3, 6), (4, 6)}),
        (INNERMOST, {(1, 3), (4, 6)}),
        (("NP",), {(0, 3), (1, 3)}),
        (("VP", "PP"), {(3, 6), (4, 6)}),
        (("S",), {(0, 6)}),
    ],
)
def test_spans_are_chosen_by_place_or_label(choice: Any, expected: set[tuple[int, int]]) -> None:
    assert chosen(choice) == expected


def test_a_cut_is_drawn_from_seed_and_text() -> None:
    cuts = [frozenset(chosen(CUT, seed=seed)) for seed in range(200)]
    assert cuts == [frozenset(chosen(CUT, seed=seed)) for seed in range(200)]
    assert len(set(cuts)) > 10
    kept = np.mean([len(cut) for cut in cuts]) / 5
    assert 0.4 < kept < 0.6  # threshold and numbers are uniform


def test_an_unknown_label_is_named() -> None:
    with pytest.raises(DataError, match=r"data\.units names label 'QX'.*NP.*outermost"):
        chosen(("QX",))


def blocks(prepared: PreparedData, **options: Any) -> PackedBlocks:
    return PackedBlocks.build(prepared, "train", sequence_length=16, levels=("phrase", "word"), **options)


def sizes(prepared: PreparedData, **options: Any) -> np.ndarray[Any, Any]:
    starts = np.flatnonzero(blocks(prepared, **options).unit_starts["phrase"])
    return np.diff(starts)


def test_units_of_training_follow_the_choice(prepared: PreparedData) -> None:
    outermost = sizes(prepared)
    assert (sizes(prepared, units=OUTERMOST, units_seed=7) == outermost).all()
    assert sizes(prepared, units=INNERMOST).mean() < outermost.mean()
    assert sizes(prepared, units=("NP",)).mean() < outermost.mean()
    assert sizes(prepared, units=CUT).mean() < outermost.mean()
    assert len(sizes(prepared, units=CUT, units_seed=1)) != len(sizes(prepared, units=CUT, units_seed=2))


@pytest.mark.parametrize("units", [INNERMOST, CUT, ("NP", "VP")])
def test_words_stay_whole_and_their_level_unchanged(prepared: PreparedData, units: Any) -> None:
    given, usual = blocks(prepared, units=units), blocks(prepared)
    assert (given.unit_starts["word"] == usual.unit_starts["word"]).all()
    assert (given.unit_starts["word"] | ~given.unit_starts["phrase"]).all()  # units refine into words
