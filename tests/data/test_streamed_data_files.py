"""`data_files` of builders: malformed lines and rows are counted and listed, and the stream goes on."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hdiff.config import DataConfig
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepare.run import prepare
from hdiff.data.prepared import PreparedData
from hdiff.data.rows import stream_documents
from hdiff.data.rows.streaming import StreamedRows
from hdiff.data.rows.training_rows import RowTerms
from hdiff.errors import DataError

TEXTS = [f"Number {number} is here, and that is all." for number in range(40)]
JSON = [json.dumps({"text": text}).encode() for text in TEXTS]
CSV = [f'"{text}",1'.encode() for text in TEXTS]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    folder = tmp_path_factory.mktemp("streamed")
    (folder / "t.txt").write_text("\n\n".join(TEXTS))
    prepare(folder / "t.txt", folder / "data", parser="plain", levels=["sentence"], tokenizer="words")
    return PreparedData.load(folder / "data")


@pytest.fixture(autouse=True)
def _small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_documents, "GROUP_CHARACTERS", 150)


def opened(prepared: PreparedData, folder: Path, **stream: object) -> StreamedRows:
    values = {"path": str(prepared.path), "sequence_length": 16, "stream": {"shuffle_buffer": 7, **stream}}
    data = DataConfig.model_validate(values)
    blocks = PackedBlocks.build(prepared, "train", levels=(), **data.packing())
    assert data.stream is not None
    terms = RowTerms(data, prepared, blocks, (), False, rejected=folder / "run" / "rejected.jsonl")
    return StreamedRows.open(data.stream, terms, seed=3)


def take(rows: StreamedRows, first: int, last: int) -> list[list[int]]:
    return [rows.batch([number]).input_ids[0].tolist() for number in range(first, last)]


def lines_with(bad: bytes, lines: list[bytes], head: bytes = b"") -> bytes:
    return head + b"\n".join([*lines[:30], bad, *lines[30:], bad]) + b"\n"


BAD_LINES = [
    b'{"text": "a',
    b'{"text": "a"} {"text": "b"}',
    b'{"text": "a",}',
    b"{'text': 'a'}",
    b"not json at all",
    b"[1, 2",
    b'{"text": "a", "text": "b"}',
    b'{"text": NaN}',
    b'{"text": null}',
    b'{"text": 5}',
    b'{"text": ["a"]}',
    b'{"text": {"a": "b"}}',
    b'{"body": "a"}',
    b'"text"',
    b"null",
    b'{"text": "caf\xe9"}',
    b'{"text": "\\ud800"}',
    b'{"text": "a\x00b"}',
    b"<html>502 Bad Gateway</html>",
]


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_malformed_line_is_counted_listed_and_passed(
    line: bytes, prepared: PreparedData, tmp_path: Path
) -> None:
    (tmp_path / "t.jsonl").write_bytes(lines_with(line, JSON))
    rows = opened(prepared, tmp_path, source="json", data_files=str(tmp_path / "t.jsonl"))
    whole = take(rows, 0, 90)
    (note,) = rows.notes()
    assert " documents of 'json' were left out: " in note
    listed = [json.loads(row) for row in (tmp_path / "run" / "rejected.jsonl").read_bytes().splitlines()]
    assert all(row["reason"] for row in listed)
    if "surrogate" in listed[0]["reason"]:  # a text, which has no place but is listed itself
        assert [row["text"] for row in listed] == ["\ud800"]
    else:
        assert {row["place"].rpartition(" ")[2] for row in listed} == {"31", "42"}, "once in all epochs"
    begun = opened(prepared, tmp_path, source="json", data_files=str(tmp_path / "t.jsonl"))
    take(begun, 0, 40)
    again = opened(prepared, tmp_path, source="json", data_files=str(tmp_path / "t.jsonl"))
    again.restore(json.loads(json.dumps(begun.state())))
    assert take(again, 40, 90) == whole[40:]
    assert len((tmp_path / "run" / "rejected.jsonl").read_bytes().splitlines()) == len(listed)


def written_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(lines_with(b"{", JSON)))


def written_array(path: Path) -> None:
    path.write_bytes(b"[" + b",\n".join([*JSON[:30], b'{"text": null}', *JSON[30:]]) + b"]")


def written_table(path: Path) -> None:
    path.write_bytes(lines_with(b"a text, with commas, and no quotes, 1", CSV, b"text,n\n"))


def written_parquet(path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"text": [*TEXTS, None, *TEXTS[:5]]}), path)


FILES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "t.jsonl.gz": ("json", written_gzip),
    "t.json": ("json", written_array),
    "t.ndjson": ("json", lambda path: path.write_bytes(lines_with(b"{", JSON))),
    "T.JSONL": ("json", lambda path: path.write_bytes(lines_with(b"{", JSON))),
    "t.csv": ("csv", written_table),
    "t.parquet": ("parquet", written_parquet),
    "bom.jsonl": ("json", lambda path: path.write_bytes(b"\xef\xbb\xbf" + lines_with(b"{", JSON))),
    "crlf.jsonl": ("json", lambda path: path.write_bytes(lines_with(b"{", JSON).replace(b"\n", b"\r\n"))),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_every_builder_cost_their_bad_rows_only(
    name: str, prepared: PreparedData, tmp_path: Path
) -> None:
    builder, write = FILES[name]
    write(tmp_path / name)
    rows = opened(prepared, tmp_path, source=builder, data_files=[str(tmp_path / name)])
    take(rows, 0, 60)
    listed = (tmp_path / "run" / "rejected.jsonl").read_bytes().splitlines()
    assert 1 <= len(listed) <= 2
    assert all(name in json.loads(row)["place"] for row in listed)


def test_a_damaged_file_of_many_costs_itself(prepared: PreparedData, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jsonl").write_bytes(b"\n".join(JSON[number::3]))
    (tmp_path / "3.jsonl.gz").write_bytes(gzip.compress(b"\n".join(JSON))[:60])
    rows = opened(prepared, tmp_path, source="json", data_files=str(tmp_path / "*.jsonl*"))
    take(rows, 0, 60)
    assert "3.jsonl.gz" in (tmp_path / "run" / "rejected.jsonl").read_text()


def test_more_than_half_malformed_is_an_error(prepared: PreparedData, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(b"\n".join([*JSON, *[b"{"] * 5000]))
    rows = opened(prepared, tmp_path, source="json", data_files=str(tmp_path / "t.jsonl"))
    with pytest.raises(DataError, match="rejected"):
        take(rows, 0, 2000)


def test_what_is_not_read_here_is_left_to_datasets(prepared: PreparedData, tmp_path: Path) -> None:
    """`text` makes each line a document; other endings are the builder's."""
    (tmp_path / "t.txt").write_text("\n".join(TEXTS))
    (tmp_path / "rows").write_bytes(b"\n".join(JSON))
    for source, name in (("text", "t.txt"), ("json", "rows")):
        rows = opened(prepared, tmp_path, source=source, data_files=str(tmp_path / name))
        assert rows.documents.source.files is None
        assert len(take(rows, 0, 40)) == 40
        assert rows.notes() == []
