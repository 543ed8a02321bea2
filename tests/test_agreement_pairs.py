"""The package's agreement pairs: always the same ones, and balanced."""

from __future__ import annotations

from collections import Counter

import pytest

from hdiff.evaluation.agreement_pairs import agreement_pairs
from hdiff.evaluation.minimal_pair_files import MinimalPair

PAIRS = agreement_pairs()


def difference(pair: MinimalPair) -> tuple[str, str, str]:
    """The word before the one that differs, the right word, the wrong word."""
    good, bad = pair.good.split(), pair.bad.split()
    assert len(good) == len(bad)
    (place,) = [i for i, (one, other) in enumerate(zip(good, bad, strict=True)) if one != other]
    return good[place - 1], good[place], bad[place]


def test_agreement_pairs_are_200_different_ones_and_always_the_same():
    assert agreement_pairs() == PAIRS
    assert len(set(PAIRS)) == 200
    assert set(Counter(pair.paradigm for pair in PAIRS).values()) == {40}
    assert all(pair.paradigm.startswith("agreement_") for pair in PAIRS)


@pytest.mark.parametrize("paradigm", sorted({pair.paradigm for pair in PAIRS}))
def test_each_word_is_as_often_right_as_wrong(paradigm):
    """So the shorter, the longer or the more frequent word wins exactly half of the pairs."""
    chosen = [difference(pair) for pair in PAIRS if pair.paradigm == paradigm]
    counts = Counter((right, wrong) for _, right, wrong in chosen)
    assert all(counts[wrong, right] == count for (right, wrong), count in counts.items())
    shorter = [
        0.5 if len(right) == len(wrong) else float(len(right) < len(wrong)) for _, right, wrong in chosen
    ]
    assert sum(shorter) == len(chosen) / 2


@pytest.mark.parametrize(
    "paradigm", ["agreement_across_phrase", "agreement_determiner_noun", "agreement_reflexive"]
)
def test_the_word_before_does_not_decide_where_agreement_is_distant(paradigm):
    counts = Counter(difference(pair) for pair in PAIRS if pair.paradigm == paradigm)
    assert all(counts[before, wrong, right] == count for (before, right, wrong), count in counts.items())
