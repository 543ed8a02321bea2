"""Streams: the same tokens as prepared data, resumed exactly, not read ahead, with workers that may die."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hdiff.config import DataConfig, StreamConfig
from hdiff.data.batch import Batch
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.data.rows import stream_documents
from hdiff.data.rows.stream_documents import DocumentStream, Place
from hdiff.data.rows.streaming import StreamedRows
from hdiff.data.rows.training_rows import RowTerms
from hdiff.data.sources.stream_source import Source
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


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of a few documents, so that little text has many."""
    monkeypatch.setattr(stream_documents, "GROUP_CHARACTERS", 150)


@pytest.fixture
def files(tmp_path: Path, prepared: PreparedData) -> Path:
    """The documents of the prepared data set, both splits, in six files."""
    rows = [
        prepared.split(split)[index]
        for split in ("train", "validation")
        for index in range(len(prepared.split(split)))
    ]
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(6):
        texts = [row["text"] for row in rows[number::6]]
        (folder / f"{number}.txt").write_text("\n\n".join(texts), encoding="utf-8")
    return folder


def opened(
    prepared: PreparedData,
    source: Path | str,
    *,
    levels: tuple[str, ...] = ("phrase",),
    process: tuple[int, int] = (0, 1),
    packing: dict[str, Any] | None = None,
    **stream: Any,
) -> StreamedRows:
    stream = {"source": str(source), "shuffle_buffer": 7, **stream}
    data = DataConfig.model_validate(
        {"path": str(prepared.path), "sequence_length": 16, "stream": stream, **(packing or {})}
    )
    blocks = PackedBlocks.build(prepared, "train", levels=levels, **data.packing())
    assert data.stream is not None
    terms = RowTerms(data, prepared, blocks, levels, data.salience_buckets is not None, process)
    return StreamedRows.open(data.stream, terms, seed=3)


def take(rows: StreamedRows, batches: int, first: int = 0, *, size: int = 2) -> list[Batch]:
    rank, world = rows.documents.rank, rows.documents.world_size
    return [
        rows.batch([(first + index) * size * world + row * world + rank for row in range(size)])
        for index in range(batches)
    ]


def assert_same(one: list[Batch], other: list[Batch]) -> None:
    assert len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        assert torch.equal(left.input_ids, right.input_ids)
        assert left.sample_ids is not None
        assert right.sample_ids is not None
        assert torch.equal(left.sample_ids, right.sample_ids)
        assert left.unit_ids.keys() == right.unit_ids.keys()
        for level in left.unit_ids:
            assert torch.equal(left.unit_ids[level], right.unit_ids[level])
            assert torch.equal(left.labels[level], right.labels[level])
        if left.salience is not None and right.salience is not None:
            assert torch.equal(left.salience, right.salience)


def documents_of(batches: list[Batch], prepared: PreparedData) -> list[str]:
    ids = torch.cat([batch.input_ids for batch in batches]).flatten().tolist()
    texts = prepared.tokenizer.decode(ids).split("<eos>")
    return [text for text in texts[1:-1] if text]


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_stream_gives_what_prepare_gave(prepared: PreparedData, tmp_path: Path, workers: int) -> None:
    """Tokens, units, labels, salience and buckets of the same documents; those held out are left out."""
    rows = prepared.split("train")
    validation = prepared.split("validation")
    texts = [rows[index]["text"] for index in range(len(rows))]
    texts[3:3] = [validation[index]["text"] for index in range(len(validation))]
    source = tmp_path / "all.txt"
    source.write_text("\n\n".join(texts), encoding="utf-8")
    levels = ("word", "phrase", "clause")
    packing = {"salience_buckets": 3}
    blocks = PackedBlocks.build(
        prepared, "train", sequence_length=16, levels=levels, max_unit_tokens=8, salience_buckets=3
    )
    streamed = opened(prepared, source, levels=levels, packing=packing, shuffle_buffer=0, workers=workers)
    full = len(blocks.tokens) // 16
    batches = [streamed.batch([row]) for row in range(full)]
    streamed.close()
    assert full > 20
    assert_same(batches, [blocks.batch([row]) for row in range(full)])
    for row, batch in enumerate(batches):
        batch.check()
        assert batch.salience is not None
        assert batch.salience_buckets is not None
        assert torch.equal(batch.salience_buckets, blocks.batch([row]).salience_buckets)  # type: ignore[arg-type]


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


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize("stop", [0, 1, 4, 9, 25])
def test_restored_stream_goes_on_exactly(prepared: PreparedData, files: Path, stop: int) -> None:
    """At any place: inside of documents, groups and chunks, and in a later epoch."""
    whole = take(opened(prepared, files), 40)
    begun = opened(prepared, files)
    take(begun, stop)
    state = json.loads(json.dumps(begun.state()))
    again = opened(prepared, files)
    again.restore(state)
    assert again.state() == state
    assert_same(take(again, 40 - stop, first=stop), whole[stop:])
    assert state["place"]["epoch"] == (1 if stop == 25 else 0)


@pytest.mark.usefixtures("small_groups")
def test_workers_change_nothing(plain: PreparedData, files: Path) -> None:
    alone = opened(plain, files, levels=("sentence",))
    helped = opened(plain, files, levels=("sentence",), workers=2)
    assert_same(take(alone, 20), take(helped, 20))
    assert alone.state() == helped.state()
    helped.close()
    assert not multiprocessing.active_children()


