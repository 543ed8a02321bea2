"""Files as the world has them: nothing is cut, doubled or lost in silence; a bad row costs one row."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hdiff.cli import app
from hdiff.data.prepare.run import prepare
from hdiff.data.prepare.selection import Selection
from hdiff.data.prepared import PreparedData
from hdiff.data.sources.corpus import read_documents
from hdiff.data.sources.folders import text_files
from hdiff.data.sources.text_files import kind_of, read_file
from hdiff.errors import DataError

PLAIN: dict[str, Any] = {"parser": "plain", "levels": ("sentence",), "tokenizer": "words"}


def read(path: Path, column: str = "text") -> tuple[list[str], list[tuple[str, str]]]:
    """Texts, and (place, reason) of rows that cannot be read."""
    rows = list(read_file(path, text_column=column))
    return [row.text for row in rows if not row.reason], [
        (row.place, row.reason) for row in rows if row.reason
    ]


def written(path: Path, data: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


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


BAD_FILES: list[tuple[str, bytes, str]] = [
    ("z.txt", "text".encode("utf-16"), "is UTF-16, expected UTF-8"),
    ("z.txt", "text".encode("utf-16-be"), "is binary or UTF-16"),
    ("z.txt", bytes(range(256)) * 3 + b"\0" * 400, "is binary"),
    ("z.jsonl", '{"text": "a"}'.encode("utf-32"), "is UTF-32"),
    ("z.parquet", b"PAR1", "not a readable parquet file"),
    ("z.parquet", b"", "not a readable parquet file"),
    ("z.csv", b"id,title\n1,a\n", "no column 'text'"),
    ("z.json", b'{"data": []}', "holds one value (keys data), expected a list of objects"),
    ("z.json", b"[1, 2", "is not JSON"),
    ("z.txt.gz", b"no gzip", "Not a gzipped file"),
    ("z.txt.xz", b"no xz", "Input format not supported"),
    ("z.txt.bz2", b"no bz2", "Invalid data stream"),
    ("z.txt.zst", b"no zstd", "cannot read"),
    ("z.txt.gz", gzip.compress(b"One. " * 1000, mtime=0)[:-20], "cannot read"),
]
BLANK_FILES = [
    ("z.txt", b""),
    ("z.txt", b"\n \n\t\n"),
    ("z.csv", b"id,text\n"),
    ("z.csv", b""),
    ("z.jsonl", b""),
    ("z.jsonl", b"\n"),
    ("z.txt.gz", gzip.compress(b"", mtime=0)),
    ("z.txt", b"\xef\xbb\xbf"),
    ("z.json", b"[]"),
    ("z.tsv", b"\n"),
    ("z.txt.xz", lzma.compress(b"\n")),
]


def corpus(folder: Path) -> Path:
    for number in range(4):
        written(folder / f"part{number}.txt", f"Part {number} is here.\n\nIt ends with {number}.")
    return folder


@pytest.mark.parametrize(("name", "data", "reason"), BAD_FILES)
def test_one_bad_file_does_not_stop_the_others(name: str, data: bytes, reason: str, tmp_path: Path) -> None:
    written(corpus(tmp_path / "corpus") / name, data)
    manifest = prepare(str(tmp_path / "corpus"), tmp_path / "out", **PLAIN, validation_fraction=0.3)
    assert sum(split["documents"] for split in manifest["counts"].values()) >= 8
    ((found, number),) = manifest["rejected"].items()
    assert (reason in found, number) == (True, 1)
    (line,) = (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
    assert json.loads(line)["place"].endswith(name)
    with pytest.raises(DataError):
        prepare(str(tmp_path / "corpus" / name), tmp_path / "alone", **PLAIN)


@pytest.mark.parametrize(("name", "data"), BLANK_FILES)
def test_a_file_without_text_gives_no_document_and_is_named(name: str, data: bytes, tmp_path: Path) -> None:
    written(corpus(tmp_path / "corpus") / name, data)
    manifest = prepare(str(tmp_path / "corpus"), tmp_path / "out", **PLAIN, validation_fraction=0.3)
    assert sum(split["documents"] for split in manifest["counts"].values()) == 8
    assert manifest["rejected"] == {}
    assert any(
        note.startswith("1 files have no text: ") and note.endswith(name) for note in manifest["notes"]
    )
    with pytest.raises(DataError, match=r"is empty|no word"):
        prepare(str(tmp_path / "corpus" / name), tmp_path / "alone", **PLAIN)


def test_a_folder_of_bad_files_is_refused(tmp_path: Path) -> None:
    for number in range(3):
        written(tmp_path / "corpus" / f"{number}.txt", "text".encode("utf-16"))
    written(tmp_path / "corpus" / "fine.txt", "One.\n\nTwo.")
    with pytest.raises(DataError, match="is UTF-16"):
        prepare(str(tmp_path / "corpus"), tmp_path / "out", **PLAIN)


def test_files_of_other_kinds_are_named(tmp_path: Path) -> None:
    for name in ("a.md", "b.pdf", "c"):
        written(corpus(tmp_path / "corpus") / name, "text")
    (note,) = prepare(str(tmp_path / "corpus"), tmp_path / "out", **PLAIN, validation_fraction=0.3)["notes"]
    assert note.startswith("3 files are of other kinds (.md: 1, .pdf: 1, no suffix: 1) and left out: ")


def zstandard(data: bytes) -> bytes:
    import pyarrow

    return bytes(pyarrow.compress(data, codec="zstd", asbytes=True))


COMPRESSORS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard}
CONTENTS = {
    ".txt": "One, two.\n\nThree: ä 🐟.",
    ".jsonl": '{"text": "One, two."}\n{"text": "Three: ä 🐟."}\n',
    ".ndjson": '{"text": "One, two."}\n{"text": "Three: ä 🐟."}',
    ".json": '[{"text": "One, two."},\n {"text": "Three: ä 🐟."}]',
    ".csv": 'n,text\n1,"One, two."\n2,Three: ä 🐟.\n',
    ".tsv": "n\ttext\n1\tOne, two.\n2\tThree: ä 🐟.\n",
}


@pytest.mark.parametrize("suffix", CONTENTS)
@pytest.mark.parametrize("compression", ["", *COMPRESSORS])
def test_files_may_be_compressed(suffix: str, compression: str, tmp_path: Path) -> None:
    data = CONTENTS[suffix].encode()
    path = written(
        tmp_path / f"a{suffix}{compression}", COMPRESSORS[compression](data) if compression else data
    )
    assert read(path) == (["One, two.", "Three: ä 🐟."], [])
    assert text_files(str(tmp_path)) == [path]
    written(tmp_path / f"A{suffix.upper()}{compression.upper()}", path.read_bytes())
    assert len(text_files(str(tmp_path))) == 2


@pytest.mark.parametrize(
    "data",
    [
        '["One, two.", "Three."]',
        '{"text": "One, two."}\n{"text": "Three."}',
        '\ufeff [{"text": "One, two."}, {"text": "Three."}]',
    ],
)
def test_json_is_a_list_or_lines(data: str, tmp_path: Path) -> None:
    assert read(written(tmp_path / "a.json", data)) == (["One, two.", "Three."], [])


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("a.zip", "unpack it"),
        ("a.tar.gz", "unpack it"),
        ("a.tgz", "unpack it"),
        ("a.7z", "unpack it"),
        ("a.gz", "unpack it"),
        ("a.pdf", "convert it to text"),
        ("a.docx", "convert it to text"),
        ("a.html", "convert it to text"),
        ("a.epub", "convert it"),
        ("a.xlsx", "save it as .csv"),
        ("a.conllu", "treebank:FILE"),
        ("a.parquet.gz", "unpack it"),
        ("a", "convert the file"),
    ],
)
def test_other_files_are_refused_with_what_to_do(name: str, remedy: str, tmp_path: Path) -> None:
    path = written(tmp_path / name, b"data")
    assert kind_of(path) is None
    with pytest.raises(DataError, match=f"is not one of .txt, .jsonl.*; .*{remedy}"):
        list(read_documents(str(path)))


@pytest.mark.parametrize("number", [2, 3, 5, 10, 20, 21, 25, 40])
@pytest.mark.parametrize("fraction", [1e-9, 0.05, 0.5, 0.999])
def test_small_corpora_get_two_splits(number: int, fraction: float, tmp_path: Path) -> None:
    text = "\n\n".join(f"Paragraph {index} is here." for index in range(number))
    source = str(written(tmp_path / "a.txt", text))
    manifest = prepare(source, tmp_path / "out", **PLAIN, validation_fraction=fraction)
    sizes = {split: counts["documents"] for split, counts in manifest["counts"].items()}
    assert sum(sizes.values()) == number
    assert min(sizes.values()) >= 1
    assert manifest["notes"] == []
    alone = Selection(source).rows(fraction, print)
    held_out = sum(split == "validation" for split, _ in alone)
    if 0 < held_out < number:
        assert sizes["validation"] == held_out
    else:
        asked = min(max(1, round(fraction * number)), number - 1)
        assert sizes["validation"] == asked
    again = prepare(source, tmp_path / "out", **PLAIN, validation_fraction=fraction)
    assert again == manifest


def test_one_text_alone_cannot_be_split(tmp_path: Path) -> None:
    source = written(tmp_path / "a.txt", "One.\n\nOne.\n\n***")
    with pytest.raises(DataError, match=r"none of the 3 documents .*--validation SOURCE"):
        prepare(str(source), tmp_path / "out", **PLAIN)


@pytest.mark.parametrize(
    ("source", "validation"),
    [
        ("a.txt", "a.txt"),
        ("a.txt", "./a.txt"),
        ("a.txt", "link.txt"),
        ("link.txt", "a.txt"),
        (".", "a.txt"),
        ("a.txt", "."),
        ("*.txt", "a.txt"),
        ("a.txt", "sub/../a.txt"),
        (".", "."),
        ("builtin:pydoc", "builtin:pydoc"),
    ],
)
def test_training_text_is_not_validation_text(
    source: str, validation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "a.txt", "One.\n\nTwo.")
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.txt").symlink_to("a.txt")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"is both training and validation text; .*leave it out"):
        prepare(source, tmp_path / "out", **PLAIN, validation=validation)


def test_equal_texts_in_both_files_are_counted(tmp_path: Path) -> None:
    written(tmp_path / "a.txt", "One.\n\nTwo.\n\nThree.")
    written(tmp_path / "b.txt", "Two.\n\nFour.")
    manifest = prepare(str(tmp_path / "a.txt"), tmp_path / "out", **PLAIN, validation=str(tmp_path / "b.txt"))
    assert manifest["notes"] == ["1 of 2 validation documents are training documents, too"]


MISSING = [
    ("Red shoes\n\nBlue hats\n\nOld dogs\n\nNew cars", ["clause", "phrase"], "clause"),
    ("Dogs\n\nCats\n\nMice\n\nCows", ["phrase"], "phrase"),
    ("1\n\n2\n\n3\n\n4", ["clause"], "clause"),
]


@pytest.mark.parametrize(("text", "levels", "missing"), MISSING)
def test_a_level_without_a_span_is_an_error_with_counts(
    text: str, levels: list[str], missing: str, tmp_path: Path
) -> None:
    source = written(tmp_path / "a.txt", text)
    with pytest.raises(
        DataError, match=rf"level '{missing}' has 0 spans in the \d training documents"
    ) as refused:
        prepare(str(source), tmp_path / "out", levels=levels, tokenizer="words", validation_fraction=0.3)
    (remedy,) = refused.value.remedies
    kept = [level for level in remedy.removeprefix("--levels ").strip("'").split(",") if level]
    prepare(str(source), tmp_path / "out", levels=kept, tokenizer="words", validation_fraction=0.3)


def test_a_default_level_without_a_span_is_not_kept_and_said(tmp_path: Path) -> None:
    text = "\n\n".join(f"Anna paid the old man {number}" for number in "abcdef")
    source = str(written(tmp_path / "a.txt", text))
    with pytest.raises(DataError, match=r"level 'clause' has 0 spans in the 5 training documents"):
        prepare(source, tmp_path / "named", levels=["clause", "phrase"], tokenizer="words")
    manifest = prepare(source, tmp_path / "out", tokenizer="words")
    assert manifest["levels"] == ["phrase", "word"]
    assert "level 'clause' has no span in 5 of 5 training documents and is not kept" in manifest["notes"]
    assert prepare(source, tmp_path / "out", tokenizer="words") == manifest
    with pytest.raises(DataError, match=r"level 'clause' has 0 spans"):
        prepare(
            str(written(tmp_path / "b.txt", "Dogs\n\nCats\n\nMice")), tmp_path / "none", tokenizer="words"
        )


def test_documents_without_a_level_are_counted(tmp_path: Path) -> None:
    text = "\n\n".join(["The old dog slept in the garden.", "Yes.", "No.", "It ran home when the rain came."])
    manifest = prepare(
        str(written(tmp_path / "a.txt", text)), tmp_path / "out", tokenizer="words", validation_fraction=0.1
    )
    number = manifest["counts"]["train"]["without"]["phrase"]
    assert number >= 1
    assert f"level 'phrase' has no span in {number} of 3 training documents" in manifest["notes"]
