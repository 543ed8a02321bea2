"""Prepare: complete or not there, the same however it was made, and clear about what it refuses."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdiff.data.prepare import documents
from hdiff.data.prepare.run import prepare
from hdiff.data.prepare.selection import Selection
from hdiff.data.prepared import PreparedData
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError, ParserError
from hdiff.parsers import InverseDocumentFrequency, load_parser
from hdiff.structure import LEVELS

PLAIN: dict[str, Any] = {"parser": "plain", "levels": ("sentence",), "tokenizer": "train:300"}


@pytest.fixture
def source(tmp_path: Path) -> str:
    """60 different documents."""
    file = tmp_path / "text.txt"
    file.write_text(
        "\n\n".join(f"Number {i} is here.\nThe next is {i + 1}." for i in range(60)), encoding="utf-8"
    )
    return str(file)


def arrow_digests(out: Path) -> dict[str, str]:
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*.arrow"))
    }


def test_data_set_holds_every_document_with_its_spans(prepared: PreparedData) -> None:
    manifest = prepared.manifest
    rows = [*prepared.split("train"), *prepared.split("validation")]
    assert len(rows) == 40
    assert manifest["levels"] == ["clause", "phrase", "word"]
    for row in rows:
        assert prepared.tokenizer.decode(row["input_ids"]) == row["text"]
        assert len(row["salience"]) == len(row["input_ids"])
        assert all(0 <= score <= 1 for score in row["salience"])
        spans = list(zip(row["span_start"], row["span_end"], strict=True))
        assert all(0 <= start < end <= len(row["input_ids"]) for start, end in spans)
        labels = [manifest["labels"][label] for label in row["span_label"]]
        phrases = {
            (label, prepared.tokenizer.decode(row["input_ids"][start:end]).strip())
            for (start, end), label, level in zip(spans, labels, row["span_level"], strict=True)
            if LEVELS[level] == "phrase"
        }
        if row["text"].startswith("The old dog"):
            assert ("NP", "The old dog") in phrases
    assert len({row["text"] for row in rows}) == 40


def test_manifest_counts_what_is_there(prepared: PreparedData) -> None:
    for split, counts in prepared.manifest["counts"].items():
        rows = list(prepared.split(split))
        assert counts["documents"] == len(rows)
        assert counts["tokens"] == sum(len(row["input_ids"]) for row in rows)
        assert counts["characters"] == sum(len(row["text"]) for row in rows)
        for level, number in counts["spans"].items():
            assert number == sum(row["span_level"].count(LEVELS.index(level)) for row in rows)
    assert prepared.manifest["rejected"] == {}
    tokenizer = prepared.manifest["tokenizer"]
    assert tokenizer["vocab_size"] == prepared.tokenizer.vocab_size
    assert tokenizer["eos_id"] == prepared.tokenizer.eos_id
    salience = prepared.salience
    assert isinstance(salience, InverseDocumentFrequency)
    assert salience.num_documents == prepared.manifest["counts"]["train"]["documents"]
    prepared.verify()


def test_a_finished_data_set_is_returned_and_never_overwritten(source: str, tmp_path: Path) -> None:
    stages: list[str] = []
    first = prepare(source, tmp_path / "out", **PLAIN)
    before = arrow_digests(tmp_path / "out")
    again = prepare(
        source, tmp_path / "out", **PLAIN, progress=lambda stage, done, total: stages.append(stage)
    )
    assert again == first
    assert stages == ["already prepared"]
    for change in ({"tokenizer": "words"}, {"levels": ()}, {"limit": 30}, {"validation_fraction": 0.5}):
        with pytest.raises(
            DataError, match=r"made from other inputs \(different: .*; delete the folder, or give another"
        ):
            prepare(source, tmp_path / "out", **{**PLAIN, **change})
    with pytest.raises(DataError, match=r"different: documents"):
        prepare("builtin:phrase_bank", tmp_path / "out", **PLAIN)
    assert arrow_digests(tmp_path / "out") == before


def test_a_folder_with_something_else_is_left_alone(source: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not empty and holds no data set; give another: --out FOLDER"):
        prepare(source, tmp_path, **PLAIN)
    with pytest.raises(DataError, match="is a file; give a folder"):
        prepare(source, source, **PLAIN)
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"levels": ("phrase",)},
            r"'plain' does not give level 'phrase', it gives sentence, word; .*--levels",
        ),
        ({"levels": ("noun",)}, r"unknown level 'noun'"),
        ({"tokenizer": "nowhere/tokenizer.json"}, r"no tokenizer nowhere"),
        ({"tokenizer": "train:lots"}, r"cannot train a tokenizer 'train:lots'"),
        ({"validation_fraction": 1.0}, r"validation fraction is 1.0, expected a number between 0 and 1"),
        ({"limit": 0}, r"limit is 0 documents"),
        ({"workers": 0}, r"workers is 0"),
        ({"validation": "nowhere.txt"}, r"no file or folder nowhere.txt"),
    ],
)
def test_impossible_requests_are_refused(
    source: str, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        prepare(source, tmp_path / "out", **{**PLAIN, **options})
    with pytest.raises(DataError):
        PreparedData.load(tmp_path / "out")


def test_unknown_parsers_are_refused_before_anything_is_written(source: str, tmp_path: Path) -> None:
    with pytest.raises(ParserError, match="unknown parser"):
        prepare(source, tmp_path / "out", parser="spicy")
    assert not (tmp_path / "out").exists()


def test_rejected_documents_are_counted_and_kept(tmp_path: Path) -> None:
    texts = [f"Document {i} is fine." for i in range(30)] + ["broken \ud800 text", "broken too \udfff"]
    source = tmp_path / "text.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="ascii")
    manifest = prepare(str(source), tmp_path / "out", **PLAIN, validation_fraction=0.3)
    assert manifest["rejected"] == {"lone surrogate": 2}
    assert sum(counts["documents"] for counts in manifest["counts"].values()) == 30
    lines = (tmp_path / "out" / "rejected.jsonl").read_text(encoding="ascii").splitlines()
    assert {json.loads(line)["text"] for line in lines} == set(texts[30:])


def test_a_split_without_any_acceptable_document_is_refused(source: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps({"text": "broken \ud800 text"}) + "\n", encoding="ascii")
    with pytest.raises(DataError, match=r"rejects all 1 documents of split 'validation': lone surrogate"):
        prepare(source, tmp_path / "out", **PLAIN, validation=str(bad))


@given(
    st.lists(st.text(st.characters(categories=["L"]), min_size=1, max_size=5), min_size=1),
    st.floats(0.05, 0.95),
)
@settings(deadline=None, max_examples=30)
def test_equal_texts_are_in_one_split_wherever_they_stand(texts: list[str], fraction: float) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "text.txt"
        file.write_text("\n\n".join([*texts, *reversed(texts)]), encoding="utf-8")
        splits: dict[str, set[str]] = {}
        for split, row in Selection(str(file)).rows(fraction, print):
            splits.setdefault(row.text, set()).add(split)
    assert all(len(found) == 1 for found in splits.values())


def test_explicit_validation_is_taken_as_it_is(source: str, tmp_path: Path) -> None:
    (tmp_path / "valid.txt").write_text("Held out.\n\nThis too.", encoding="utf-8")
    manifest = prepare(source, tmp_path / "out", **PLAIN, validation=str(tmp_path / "valid.txt"))
    assert {split: counts["documents"] for split, counts in manifest["counts"].items()} == {
        "train": 60,
        "validation": 2,
    }


def test_phrase_bank_sentences_are_its_phrases(tmp_path: Path) -> None:
    options = {"parser": "plain", "levels": ("sentence",), "tokenizer": "words", "limit": 200}
    manifest = prepare("builtin:phrase_bank", tmp_path / "out", **options)
    assert manifest["validation"] == "builtin:phrase_bank:validation"
    assert manifest["tokenizer"]["vocab_size"] == 34
    assert manifest["counts"]["train"]["spans"] == {"sentence": 1600, "word": 6400}
    row = PreparedData.load(tmp_path / "out").split("train")[0]
    sentences = [i for i, level in enumerate(row["span_level"]) if level == 0]
    assert [(row["span_start"][i], row["span_end"][i]) for i in sentences] == [
        (i, i + 4) for i in range(0, 32, 4)
    ]


def test_other_tokenizers_can_be_used(source: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    (tmp_path / "tokenizer").mkdir()
    tokenizer.save(tmp_path / "tokenizer")
    prepare(source, tmp_path / "out", **{**PLAIN, "tokenizer": str(tmp_path / "tokenizer")})
    data = PreparedData.load(tmp_path / "out")
    assert data.tokenizer.sha256 == tokenizer.sha256
    assert data.split("train")[0]["input_ids"] == tokenizer.encode(data.split("train")[0]["text"])[0]


def test_two_workers_give_the_same_data_as_one(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "SHARD_CHARACTERS", 500)
    options = {"levels": ("sentence", "clause", "phrase"), "tokenizer": "train:300"}
    one = prepare(source, tmp_path / "one", **options)
    two = prepare(source, tmp_path / "two", **options, workers=2)
    assert arrow_digests(tmp_path / "one") == arrow_digests(tmp_path / "two") != {}
    assert one["sha256"] == two["sha256"]


RUN = """
import os, signal, sys
from hdiff.data.prepare import documents
from hdiff.data.prepare.run import prepare
documents.SHARD_CHARACTERS = 500
stage, number = sys.argv[3], int(sys.argv[4])
def progress(name, done, total):
    if name == stage and done >= number:
        os.kill(os.getpid(), signal.SIGKILL)
