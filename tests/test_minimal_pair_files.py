"""Files of minimal pairs: BLiMP's format, mistakes in it, and spreading over a file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from hdiff.errors import DataError
from hdiff.evaluation.minimal_pair_files import MinimalPair, read_minimal_pairs, spread_pairs

FIXTURES = Path(__file__).parent / "fixtures" / "blimp"


def test_fixtures_are_read_by_folder_and_by_glob():
    pairs = read_minimal_pairs(FIXTURES)
    assert Counter(pair.paradigm for pair in pairs) == {
        "anaphor_gender_agreement": 5,
        "determiner_noun_agreement_1": 5,
        "regular_plural_subject_verb_agreement_1": 5,
    }
    first = ("Katherine can't help herself.", "Katherine can't help himself.")
    assert pairs[0] == MinimalPair(*first, "anaphor_gender_agreement", "morphology")
    assert read_minimal_pairs(str(FIXTURES / "anaphor*.jsonl")) == pairs[:5]


def test_the_whole_of_blimp_is_read(shared_data):
    if not (shared_data / "blimp").is_dir():
        pytest.skip("BLiMP is not in ../shared/data/blimp")
    pairs = read_minimal_pairs(shared_data / "blimp")
    assert set(Counter(pair.paradigm for pair in pairs).values()) == {1000}
    assert len(spread_pairs(pairs, 20)) * 50 == len(pairs)


def test_kept_pairs_are_spread_evenly_over_each_paradigm():
    pairs = [
        MinimalPair(f"{number}", "x", f"p{number % 2}", "f") for number in range(200)
    ]  # two files, interleaved
    kept = spread_pairs(pairs, 10)
    assert [pair.good for pair in kept if pair.paradigm == "p0"] == [str(n) for n in range(0, 200, 20)]
    assert [pair.good for pair in kept if pair.paradigm == "p1"] == [str(n) for n in range(1, 200, 20)]
    assert spread_pairs(pairs, 1000) == spread_pairs(pairs, None) == pairs
    with pytest.raises(DataError, match="max_pairs is 0"):
        spread_pairs(pairs, 0)


GOOD_LINE = '{"sentence_good": "a b", "sentence_bad": "b a", "UID": "u", "field": "f"}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"x\.jsonl, line 2 is not JSON"),
        ("[]", r"x\.jsonl, line 2 has None for 'sentence_good'"),
        (GOOD_LINE.replace('"b a"', '" "'), r"x\.jsonl, line 2 has ' ' for 'sentence_bad'"),
        (GOOD_LINE.replace("UID", "uid"), r"x\.jsonl, line 2 has None for 'UID'"),
        (GOOD_LINE.replace('"f"', "3"), r"x\.jsonl, line 2 has 3 for 'field'"),
    ],
)
def test_malformed_lines_are_named_by_file_and_number(tmp_path, line, message):
    (tmp_path / "x.jsonl").write_text(f"{GOOD_LINE}\n{line}\n")
    with pytest.raises(DataError, match=message):
        read_minimal_pairs(tmp_path)


def test_missing_folders_and_empty_files_are_refused(tmp_path):
    for nothing in (tmp_path, tmp_path / "absent", tmp_path / "*.jsonl"):
        with pytest.raises(DataError, match="no minimal pairs at"):
            read_minimal_pairs(nothing)
    (tmp_path / "x.jsonl").write_text("\n")
    with pytest.raises(DataError, match="hold no pairs"):
        read_minimal_pairs(tmp_path)
