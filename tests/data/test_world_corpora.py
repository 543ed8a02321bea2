"""Corpora as the world has them: bad and blank files, compression, splits, missing levels."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path

import pytest
from world_files import PLAIN, read, written

from hdiff.data.prepare.run import prepare
from hdiff.data.prepare.selection import Selection
from hdiff.data.sources.corpus import read_documents
from hdiff.data.sources.folders import text_files
from hdiff.data.sources.text_files import kind_of
from hdiff.errors import DataError

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