options = dict(parser="plain", levels=("sentence",), tokenizer="train:300")
prepare(sys.argv[1], sys.argv[2], **options, progress=progress)
"""


def run(script: str | Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    program = [str(script)] if isinstance(script, Path) else ["-c", script]
    command = [sys.executable, *program, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(
    ("stage", "number"), [("train tokenizer", 1), ("parse", 25), ("write train", 1), ("write validation", 1)]
)
def test_a_killed_prepare_goes_on_and_gives_the_same_bytes(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, number: int
) -> None:
    monkeypatch.setattr(documents, "SHARD_CHARACTERS", 500)
    expected = prepare(source, tmp_path / "whole", **PLAIN)
    out = tmp_path / "killed"
    killed = run(RUN, source, str(out), stage, str(number))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with pytest.raises(DataError, match=r"is unfinished .*hdiff prepare SOURCE --out"):
        PreparedData.load(out)
    finished = {path: path.stat().st_ino for path in out.rglob("*.jsonl") if Path(f"{path}.ok.json").exists()}
    assert bool(finished) == (stage != "train tokenizer")
    kept: list[bool] = []

    def look(name: str, done: int, total: int | None) -> None:
        if name == "fit salience":
            kept.append(all(path.stat().st_ino == inode for path, inode in finished.items()))

    manifest = prepare(source, out, **PLAIN, progress=look)
    assert kept
    assert all(kept), "finished shards are not parsed again"
    assert arrow_digests(out) == arrow_digests(tmp_path / "whole")
    assert manifest["sha256"] == expected["sha256"]
    assert {path.name for path in out.iterdir()} == {path.name for path in (tmp_path / "whole").iterdir()}


def test_an_unfinished_folder_can_be_used_for_other_inputs(source: str, tmp_path: Path) -> None:
    run(RUN, "builtin:pydoc", str(tmp_path / "out"), "write train", "0")
    assert (tmp_path / "out" / "unfinished").exists()
    manifest = prepare(source, tmp_path / "out", **PLAIN)
    assert sum(counts["documents"] for counts in manifest["counts"].values()) == 60
    assert manifest["sha256"] == prepare(source, tmp_path / "clean", **PLAIN)["sha256"]


def test_a_damaged_shard_is_parsed_again(source: str, tmp_path: Path) -> None:
    run(RUN, source, str(tmp_path / "out"), "write train", "0")
    shard = next((tmp_path / "out").rglob("trees/train-00000.jsonl"))
    shard.write_bytes(shard.read_bytes()[:-30])
    assert (
        prepare(source, tmp_path / "out", **PLAIN)["sha256"]
        == prepare(source, tmp_path / "b", **PLAIN)["sha256"]
    )


def test_two_processes_cannot_prepare_into_one_folder(source: str, tmp_path: Path) -> None:
    def intrude(stage: str, done: int, total: int | None) -> None:
        if stage == "parse":
            with pytest.raises(DataError, match="another process prepares into"):
                prepare(source, tmp_path / "out", **PLAIN)

    prepare(source, tmp_path / "out", **PLAIN, progress=intrude)


FULL_DISK = """
import resource, sys
from hdiff.data.prepare.run import prepare
from hdiff.errors import DataError
def progress(stage, done, total):
    if stage == sys.argv[3]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), int(sys.argv[4])))