def test_epochs_visit_every_document_and_are_shuffled(prepared: PreparedData, files: Path) -> None:
    train = prepared.split("train")
    texts = {train[index]["text"] for index in range(len(train))}
    seen = documents_of(take(opened(prepared, files), 60), prepared)
    first = seen[: len(texts) - 1]  # the first document begins the first row, and is not told by its borders
    assert len(set(first)) == len(first)
    assert len(texts - set(first)) == 1
    epochs = [seen[begin : begin + len(texts) - 1] for begin in (0, len(texts))]
    assert epochs[0] != epochs[1]
    other = documents_of(take(opened(prepared, files, shuffle_buffer=0), 60), prepared)
    assert other != seen


@pytest.mark.parametrize("world", [2, 4])
def test_processes_read_different_documents(prepared: PreparedData, files: Path, world: int) -> None:
    """Whether files can be dealt out evenly (2) or every process reads all of them (4)."""
    seen = []
    samples = []
    for rank in range(world):
        stream = DocumentStream(
            Source.of(StreamConfig(source=str(files), shuffle_buffer=5)), seed=1, rank=rank, world_size=world
        )
        of_epoch: list[str] = []
        for group in stream.groups(Place()):
            if group.place.epoch:
                break
            of_epoch += group.texts
        seen.append(of_epoch)
        batch = opened(prepared, files, process=(rank, world)).batch([rank, rank + world])
        assert batch.sample_ids is not None
        samples += batch.sample_ids.tolist()
    assert sorted(samples) == list(range(2 * world))
    every = [text for texts in seen for text in texts]
    assert len(every) == len(set(every)) == 40


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
@pytest.mark.usefixtures("small_groups")
def test_builders_of_datasets_resume_exactly(prepared: PreparedData, tmp_path: Path, suffix: str) -> None:
    import pyarrow
    from pyarrow import csv, parquet

    texts = [f"Number {index} is here, and the next is {index + 1}." for index in range(30)]
    for part in range(3):
        file = tmp_path / f"{part}{suffix}"
        table = pyarrow.table({"body": texts[part::3]})
        if suffix == ".jsonl":
            file.write_text("".join(json.dumps({"body": text}) + "\n" for text in texts[part::3]))
        elif suffix == ".csv":
            csv.write_csv(table, file)
        else:
            parquet.write_table(table, file, row_group_size=4)
    builder = {".jsonl": "json"}.get(suffix, suffix[1:])
    options: dict[str, Any] = {
        "data_files": str(tmp_path / f"*{suffix}"),
        "text_column": "body",
        "levels": (),
    }
    whole = take(opened(prepared, builder, **options), 60)
    begun = opened(prepared, builder, **options)
    take(begun, 7)
    again = opened(prepared, builder, **options)
    again.restore(json.loads(json.dumps(begun.state())))
    assert_same(take(again, 53, first=7), whole[7:])
    local = opened(prepared, tmp_path, text_column="body", levels=())
    assert set(documents_of(take(local, 60), prepared)) == set(documents_of(whole, prepared))


@pytest.mark.usefixtures("small_groups")
def test_other_text_at_the_saved_place_is_noticed(prepared: PreparedData, files: Path) -> None:
    begun = opened(prepared, files)
    take(begun, 3)
    state = begun.state()
    assert state is not None
    for file in files.iterdir():
        file.write_text("\n\n".join(reversed(file.read_text().split("\n\n"))))
    again = opened(prepared, files)
    again.restore(state)
    with pytest.raises(DataError, match="gives other tokens where the checkpoint was saved"):
        again.batch([6, 7])


def test_stream_goes_forward_only(prepared: PreparedData, files: Path) -> None:
    rows = opened(prepared, files)
    take(rows, 2)
    with pytest.raises(DataError, match=r"rows \[0, 1\] \.\.\. of the stream are asked for, .* \[4, 5\]"):
        rows.batch([0, 1])


def test_many_files_are_not_read_ahead(prepared: PreparedData, tmp_path: Path) -> None:
    """2,000 files; FIFOs stand where the reader must not have come: opening one would block for ever."""
    texts = [f"Number {index} is here, and that is all of it." for index in range(2000)]
    for index, text in enumerate(texts):
        file = tmp_path / f"{index:05d}.txt"
        if index < 40:
            file.write_text(text)
        else:
            file.symlink_to(tmp_path / "nothing")  # is no file before it is opened
    source = Source(
        StreamConfig(source=str(tmp_path), shuffle_buffer=0),
        tuple(str(tmp_path / f"{index:05d}.txt") for index in range(2000)),
    )
    stream = DocumentStream(source, seed=0)
    stream.chunk_rows = 8
    groups = stream.groups(Place())
    assert [text for group in islice(groups, 5) for text in group.texts] == texts[:40]
    with pytest.raises(DataError, match="no file"):
        next(groups)


@pytest.mark.usefixtures("small_groups")
def test_workers_are_no_further_ahead_than_there_are_of_them(
    plain: PreparedData, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = 0
    original = DocumentStream.groups

    def counted(stream: DocumentStream, place: Place) -> Iterator[Any]:
        nonlocal given
        for group in original(stream, place):
            given += 1
            yield group

    monkeypatch.setattr(DocumentStream, "groups", counted)
    helped = opened(plain, files, levels=("sentence",), workers=2)
    take(helped, 12, size=1)
    given_to_workers, given = given, 0
    helped.close()
    take(opened(plain, files, levels=("sentence",)), 12, size=1)
    assert given + 2 == given_to_workers, "one that waits at each worker"


@pytest.mark.usefixtures("small_groups")
def test_dead_worker_is_an_error_at_once(plain: PreparedData, files: Path) -> None:
    rows = opened(plain, files, levels=("sentence",), workers=2)
    rows.batch([0])
    for child in multiprocessing.active_children():
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(DataError, match=r"worker of data.stream died \(exit code -9\) at the \d+ documents"):
        take(rows, 60, first=1, size=1)
    assert time.monotonic() - began < 30
    assert not multiprocessing.active_children()


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
