"""Corpora: what is a document, and what is said about files that are none."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hdiff.shipped
from hdiff.data.sources.builtin import PHRASES
from hdiff.data.sources.corpus import MAX_DOCUMENT_CHARACTERS, cut, read_documents
from hdiff.data.sources.rejected import Row
from hdiff.errors import DataError

ROWS = ["One fish.", 'Two "fish",\nred fish.', "Drei Fische: ä ö ü 🐟."]


def texts(rows: Iterable[Row]) -> list[str]:
    return [row.text for row in rows if row.reason is None]


def test_pydoc_is_english_prose() -> None:
    documents = texts(read_documents("builtin:pydoc"))
    text = "\n".join(documents)
    assert len(documents) > 40
    assert len(text.split()) > 20_000
    assert not re.search(r">>>|::=|={4,}|\*{4,}|\+--", text)
    assert all(line.rstrip("”\"'")[-1] in ".!?:)" for line in text.split("\n"))


def test_stories_are_whole_and_none_is_in_both_splits() -> None:
    stories = texts(read_documents("builtin:stories-text"))
    held_out = texts(read_documents("builtin:stories-text:validation"))
    assert (len(stories), len(held_out)) == (3_151, 256)
    assert not set(stories) & set(held_out)
    assert not any("<|endoftext|>" in story for story in (*stories, *held_out))
    assert {letter for story in (*stories, *held_out) for letter in story if letter > "~"} == {"–", "—"}
    assert sum(len(story.split()) for story in stories) > 500_000
    files = list((Path(hdiff.shipped.__file__).parent / "stories_text").iterdir())
    assert sum(file.stat().st_size for file in files) < 1_000_000
    assert "Community Data License Agreement" in next(f for f in files if f.name == "LICENSE").read_text()


def test_phrase_bank_documents_are_eight_phrases_one_per_line() -> None:
    documents = texts(read_documents("builtin:phrase_bank"))
    validation = texts(read_documents("builtin:phrase_bank:validation"))
    assert (len(documents), len(validation)) == (20_000, 2_000)
    bank = {" ".join(phrase) for phrase in PHRASES}
    assert all(len(lines := text.split("\n")) == 8 and bank.issuperset(lines) for text in documents)
    assert len(bank) == 16
    assert len({word for phrase in PHRASES for word in phrase}) == 32
    assert documents == texts(read_documents("builtin:phrase_bank"))


def test_phrase_bank_words_drawn_from_their_marginals_are_a_phrase_once_in_a_thousand() -> None:
    columns = list(zip(*PHRASES, strict=True))
    rates = [
        math.prod(column.count(word) / 16 for column, word in zip(columns, phrase, strict=True))
        for phrase in PHRASES
    ]
    assert sum(rates) == pytest.approx(0.001, abs=1e-4)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_text_documents_end_at_blank_lines(tmp_path: Path, newline: str) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(newline.join(["\ufeffOne", "fish.", " \t ", "", "Two.", ""]).encode())
    assert texts(read_documents(str(file))) == ["One\nfish.", "Two."]


def test_text_documents_end_at_separators_if_there_are_any(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("One\n\nfish.\n<|endoftext|>\nTwo.\n<|endoftext|>\n", encoding="utf-8")
    assert texts(read_documents(str(file))) == ["One\n\nfish.", "Two."]


def write_rows(folder: Path, suffix: str, column: str) -> Path:
    from datasets import Dataset

    file = folder / f"rows.{suffix}"
    if suffix == "jsonl":
        file.write_text("".join(json.dumps({"n": 1, column: row}) + "\n" for row in ROWS), encoding="utf-8")
    elif suffix == "csv":
        with file.open("w", encoding="utf-8", newline="") as opened:
            csv.writer(opened).writerows([["n", column], *[[1, row] for row in ROWS]])
    else:
        Dataset.from_dict({"n": [1] * 3, column: ROWS}).to_parquet(str(file))
    return file


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_tables_give_their_text_column(tmp_path: Path, suffix: str) -> None:
    file = write_rows(tmp_path, suffix, "body")
    assert texts(read_documents(str(file), text_column="body")) == ROWS
    with pytest.raises(DataError, match=r"no column 'text', its columns are n, body; .*--text-column"):
        texts(read_documents(str(file)))


def test_folders_and_globs_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.txt", "a.txt", "sub/c.txt", "README.md"):
        (tmp_path / name).write_text(f"text of {name}", encoding="utf-8")
    assert texts(read_documents(str(tmp_path))) == ["text of a.txt", "text of b.txt", "text of sub/c.txt"]
    assert texts(read_documents(str(tmp_path / "[ab].*"))) == ["text of a.txt", "text of b.txt"]


def test_hub_sources_read_a_local_data_set_folder(tmp_path: Path) -> None:
    write_rows(tmp_path, "parquet", "text").rename(tmp_path / "train-00000.parquet")
    assert texts(read_documents(f"hf:{tmp_path}")) == ROWS
    assert texts(read_documents(f"hf:{tmp_path}::train")) == ROWS
    with pytest.raises(DataError, match="no column 'body', its columns are n, text"):
        texts(read_documents(f"hf:{tmp_path}", text_column="body"))
    with pytest.raises(DataError, match="split test"):
        texts(read_documents(f"hf:{tmp_path}::test"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", r"a.txt is empty"),
        ("a.txt", b"caf\xe9 noir", r"a.txt line 1: not UTF-8; convert the file"),
        ("a.txt", b"fine\nfine\n\xef\xbb\xff", r"a.txt line 1: not UTF-8"),
        ("a.txt", b"\xef\xbb\xbfcaf\xe9", r"not UTF-8"),
        ("a.txt", b"one\ntwo two two\0three", r"a.txt line 1: a NUL character"),
        ("a.txt", "text".encode("utf-16"), r"is UTF-16, expected UTF-8; .*iconv -f UTF-16"),
        ("a.txt", "text".encode("utf-16-le"), r"is binary or UTF-16 \(NUL bytes\)"),
        ("a.txt", "text".encode("utf-32"), r"is UTF-32"),
        ("a.txt", b"  \n \n", r"a.txt is empty, it has no text"),
        ("a.txt", "*** !!! ___\n\n— 👍".encode(), r"no word in it"),
        ("a.pdf", b"text", r"'.pdf' is not one of .txt, .jsonl"),
        ("a.jsonl", b'{"text": ', r"line 1: not JSON"),
        ("a.jsonl", b'["a"]\n', r"line 1: a list, expected an object with 'text'"),
        ("a.jsonl", b'{"text": null}\n', r"line 1: null in column 'text'"),
        ("a.csv", b"id,title\n1,a\n", r"no column 'text', its columns are id, title"),
        ("a.parquet", b"PAR1 not really PAR1", r"not a readable parquet file"),
    ],
)
def test_bad_files_are_refused_in_one_clear_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        texts(read_documents(str(tmp_path / name)))
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value), "the remedy comes after a semicolon"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.txt", "no file or folder"),
        ("missing/*.txt", "no file matches"),
        ("builtin:shakespeare", "there is no corpus 'builtin:shakespeare'; use one of builtin:pydoc"),
        (".", r"none of the 1 files of .*endings of the others: \.md: 1"),
    ],
)
def test_missing_sources_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.md").write_text("text", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        texts(read_documents(source))


@pytest.mark.parametrize("border", ["\n\n", ". ", " ", ""])
@pytest.mark.parametrize("suffix", ["txt", "csv", "jsonl"])
def test_two_megabytes_on_one_line_are_cut_without_loss(tmp_path: Path, border: str, suffix: str) -> None:
    text = ("word" + border) * (2_000_000 // (4 + len(border)))
    file = tmp_path / f"long.{suffix}"
    if suffix == "csv":
        with file.open("w", encoding="utf-8", newline="") as opened:
            csv.writer(opened).writerows([["text"], [text]])
    else:
        lines = text.replace("\n\n", "\n") if suffix == "txt" else json.dumps({"text": text})
        file.write_text(lines, encoding="utf-8")
    documents = texts(read_documents(str(file)))
    assert all(len(document) <= MAX_DOCUMENT_CHARACTERS for document in documents)
    assert "".join("".join(documents).split()) == "".join(text.split())
    if border:
        assert all(document.endswith(("word", "word.")) for document in documents)


@given(st.text(), st.integers(2, 20))
def test_cutting_loses_only_whitespace(text: str, length: int) -> None:
    parts = list(cut(text, length))
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert all(0 < len(part) <= length and part == part.strip() for part in parts)
