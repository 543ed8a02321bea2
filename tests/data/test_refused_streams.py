"""Streams that are refused or lose rows: dangerous parsers, bad files, missing spans."""

from __future__ import annotations

import json
import multiprocessing
import os
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from opened_streams import assert_same, opened, take

from hdiff.data.batch import Batch
from hdiff.data.prepared import PreparedData
from hdiff.data.rows.stream_documents import Place
from hdiff.errors import DataError, ParserError

PARSER = '''
"""A parser that dies, hangs or fails at certain words."""

import os
import signal
import time

from hdiff.parsers import Parser, PlainParser


class Dangerous(Parser):
    name = "dangerous"
    levels = (*PlainParser.levels, "phrase")

    def parse(self, texts):
        for text in texts:
            if "KILL" in text:
                os.kill(os.getpid(), signal.SIGKILL)
            if "HANG" in text:
                open(os.path.join(FOLDER, "hung"), "w").close()
                time.sleep(1000)
            yield from PlainParser().parse([text])

    def fingerprint(self):
        return {"name": "dangerous"}
'''


@pytest.fixture
def dangerous(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    package = tmp_path / "stream_parsers"
    package.mkdir()
    (package / "dangerous.py").write_text(PARSER.replace("FOLDER", repr(str(package))))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return "stream_parsers.dangerous:Dangerous"


def test_without_levels_nothing_is_parsed(prepared: PreparedData, files: Path, dangerous: str) -> None:
    parsed = opened(prepared, files)
    plain = opened(prepared, files, levels=(), parser=dangerous)
    ours, theirs = take(plain, 10), take(parsed, 10)
    assert all(torch.equal(one.input_ids, other.input_ids) for one, other in zip(ours, theirs, strict=True))
    assert ours[0].salience is None, "it is not known, so it must not look as if it were 0"
    lexical = opened(prepared, files, levels=(), packing={"lexical_salience": True})
    batch = lexical.batch([0])
    table = np.append(prepared.token_salience, 0)
    ids = np.where(
        batch.input_ids.numpy() == prepared.tokenizer.eos_id, len(table) - 1, batch.input_ids.numpy()
    )
    assert batch.salience is not None
    assert np.array_equal(batch.salience.numpy(), table[ids])


@pytest.mark.parametrize(
    ("word", "timeout", "message"),
    [
        (
            "KILL",
            120.0,
            r"died \(exit code -9\) at the 1 documents from epoch 0, chunk 0, row 0 .*begins 'KILL it",
        ),
        ("HANG", 4.0, r"takes longer than 4 seconds for the 1 documents .*raise data\.stream\.timeout"),
    ],
)
def test_document_that_kills_or_hangs_a_worker_is_named(
    prepared: PreparedData, tmp_path: Path, dangerous: str, word: str, timeout: float, message: str
) -> None:
    (tmp_path / "text.txt").write_text(f"{word} it is here, and that is all.")
    rows = opened(prepared, tmp_path / "text.txt", parser=dangerous, workers=1, timeout=timeout)
    with pytest.raises(DataError, match=message):
        rows.batch([0])
    assert not multiprocessing.active_children()
    assert (tmp_path / "stream_parsers" / "hung").exists() == (word == "HANG")


def test_error_of_a_worker_is_the_error_of_the_training(prepared: PreparedData, files: Path) -> None:
    rows = opened(prepared, files, parser="spacy:no_such_model", workers=1)
    with pytest.raises(ParserError, match="no_such_model"):
        rows.batch([0])


def test_sources_that_cannot_be_read_are_refused_with_the_remedy(
    prepared: PreparedData, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first(source: str, **options: Any) -> Batch:
        rows = opened(prepared, source, **options)
        return rows.batch([rows.documents.rank])

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"no file matches .*none/\*\.txt"):
        first(str(tmp_path / "none" / "*.txt"))
    with pytest.raises(DataError, match=r"a name on the hub without 'hf:', with config and split as keys"):
        first("hf:no_such/data_set:default:train")
    with pytest.raises(DataError, match=r"no file or folder nothing\.txt"):
        first("nothing.txt")
    with pytest.raises(
        DataError, match=r"cannot read data.stream.source 'no_such/data_set' .*check these names"
    ):
        first("no_such/data_set")
    with pytest.raises(DataError, match=r"cannot read data.stream.source 'json'.*none\.jsonl"):
        first("json", data_files="none.jsonl")
    (tmp_path / "rows.jsonl").write_text('{"body": "A text."}\n')
    with pytest.raises(
        DataError, match=r"no column 'text', its columns are body; .*data\.stream\.text_column"
    ):
        first(str(tmp_path / "rows.jsonl"))
    with pytest.raises(
        DataError, match=r"no column 'text', its columns are body; .*data\.stream\.text_column"
    ):
        first("json", data_files=str(tmp_path / "rows.jsonl"))
    (tmp_path / "blank.jsonl").write_text('{"text": " "}\n')
    with pytest.raises(DataError, match=r"a whole epoch .* has no document with a token"):
        first(str(tmp_path / "blank.jsonl"))
    with pytest.raises(DataError, match=r"has no document for process 5 of 50; .*start fewer processes"):
        first(str(tmp_path / "rows.jsonl"), text_column="body", process=(5, 50))
    with pytest.raises(DataError, match=r"needs level 'sentence', the data set keeps .*--levels sentence"):
        first(str(files), levels=("sentence",))
    with pytest.raises(DataError, match=r"needs level 'phrase', parser 'plain' of data\.stream gives"):
        first(str(files), parser="plain")


def test_another_version_of_the_recorded_parser_is_refused(prepared: PreparedData, files: Path) -> None:
    prepared.manifest["inputs"]["parser"]["spacy"], version = (
        "0.0",
        prepared.manifest["inputs"]["parser"]["spacy"],
    )
    manifest = prepared.path / "manifest.json"
    saved = manifest.read_bytes()
    try:
        manifest.write_text(json.dumps(prepared.manifest))
        with pytest.raises(DataError, match=r"another version of 'spacy' .*\(different: spacy\); install"):
            opened(prepared, files).batch([0])
        opened(prepared, files, parser="spacy").batch([0])
    finally:
        manifest.write_bytes(saved)
        prepared.manifest["inputs"]["parser"]["spacy"] = version


def test_rejected_documents_are_counted(prepared: PreparedData, tmp_path: Path) -> None:
    rows = [{"text": text} for text in ("A dog slept.", " ", "...", "It ran home in the rain.", "")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stream = opened(prepared, tmp_path / "rows.jsonl")
    take(stream, 4, size=1)
    state = stream.state()
    assert state is not None
    (first,) = islice(stream.documents.groups(Place()), 1)
    epochs = state["place"]["epoch"]
    assert epochs > 0
    assert state["rejected"] == epochs * first.texts.count("") > 0
    assert state["documents"] == epochs * len(first.texts) - state["rejected"] > 0
    assert len(json.dumps(state)) < 1000


BAD_ROWS = [
    ('{"text": null}', "null in column 'text'"),
    ('{"text": ["a"]}', "a list in column 'text'"),
    ('{"text": 5}', "a number in column 'text'"),
    ('{"text": {}}', "an object in column 'text'"),
    ('{"body": "a"}', "no column 'text', its columns are body; choose one with data.stream.text_column"),
    ("null", "null, expected an object"),
    ('{"text": "a', "not JSON"),
    ('{"text": "a"} {"text": "b"}', "not JSON"),
    ('{"text": "a", "text": "b"}', "not JSON"),
    ('{"text": "a\0"}', "a NUL character"),
    ('{"text": "\\ud800"}', "lone surrogate"),
    ('{"text": ""}', "empty text"),
]


def write_bad(folder: Path, line: str) -> Path:
    """A row that holds no text far in, and at the end."""
    good = [json.dumps({"text": f"Number {index} is here, and that is all."}) for index in range(40)]
    path = folder / "rows.jsonl"
    path.write_text("\n".join([*good[:30], line, *good[30:], line]), encoding="utf-8")
    return path


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize("levels", [(), ("phrase",)])
@pytest.mark.parametrize(("line", "reason"), BAD_ROWS)
def test_a_row_without_text_stops_no_stream_nor_a_resumed_one(
    line: str, reason: str, levels: tuple[str, ...], prepared: PreparedData, tmp_path: Path
) -> None:
    source = write_bad(tmp_path, line)
    stream = opened(prepared, source, levels=levels)
    whole = take(stream, 80)
    state = stream.state()
    assert state is not None
    assert state["place"]["epoch"] >= 1
    ((found, number),) = state["reasons"].items()
    assert found.startswith(reason)
    assert number == state["rejected"] >= 2
    (note,) = stream.notes()
    assert (
        f"{number} of {number + state['documents']} documents of '{source}' were left out: {reason}" in note
    )
    begun = opened(prepared, source, levels=levels)
    take(begun, 30)
    again = opened(prepared, source, levels=levels)
    again.restore(json.loads(json.dumps(begun.state())))
    assert_same(take(again, 50, first=30), whole[30:])
    assert again.state() == state


def test_a_bad_file_of_many_is_counted(
    prepared: PreparedData, files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (files / "7.txt").write_bytes("text".encode("utf-16"))
    (files / "8.txt").write_bytes(b"")
    stream = opened(prepared, files)
    take(stream, 60)
    (note,) = stream.notes()
    assert "7.txt is UTF-16, expected UTF-8" in note
    assert caplog.text.count("7.txt is left out of training") == 1


@pytest.mark.usefixtures("small_groups")
def test_a_stream_of_mostly_bad_rows_is_refused(
    prepared: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hdiff.data.rows.streaming.ROWS_TO_JUDGE", 50)
    lines = [json.dumps({"text": f"Number {number}." if number % 3 else None}) for number in range(300)]
    (tmp_path / "fine.jsonl").write_text("\n".join(lines))
    take(opened(prepared, tmp_path / "fine.jsonl"), 60)
    lines = [json.dumps({"text": None if number % 3 else f"Number {number}."}) for number in range(300)]
    (tmp_path / "bad.jsonl").write_text("\n".join(lines))
    with pytest.raises(
        DataError, match=r"documents of data.stream.source .* are rejected, at most 50% may be.*null"
    ):
        take(opened(prepared, tmp_path / "bad.jsonl"), 60)


def test_a_data_set_without_a_span_of_a_level_is_not_trained_on(
    prepared: PreparedData, files: Path, tmp_path: Path
) -> None:
    """As older versions prepared them."""
    import shutil

    shutil.copytree(prepared.path, tmp_path / "old")
    manifest = json.loads((tmp_path / "old" / "manifest.json").read_text())
    manifest["counts"]["train"]["spans"]["phrase"] = 0
    (tmp_path / "old" / "manifest.json").write_text(json.dumps(manifest))
    old = PreparedData.load(tmp_path / "old")
    with pytest.raises(
        DataError, match=r"level 'phrase' has 0 spans in the \d+ training documents of .*old; prepare"
    ):
        opened(old, files)
    opened(old, files, levels=("clause",))


def test_what_a_small_corpus_holds_out_is_left_out_of_its_stream(tmp_path: Path) -> None:
    from hdiff.data.prepare.run import prepare

    text = "\n\n".join(f"Paragraph {number} is here." for number in range(12))
    (tmp_path / "a.txt").write_text(text)
    options: dict[str, Any] = {"parser": "plain", "levels": ("sentence",), "tokenizer": "words"}
    prepare(str(tmp_path / "a.txt"), tmp_path / "out", **options, validation_fraction=1e-9)
    small = PreparedData.load(tmp_path / "out")
    (held_out,) = small.split("validation")
    (group,) = islice(opened(small, tmp_path / "a.txt", levels=()).documents.groups(Place()), 1)
    assert held_out["text"] not in group.texts
    assert small.split("train")[0]["text"] in text
