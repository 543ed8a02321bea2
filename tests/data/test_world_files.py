"""Files as the world has them: nothing is cut, doubled or lost in silence; a bad row costs one row."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner
from world_files import PLAIN, read, written

from hdiff.cli import app
from hdiff.data.prepare.run import prepare
from hdiff.data.prepared import PreparedData
from hdiff.data.sources.corpus import read_documents
from hdiff.errors import DataError

COMMAS, LINES, QUOTES = "more values than columns", "fewer values than columns", "not CSV"
TABLES = [
    ("id,text\n0,A day, and it ended.\n1,Fine.\n", ["Fine."], [("line 2", COMMAS)]),
    ("id,text\n0,A, b, c, d\n1,Fine.\n", ["Fine."], [("line 2", COMMAS)]),
    ("text,id\nA day, and it ended.,0\nFine.,1\n", ["Fine."], [("line 2", COMMAS)]),
    ('id,text\n0,"A day, and it ended."\n', ["A day, and it ended."], []),
    ("text\nA day, and it ended.\nFine.\n", ["Fine."], [("line 2", COMMAS)]),
    ("text,id\nA day\nit ended,1\n", ["it ended"], [("line 2", LINES)]),
    ("id,text\n0,A day\nit ended.\n1,Fine.\n", ["A day", "Fine."], [("line 3", LINES)]),
    ('id,text\n0,"A day" ended\n1,Fine.\n', ["Fine."], [("line 2", QUOTES)]),
    ('id,text\n0,"A day\n1,Fine.\n2,Lost', [], [("line 2", QUOTES), ("line 3", QUOTES), ("line 4", QUOTES)]),
    ("id,text\n0,A day,\n1,Fine.\n", ["A day", "Fine."], []),
    ("id,text\n\n0,A day\n\n", ["A day"], []),
    ("id,text\n0,\n1,Fine.\n", ["", "Fine."], []),
    ('id,text\r\n0,"two\r\nlines"\r\n', ["two\nlines"], []),
    ("\ufeffid,text\n0,A day\n", ["A day"], []),
    ('id,text\n0,"He said ""no"", then."\n', ['He said "no", then.'], []),
]


@pytest.mark.parametrize(("data", "texts", "rejected"), TABLES)
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_table_gives_whole_texts_or_says_which_rows_it_cannot_read(
    data: str, texts: list[str], rejected: list[tuple[str, str]], suffix: str, tmp_path: Path
) -> None:
    if suffix == ".tsv":
        data = data.replace(",", "\t")
        texts = [text.replace(",", "\t") for text in texts]
    found, refused = read(written(tmp_path / f"rows{suffix}", data))
    assert found == texts
    assert [place for place, _ in refused] == [place for place, _ in rejected]
    for (_, reason), (_, expected) in zip(refused, rejected, strict=True):
        assert reason.startswith(expected)
        assert ";" in reason, "the remedy"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("id,text,text\n0,a,b\n", "has 2 columns 'text'; name them differently"),
        ("id;text\n0;A day\n", "columns of its first line apart by ';', expected ','; convert it"),
        ("id\ttext\n0\tA day\n", r"apart by '\\t', expected ','"),
        ("id|text\n0|A day\n", r"apart by '\|', expected ','"),
        ("A day.\nAnother day.\n", "no column 'text', its columns are A day."),
        ("id, text\n0,A day\n", "no column 'text', its columns are id,  text"),
        ("id,Text\n0,A day\n", "no column 'text', its columns are id, Text; choose one with --text-column"),
        ('"id,text\n0,A day\n', "line 1 is no line of names"),
    ],
)
def test_a_table_without_one_text_column_is_refused(data: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(written(tmp_path / "rows.csv", data))


SEPARATED = [
    "One.\n<|endoftext|>\nTwo.\n",
    "One.<|endoftext|>Two.",
    "One. <|endoftext|> Two. <|endoftext|>",
    "<|endoftext|>One.\n<|endoftext|>Two.",
    "One.\n  <|endoftext|>\t\nTwo.",
    "One.\r\n<|endoftext|> \r\nTwo.\r\n",
    "One.<|endoftext|>\n\nTwo.\n\n<|endoftext|>",
    "<|endoftext|><|endoftext|>One.<|endoftext|><|endoftext|>Two.",
    "One.\r<|endoftext|>\rTwo.",
    "\ufeff<|endoftext|>\nOne.\n\x0c<|endoftext|>Two.\x0c",
    "One.\n\nTwo.",
    "One.\n \t\nTwo.\n\n\n",
    "One.\n\x0c\nTwo.",
    "One.\r\rTwo.\r",
    "One.\n\x0b\n\u2003\nTwo.",
    "One.\n\n\ufeffTwo.",
]


@pytest.mark.parametrize("data", SEPARATED)
def test_documents_end_where_the_file_says_so(data: str, tmp_path: Path) -> None:
    assert read(written(tmp_path / "a.txt", data)) == (["One.", "Two."], [])


@pytest.mark.parametrize(
    "data", ["One\n\ntwo.<|endoftext|>Three\n\n\nfour.", "One\n\ntwo.\n<|endoftext|>\nThree\n\n\nfour."]
)
def test_blank_lines_stay_where_documents_end_otherwise(data: str, tmp_path: Path) -> None:
    assert read(written(tmp_path / "a.txt", data)) == (["One\n\ntwo.", "Three\n\n\nfour."], [])


NOT_TEXT = [
    (b'{"text": null}', "null in column 'text'"),
    (b'{"text": ["a", "b"]}', "a list in column 'text'"),
    (b'{"text": {"en": "a"}}', "an object in column 'text'"),
    (b'{"text": 5}', "a number in column 'text'"),
    (b'{"text": 1e999}', "a number in column 'text'"),
    (b'{"text": true}', "a truth value in column 'text'"),
    (b'{"body": "a"}', "no column 'text', its columns are body"),
    (b"{}", "no column 'text', its columns are none"),
    (b'["a"]', "a list, expected an object"),
    (b'"a"', "a text, expected an object"),
    (b"null", "null, expected an object"),
    (b'{"text": "a"', "not JSON"),
    (b'{"text": "a"}{"text": "b"}', "not JSON (Extra data)"),
    (b'{"text": "a", "text": "b"}', "not JSON (an object has a key twice)"),
    (b"{'text': 'a'}", "not JSON"),
    (b'{"text": "caf\xe9"}', "not UTF-8; convert the file"),
    (b'{"text": "a\0b"}', "a NUL character"),
    (b'{"text": ' + b"[" * 100_000, "not JSON"),
]


@pytest.mark.parametrize(("line", "reason"), NOT_TEXT)
def test_a_line_without_text_costs_one_row(line: bytes, reason: str, tmp_path: Path) -> None:
    data = b'{"text": "One."}\n' + line + b'\n{"text": "Two."}\n'
    texts, ((place, found),) = read(written(tmp_path / "rows.jsonl", data))
    assert (texts, place) == (["One.", "Two."], "line 2")
    assert found.startswith(reason)
    assert ";" in found


@pytest.mark.parametrize(("line", "reason"), NOT_TEXT)
def test_bad_rows_are_listed_and_the_others_are_prepared(line: bytes, reason: str, tmp_path: Path) -> None:
    good = [b'{"text": "Number %d is here."}' % number for number in range(30)]
    source = written(tmp_path / "rows.jsonl", b"\n".join([*good[:20], line, *good[20:], line]))
    result = CliRunner().invoke(
        app,
        ["prepare", str(source), "--out", str(tmp_path / "out"), "--parser", "plain", "--levels", "sentence",
         "--tokenizer", "words"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "2 documents rejected (6.2%" in result.output
    manifest = PreparedData.load(tmp_path / "out").manifest
    assert sum(split["documents"] for split in manifest["counts"].values()) == 30
    ((found, number),) = manifest["rejected"].items()
    assert found.startswith(reason)
    assert number == 2
    rows = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()]
    assert [(row["place"], row["reason"]) for row in rows] == [
        ("rows.jsonl line 21", found), ("rows.jsonl line 32", found)
    ]  # fmt: skip


@pytest.mark.parametrize("most", [0.0, 0.2, 0.5, 0.6, 1.0])
def test_more_rejected_rows_than_allowed_are_an_error(most: float, tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"Number {number}." if number % 2 else None}) for number in range(40)]
    source = str(written(tmp_path / "rows.jsonl", "\n".join([*lines, '{"text": null}'])))
    if most > 0.52:
        prepare(source, tmp_path / "out", **PLAIN, max_rejected=most)
        return
    with pytest.raises(
        DataError, match=r"21 of the 41 documents of .* are rejected.*null in column"
    ) as refused:
        prepare(source, tmp_path / "out", **PLAIN, max_rejected=most)
    (remedy,) = refused.value.remedies
    prepare(source, tmp_path / "out", **PLAIN, max_rejected=float(remedy.split()[1]))


def test_empty_rows_are_counted_and_allowed(tmp_path: Path) -> None:
    lines = [json.dumps({"text": "" if number % 3 else f"Number {number}."}) for number in range(90)]
    source = str(written(tmp_path / "rows.jsonl", "\n".join(lines)))
    assert prepare(source, tmp_path / "out", **PLAIN, max_rejected=0)["rejected"] == {"empty text": 60}


@pytest.mark.parametrize("number", [1, 3, 1_000, 1_500])
def test_a_source_of_bad_rows_alone_is_refused_with_the_reason(number: int, tmp_path: Path) -> None:
    source = written(tmp_path / "rows.jsonl", '{"text": ["a"]}\n' * number)
    counted = "the first 1,000" if number >= 1_000 else f"all {number}"
    with pytest.raises(
        DataError, match=f"{counted} rows of .* are rejected; rows.jsonl line 1: a list in column"
    ):
        prepare(str(source), tmp_path / "out", **PLAIN)


COPIES = [
    "._a.txt",
    ".a.txt",
    ".ipynb_checkpoints/a-checkpoint.txt",
    "__MACOSX/._a.txt",
    "__MACOSX/a.txt",
    "sub/.ipynb_checkpoints/a-checkpoint.txt",
    "a.txt~",
    "#a.txt#",
    "~$a.txt",
    ".~lock.a.csv#",
    ".DS_Store",
    ".git/a.txt",
    ".Trash-1000/files/a.txt",
    "@eaDir/a.txt",
    "$RECYCLE.BIN/a.txt",
    ".a.txt.swp",
    "sub/._a.csv",
]


@pytest.mark.parametrize("name", COPIES)
@pytest.mark.parametrize("pattern", ["", "**/*", "*"])
def test_copies_that_systems_leave_are_not_read_as_more_text(name: str, pattern: str, tmp_path: Path) -> None:
    written(tmp_path / "corpus" / "a.txt", "One.")
    written(tmp_path / "corpus" / name, b"\0\x05\x16\x07 One.")
    notes: list[str] = []
    source = str(tmp_path / "corpus" / pattern)
    assert [row.text for row in read_documents(source, note=notes.append)] == ["One."]
    if not pattern:
        (note,) = notes
        assert note.startswith("1 hidden files and copies are left out: ")
        assert name in note


def test_files_in_a_hidden_folder_that_is_named_are_read(tmp_path: Path) -> None:
    written(tmp_path / ".cache" / "corpus" / "a.txt", "One.")
    for source in (".cache", ".cache/corpus", ".cache/corpus/a.txt", ".cache/**/*.txt", ".cache/corpus/*"):
        assert [row.text for row in read_documents(str(tmp_path / source))] == ["One."]


LINKS: list[tuple[str, Callable[[Path, Path], None]]] = [
    ("link.txt", lambda link, file: link.symlink_to(file)),
    ("0.txt", lambda link, file: link.symlink_to(file.name)),
    ("hard.txt", lambda link, file: os.link(file, link)),
    ("link.txt", lambda link, file: link.symlink_to("../corpus/a.txt")),
]


@pytest.mark.parametrize(("name", "make"), LINKS)
def test_a_file_that_is_found_under_two_names_is_read_once(
    name: str, make: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    file = written(tmp_path / "corpus" / "a.txt", "One.")
    make(tmp_path / "corpus" / name, file)
    notes: list[str] = []
    assert [row.text for row in read_documents(str(tmp_path / "corpus"), note=notes.append)] == ["One."]
    assert len(notes) == 1
    assert "are links to others and read once" in notes[0]
