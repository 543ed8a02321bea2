"""Mixtures: exact proportions, epochs of each corpus, and refusals of what does not fit together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from hdiff.config import DataConfig
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepare.run import prepare
from hdiff.data.prepared import PreparedData
from hdiff.data.rows.mixture import Corpus, MixedRows
from hdiff.data.rows.mixture_order import WINDOW, MixtureOrder
from hdiff.data.rows.training_rows import PreparedRows, RowTerms
from hdiff.data.token_stream import label_numbers, label_order
from hdiff.errors import DataError

QUESTIONS = [
    f"{who} did the {what} that he had seen near the river?"
    for who in ("Where", "When", "Why", "How", "Surely", "Quickly")
    for what in ("old dog", "red apple", "sister of the man", "child")
]
WEIGHTS = [(2, 1), (1, 1, 1), (5.0, 0.1, 2.7, 0.3), (1,), (1e-3, 1)]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, prepared: PreparedData) -> PreparedData:
    """A second corpus with the tokenizer of the first, and other labels."""
    folder = tmp_path_factory.mktemp("other")
    source = folder / "text.txt"
    source.write_text("\n\n".join(QUESTIONS), encoding="utf-8")
    prepare(str(source), folder / "data", validation_fraction=0.2, tokenizer=str(prepared.path))
    return PreparedData.load(folder / "data")


def mixed(prepared: PreparedData, *others: PreparedData, weights: Any = (2, 1), **options: Any) -> MixedRows:
    members = [
        {"path": str(data.path), "weight": weight}
        for data, weight in zip((prepared, *others), weights, strict=False)
    ]
    data = DataConfig.model_validate(
        {"path": str(prepared.path), "mixture": members, "sequence_length": 16, **options}
    )
    blocks = PackedBlocks.build(prepared, "train", levels=("phrase",), **data.packing())
    uses_salience = data.salience_buckets is not None
    return MixedRows.open(RowTerms(data, prepared, blocks, ("phrase",), uses_salience), seed=3)


def blocks_of(corpus: Corpus) -> PackedBlocks:
    assert isinstance(corpus.rows, PreparedRows)
    return corpus.rows.blocks


@pytest.mark.parametrize("weights", WEIGHTS)
def test_every_stretch_has_its_proportions(weights: tuple[float, ...]) -> None:
    """To less than two rows per corpus at the end of each window, to less than a window anywhere."""
    mixing = MixtureOrder(weights, seed=7)
    shares = np.array(weights) / np.sum(weights)
    first = 10**9 * WINDOW
    for begin in (0, first):
        drawn = np.array([mixing.at(place)[0] for place in range(begin, begin + 6000)])
        counts = np.stack([(drawn == corpus).cumsum() for corpus in range(len(weights))], axis=1)
        quota = shares * np.arange(1, 6001)[:, None]
        off = counts - quota  # (places, corpora)
        assert np.abs(off[WINDOW - 1 :: WINDOW]).max() < 2 * len(weights)
        assert np.ptp(off, axis=0).max() < WINDOW, "over any stretch whatsoever"


@pytest.mark.parametrize("weights", WEIGHTS)
def test_places_of_a_corpus_are_counted_without_gaps(weights: tuple[float, ...]) -> None:
    mixing = MixtureOrder(weights, seed=1)
    seen: dict[int, list[int]] = {}
    for place in range(1000):
        corpus, number = mixing.at(place)
        seen.setdefault(corpus, []).append(number)
    assert all(sorted(numbers) == list(range(len(numbers))) for numbers in seen.values())


def test_order_is_a_function_of_seed_and_place_alone() -> None:
    forwards = [MixtureOrder((2, 1), seed=5).at(place) for place in range(200)]
    mixing = MixtureOrder((2, 1), seed=5)
    assert [mixing.at(place) for place in reversed(range(200))] == forwards[::-1]
    assert [MixtureOrder((2, 1), seed=6).at(place) for place in range(200)] != forwards


def test_rows_of_each_of_two_processes_are_mixed() -> None:
    """With equal weights a plain alternation would give each process one corpus."""
    mixing = MixtureOrder((1, 1), seed=0)
    share = np.mean([mixing.at(place)[0] for place in range(0, 2000, 2)])
    assert 0.4 < share < 0.6


def test_rows_are_those_of_the_corpora_with_distinct_sample_ids(
    prepared: PreparedData, other: PreparedData
) -> None:
    rows = mixed(prepared, other)
    sizes = [len(blocks_of(corpus)) for corpus in rows.corpora]
    batch = rows.batch(range(3 * sum(sizes)))
    assert batch.sample_ids is not None
    batch.check()
    assert set(batch.sample_ids.tolist()) == set(range(sum(sizes))), "distinct, and every row comes up"
    for position, sample in enumerate(batch.sample_ids.tolist()):
        corpus, row = (0, sample) if sample < sizes[0] else (1, sample - sizes[0])
        single = blocks_of(rows.corpora[corpus]).batch([row])
        assert torch.equal(batch.input_ids[position], single.input_ids[0])
        assert torch.equal(batch.units("phrase")[position], single.units("phrase")[0])
        assert torch.equal(batch.labels["phrase"][position], single.labels["phrase"][0])


def test_each_corpus_has_its_own_epochs(prepared: PreparedData, other: PreparedData) -> None:
    rows = mixed(prepared, other)
    size = len(blocks_of(rows.corpora[1]))
    samples = rows.batch(range(9 * size)).sample_ids
    assert samples is not None
    of_second = samples[samples >= rows.corpora[1].first_sample].tolist()
    epochs = [of_second[first : first + size] for first in range(0, 2 * size, size)]
    assert (
        sorted(epochs[0])
        == sorted(epochs[1])
        == list(range(rows.corpora[1].first_sample, rows.corpora[1].first_sample + size))
    )
    assert epochs[0] != epochs[1]


def test_labels_are_numbered_as_in_the_first_data_set(prepared: PreparedData, other: PreparedData) -> None:
    assert prepared.manifest["labels"] != other.manifest["labels"], "else the test shows nothing"
    numbers = label_numbers(other.manifest["labels"], prepared)
    own = dict(
        zip(
            prepared.manifest["labels"],
            label_numbers(prepared.manifest["labels"], prepared).tolist(),
            strict=True,
        )
    )
    missing = {name for name in other.manifest["labels"] if name not in own}
    for name, number in zip(other.manifest["labels"], numbers.tolist(), strict=True):
        assert number == own.get(name, len(label_order(prepared)) + 1)
    assert missing
    rows = mixed(prepared, other)
    alone = PackedBlocks.build(other, "train", sequence_length=16, levels=("phrase",), max_unit_tokens=8)
    of_name = dict(
        zip(label_numbers(other.manifest["labels"], other).tolist(), numbers.tolist(), strict=True)
    )
    expected = [of_name.get(label, 0) for label in alone.labels["phrase"].tolist()]
    assert blocks_of(rows.corpora[1]).labels["phrase"].tolist() == expected


def test_buckets_and_lexical_salience_are_those_of_the_first_data_set(
    prepared: PreparedData, other: PreparedData
) -> None:
    rows = mixed(prepared, other, salience_buckets=2, lexical_salience=True)
    first, second = (blocks_of(corpus) for corpus in rows.corpora)
    assert second.buckets == first.buckets
    is_text = second.tokens != second.eos_id
    assert np.array_equal(second.salience[is_text], prepared.token_salience[second.tokens[is_text]])


def altered(data: PreparedData, folder: Path, **facts: Any) -> PreparedData:
    shutil.copytree(data.path, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **facts}))
    return PreparedData.load(folder)


def test_corpora_that_do_not_fit_together_are_refused(
    prepared: PreparedData, other: PreparedData, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("\n\n".join(QUESTIONS), encoding="utf-8")
    prepare(
        str(tmp_path / "text.txt"),
        tmp_path / "words",
        parser="plain",
        levels=("sentence",),
        tokenizer="words",
    )
    foreign = PreparedData.load(tmp_path / "words")
    with pytest.raises(DataError, match=r"has another tokenizer than .* --tokenizer"):
        mixed(prepared, foreign)
    without_level = altered(other, tmp_path / "levels", levels=["word"])
    with pytest.raises(DataError, match=r"levels: corruption needs level 'phrase'.*--levels phrase"):
        mixed(prepared, without_level)
    scored = altered(other, tmp_path / "salience", salience="pos")
    with pytest.raises(DataError, match=r"has the salience 'pos', .* 'idf'.*--salience idf"):
        mixed(prepared, scored, salience_buckets=2)
    mixed(prepared, scored)  # nothing reads it
    with pytest.raises(DataError, match="nowhere"):
        mixed(prepared, PreparedData(tmp_path / "nowhere", {}, prepared.tokenizer))
    with pytest.raises(DataError, match=r"its part of a batch is 666\.7; prepare more text"):
        mixed(prepared, other).check(1000)


def test_one_source_of_rows_and_each_corpus_once() -> None:
    member = {"path": "data/b", "weight": 1}
    with pytest.raises(ValidationError, match="from mixture or from stream"):
        DataConfig(path="data/a", mixture=[member], stream={"source": "text"})
    with pytest.raises(ValidationError, match="names a corpus twice"):
        DataConfig(path="data/a", mixture=[member, member])
    with pytest.raises(ValidationError, match="greater than 0"):
        DataConfig(path="data/a", mixture=[{"path": "data/b", "weight": 0}])
