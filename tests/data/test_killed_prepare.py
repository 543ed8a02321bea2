"""Prepare with workers, killed, on a full disk and damaged: the same bytes, or a reason."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from arrow_digests import PLAIN, arrow_digests

from hdiff.data.prepare import documents
from hdiff.data.prepare.run import prepare
from hdiff.data.prepared import PreparedData
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError, ParserError
from hdiff.parsers import load_parser


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
