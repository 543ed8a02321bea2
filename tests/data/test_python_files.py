"""Python source as documents: whole files, and the library of the Python that runs."""

from __future__ import annotations

import ast
import json
import platform
from pathlib import Path

import pytest

from hdiff.data.prepare.run import prepare
from hdiff.data.prepared import PreparedData
from hdiff.data.sources.corpus import MAX_DOCUMENT_CHARACTERS, read_documents
from hdiff.data.sources.python_files import library_files
from hdiff.errors import DataError

GOOD = {
    "plain.py": b"def f(a):\n    return a\n",
    "blank_lines.py": b"\n\n\nx = [1,\n     2]\n\n\n",
    "tabs.py": b"if a:\n\tb = 1\n\tif c:\n\t\td = 2\n",
    "windows.py": b"x = 1\r\nif x:\r\n    y = '''a\r\nb'''\r\n",
    "mac.py": b"x = 1\ry = 2\r",
    "latin.py": b"# -*- coding: latin-1 -*-\ns = '\xe4'\n",
    "mark.py": b"\xef\xbb\xbfx = 'a'\n",
    "unicode.py": "π = '🐟'  # ä\n".encode(),
    "trailing.py": b"x = 1   \n\n   # end   \n",
    "form_feed.py": b"x = 1\n\x0c\ny = 2\n",
    "spaces_in_text.py": b's = \'a  b   c\'\nt = """  \n\n    indented\n"""\n',
    "one_line.py": b"a;b;c",
}
BAD = {
    "two.py": (b"x = 1\nprint 'a'\n", "two.py, line 2, column 1", "not Python"),
    "indent.py": (b"  x = 1\n", "indent.py, line 1", "not Python"),
    "open.py": (b"x = 1\n\ny = (\n", "open.py, line 3, column 5", "not Python"),
    "merge.py": (b"<<<<<<< HEAD\nx = 1\n", "merge.py, line 1", "not Python"),
    "nul.py": (b"x = 1\0\n", "nul.py, line 1", "not Python"),
    "notebook.py": (b"%matplotlib inline\n", "notebook.py, line 1", "not Python"),
    "template.py": (b"x = {{ name }}\nclass {{ a }}: pass\n", "template.py, line 2", "not Python"),
    "prose.py": (b"This is no code at all.\n", "prose.py, line 1", "not Python"),
    "cut.py": (b"def f():\n    '''text that never\n", "cut.py, line 2", "not Python"),
    "bytes.py": (b"x = '\xff'\n", "bytes.py", "cannot be read"),
    "cookie.py": (b"# coding: no-such\nx = 1\n", "cookie.py", "cannot be read"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source")
    (root / "inner").mkdir()
    for number, (name, data) in enumerate(GOOD.items()):
        (root / ("inner" if number % 2 else ".") / name).write_bytes(data)
    for name, (data, _, _) in BAD.items():
        (root / name).write_bytes(data)
    (root / "empty.py").write_bytes(b"")
    (root / "notes.txt").write_text("Text beside code.")
    return root


@pytest.fixture(scope="module")
def data(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    out = tmp_path_factory.mktemp("code") / "data"
    options = {"parser": "python", "tokenizer": "train:300", "levels": ["sentence"]}
    prepare(f"python:{folder}", out, validation_fraction=0.2, **options)
    return PreparedData.load(out)


def test_files_that_do_not_parse_are_counted_with_place_and_reason(data: PreparedData) -> None:
    rows = [json.loads(line) for line in (data.path / "rejected.jsonl").read_text().splitlines()]
    found = {Path(row["place"].split(",")[0]).name: row for row in rows}
    assert set(found) == {*BAD, "empty.py"}
    for name, (_, place, reason) in BAD.items():
        assert place in found[name]["place"]
        assert reason in found[name]["reason"]
    assert sum(data.manifest["rejected"].values()) == len(BAD) + 1


def test_tokens_give_every_file_back_letter_by_letter(data: PreparedData) -> None:
    texts = []
    for split in ("train", "validation"):
        for row in data.split(split):
            assert data.tokenizer.decode(row["input_ids"]) == row["text"]
            texts.append(row["text"])
    assert len(texts) == len(GOOD)
    assert "if a:\n\tb = 1\n\tif c:\n\t\td = 2" in texts
    assert 's = \'a  b   c\'\nt = """  \n\n    indented\n"""' in texts
    assert "x = 1\nif x:\n    y = '''a\nb'''" in texts
    assert "# -*- coding: latin-1 -*-\ns = 'ä'" in texts


def test_the_library_is_read_from_the_python_that_runs() -> None:
    train, held_out = library_files("stdlib"), library_files("stdlib:validation")
    assert {"argparse.py", "json/decoder.py"} <= {*train, *held_out}
    assert not {path.split("/")[0] for path in train} & {path.split("/")[0] for path in held_out}
    assert not any("test" in path.split("/") for path in train)
    assert 0.02 < len(held_out) / len(train) < 0.4


def test_every_file_of_the_library_is_one_document_that_parses() -> None:
    rows = list(read_documents("builtin:stdlib:validation"))
    assert [row.place for row in rows] == library_files("stdlib:validation")
    for row in rows:
        assert row.reason is None
        ast.parse(row.text)
    longest = max(read_documents("builtin:stdlib"), key=lambda row: len(row.text))
    assert len(longest.text) > MAX_DOCUMENT_CHARACTERS
    ast.parse(longest.text)


def test_the_manifest_names_version_licence_and_files(tmp_path: Path) -> None:
    manifest = prepare(
        "builtin:stdlib", tmp_path / "out", limit=3, parser="python", tokenizer="train:300", levels=["clause"]
    )
    assert manifest["validation"] == "builtin:stdlib:validation"
    assert manifest["origin"]["version"] == platform.python_version() == manifest["parser"]["python"]
    assert manifest["origin"]["licence"].startswith("PSF-2.0")
    assert manifest["origin"]["files"] == library_files("stdlib")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("python:{}/notes.txt", "is of another kind"),
        ("python:{}/nowhere", "no file or folder"),
        ("python:{}/*.rs", "no file matches"),
        ("{}/plain.py", "source code is read as python:PATH"),
    ],
)
def test_what_is_no_source_is_refused(folder: Path, source: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(read_documents(source.format(folder)))


def test_a_folder_without_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(DataError, match=r"none of the 1 files of .* ends in \.py"):
        list(read_documents(f"python:{tmp_path}"))
