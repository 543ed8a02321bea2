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

import pytest
import torch
from opened_streams import assert_same, opened, take

from hdiff.config import StreamConfig
from hdiff.data.batch import Batch
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.data.rows.stream_documents import DocumentStream, Place
from hdiff.data.sources.stream_source import Source
from hdiff.errors import DataError


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