try:
    options = dict(parser="plain", levels=("sentence",), tokenizer="words")
    prepare(sys.argv[1], sys.argv[2], **options, progress=progress)
except DataError as error:
    sys.exit(f"DataError: {error}")
"""


@pytest.mark.parametrize(
    ("stage", "limit"),
    [
        ("read", 100),
        ("train tokenizer", 100),
        ("parse", 9_000),
        ("fit salience", 100),
        ("write train", 9_000),
        ("write validation", 100),
    ],
)
def test_a_full_disk_is_explained_and_leaves_no_data_set(tmp_path: Path, stage: str, limit: int) -> None:
    source = tmp_path / "text.txt"
    source.write_text("\n\n".join(f"Number {i} is here." for i in range(2_000)), encoding="utf-8")
    full = run(FULL_DISK, str(source), str(tmp_path / "out"), stage, str(limit))
    assert full.returncode == 1
    assert full.stderr.startswith("DataError: cannot write"), full.stderr
    assert "make room" in full.stderr
    assert full.stderr.count("\n") == 1
    with pytest.raises(DataError, match="is unfinished"):
        PreparedData.load(tmp_path / "out")
    prepare(str(source), tmp_path / "out", **{**PLAIN, "tokenizer": "words"})
    PreparedData.load(tmp_path / "out").verify()


def test_damage_is_named(source: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(source, out, **PLAIN)
    file = next((out / "train").glob("*.arrow"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(DataError, match=r"data-00000.*has changed since it was prepared"):
        PreparedData.load(out).verify()
    file.unlink()
    with pytest.raises(DataError, match=r"data-00000.*is missing"):
        PreparedData.load(out).verify()
    Tokenizer.train(["other"], "words").save(out)
    with pytest.raises(DataError, match="is not the tokenizer the data set was made with"):
        PreparedData.load(out)
    (out / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"manifest.json is damaged"):
        PreparedData.load(out)
    with pytest.raises(DataError, match=r"does not exist .*hdiff prepare SOURCE --out"):
        PreparedData.load(tmp_path / "nowhere")


@pytest.mark.parametrize("salience", ["pos", "entities", "textrank", "collocation", "combined"])
def test_every_salience_goes_into_the_data_and_comes_back(source: str, tmp_path: Path, salience: str) -> None:
    manifest = prepare(source, tmp_path / "out", limit=30, tokenizer="train:300", salience=salience)
    data = PreparedData.load(tmp_path / "out")
    assert manifest["salience"] == data.salience.name == salience
    parser = load_parser("spacy", annotations=data.salience.needs)
    for row in data.split("train"):
        scores = {
            round(score, 5) for score in data.salience.apply(next(parser.parse([row["text"]]))).salience
        }
        assert {round(score, 5) for score in row["salience"]} <= scores | {0.0}
    table = np.load(tmp_path / "out" / "token_salience.npy")
    assert table.shape == (data.tokenizer.vocab_size,)
    assert 0 <= table.min() <= table.max() <= 1
    with pytest.raises(DataError, match=r"different: .*salience"):
        prepare(source, tmp_path / "out", limit=30, tokenizer="train:300")


def test_a_salience_that_needs_what_the_parser_lacks_is_refused(source: str, tmp_path: Path) -> None:
    with pytest.raises(ParserError, match="parser 'plain' gives no heads"):
        prepare(source, tmp_path / "out", **PLAIN, salience="textrank")
    with pytest.raises(ParserError, match="did you mean 'textrank'"):
        prepare(source, tmp_path / "out", **PLAIN, salience="textrnk")
