"""Outputs are tried before the work: what cannot be written is refused, what can is left as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from read_only import read_only

from hdiff.errors import CheckpointError, UserError
from hdiff.files import write_atomically
from hdiff.outputs import PAGE, RESULT, check_output_file, check_output_folder
from hdiff.runs.results import asked_for

NO_FILE = [
    ".",
    "/",
    "folder",
    "file/below",
    "loop",
    "loop/below",
    "pipe",
    "locked/new",
    "locked/no/such",
    "a\0b",
]
NO_FILE += ["/proc/none", "/dev/null/below", "n" * 300, "a/" * 3000 + "b"]
NO_FOLDER = [
    "file",
    "file/below",
    "loop",
    "loop/below",
    "pipe",
    "locked",
    "locked/new",
    "/proc/none",
    "/dev/null",
]
NO_FOLDER += ["dangling", "n" * 300, "a\0b"]
FILES = [
    "new",
    "file",
    "no/such/folder/new",
    "link",
    "dangling",
    "n" * 240,
    "é\u0301 \U0001f600",
    "/dev/null",
]
OLD = "<!DOCTYPE html>\nold"
OTHERS: dict[str, bytes] = {
    "run.json": b'{"name": "small", "seed": 0}',
    "recipe.yaml": b"name: small\n",
    "model.safetensors": b"\x10\x00\x00\x00\x00\x00\x00\x00{}",
    "checkpoint.json": b'{"format_version": 2}',
    "metrics.jsonl": b'{"step": 1}\n',
    "manifest.json": b'{"format_version": 2, "asked": 1}',
    "data-00000.arrow": b"\xff\xff\xff\xff",
    "tokenizer.json": b'{"version": "1.0"}',
    "ablation.yaml": b"base: recipe.yaml\n",
    "text.txt": b"The dog slept.\n",
    "trees.ptb": b"(S (NP (DT The)))\n",
    "pairs.jsonl": b'{"sentence_good": "asked"}\n',
    "notes.html.txt": b"doctype html\n",
    "archive.gz": b"\x1f\x8b\x08",
    "analysis.json": b'["asked"]',
}
"""Files that no command may take for an older output of its own."""
FOLDERS = [".", "folder", "new", "no/such/folder", "é\u0301 \U0001f600"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bit of everything, which is the current one."""
    monkeypatch.chdir(tmp_path)
    for name in ("folder", "locked"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").write_text(OLD)
    os.mkfifo(tmp_path / "pipe")
    for name, target in (("loop", "loop"), ("link", "file"), ("dangling", "nowhere")):
        (tmp_path / name).symlink_to(target)
    return tmp_path


def names(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize("name", NO_FILE)
def test_what_is_no_file_is_refused(name: str, folder: Path) -> None:
    with read_only(folder / "locked"), pytest.raises(UserError, match="give another file: --output FILE"):
        check_output_file(Path(name), "--output FILE")


@pytest.mark.parametrize("name", NO_FOLDER)
def test_what_is_no_folder_is_refused(name: str, folder: Path) -> None:
    with read_only(folder / "locked"), pytest.raises(UserError, match="give another folder: --output DIR"):
        check_output_folder(Path(name), "--output DIR")


@pytest.mark.parametrize("name", FILES)
def test_what_is_tried_can_be_written_and_is_left_as_it_was(name: str, folder: Path) -> None:
    before = names(folder)
    check_output_file(Path(name), "--output FILE")
    assert names(folder) == before
    assert (folder / "file").read_text() == OLD
    write_atomically(Path(name), "text")
    assert name == "/dev/null" or Path(name).read_text() == "text"


@pytest.mark.parametrize("begins", [PAGE, RESULT])
@pytest.mark.parametrize("name", OTHERS)
def test_a_file_of_another_kind_is_not_overwritten(name: str, begins: bytes, folder: Path) -> None:
    Path(name).write_bytes(OTHERS[name])
    with pytest.raises(UserError, match="which is not overwritten"):
        check_output_file(Path(name), "--output FILE", begins)
    assert Path(name).read_bytes() == OTHERS[name]


@pytest.mark.parametrize(("content", "begins"), [("", PAGE), (" \n", RESULT), (f"\n{OLD}", PAGE)])
def test_an_older_output_and_an_empty_file_are_overwritten(content: str, begins: bytes, folder: Path) -> None:
    Path("older").write_text(content)
    check_output_file(Path("older"), "--output FILE", begins)
    result = json.dumps(asked_for({"bound": 1.0}, {"steps": 2}), indent=1)
    Path("older").write_text(result)
    check_output_file(Path("older"), "--output FILE", RESULT)
    with pytest.raises(UserError, match="holds something else"):
        check_output_file(Path("older"), "--output FILE", PAGE)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_tried_and_not_made(name: str, folder: Path) -> None:
    before = names(folder)
    check_output_folder(Path(name), "--output DIR")
    assert names(folder) == before


def test_a_link_stays_one_and_a_device_is_not_replaced(folder: Path) -> None:
    write_atomically(Path("link"), "text")
    assert (folder / "link").is_symlink()
    assert (folder / "file").read_text() == "text"
    write_atomically(Path("/dev/null"), "text")
    assert Path("/dev/null").is_char_device()


def test_a_pipe_that_is_read_gets_the_text(folder: Path) -> None:
    code = "from pathlib import Path\nfrom hdiff.files import write_atomically\n"
    code += "write_atomically(Path('/dev/stdout'), 'text' * 50_000)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "text" * 50_000


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full here")
def test_a_full_device_is_a_sentence(folder: Path) -> None:
    (folder / "full").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match="no room on the disk for full"):
        write_atomically(Path("full"), "text")


def test_streams_that_are_closed_are_no_fault() -> None:
    command = [sys.executable, "-m", "hdiff", "--version"]
    for closed in (">&-", ">&- 2>&-", "<&-"):
        assert subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *command], check=False).returncode == 0
