"""Scripts without `if __name__ == "__main__":` prepare and stream with workers, however they are run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
print("the script runs", file=sys.stderr)
from hdiff.data.prepare import documents
from hdiff.data.prepare.run import prepare
documents.SHARD_CHARACTERS = 40
found = prepare("text.txt", "out", parser="plain", levels=["sentence"], tokenizer="words", workers=2{options})
print(sum(counts["documents"] for counts in found["counts"].values()))
"""
STREAM = """
from itertools import islice, repeat
from hdiff.data.rows.stream_documents import Group, Place
from hdiff.data.rows.stream_encoding import Encoding
from hdiff.data.rows.stream_workers import encoded_groups
groups = repeat(Group(Place(0, 0, 0), ("Number one is here.",)))
encoding = Encoding("out", None, True, ("sentence",), True, None, False)
print(len(list(islice(encoded_groups(groups, encoding, workers=2, timeout=100.0), 3))))
"""
TEXT = "\n\n".join(f"Number {number} is here.\nThe next is {number + 1}." for number in range(9))
THREAD = """
import sys, threading
task = threading.Thread(target=lambda: exec(compile(open("script.py").read(), "script.py", "exec"), {}))
task.start()
task.join()
"""
WAYS = {
    "a file": ["script.py"],
    "a file without .py": ["script"],
    "a link": ["link.py"],
    "a file in a folder": ["inner/script.py"],
    "a folder": ["folder"],
    "a module": ["-m", "script"],
    "a package": ["-m", "package"],
    "a module of a package": ["-m", "package.script"],
    "a pipe": ["-"],
    "an argument": ["-c", SCRIPT.format(options="")],
    "another script": ["-c", "import runpy; runpy.run_path('script.py', run_name='__main__')"],
    "a thread": ["-c", THREAD],
    "an import": ["-c", "import script"],
}


def run(folder: Path, words: list[str], script: str) -> subprocess.CompletedProcess[str]:
    for name in ("script.py", "script", "inner/script.py", "folder/__main__.py", "package/__main__.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(script)
    (folder / "package" / "script.py").write_text(script)
    (folder / "package" / "__init__.py").touch()
    (folder / "link.py").symlink_to("script.py")
    (folder / "text.txt").write_text(TEXT)
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        input=script,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("way", WAYS)
def test_a_script_is_run_once_and_its_workers_work(way: str, tmp_path: Path) -> None:
    done = run(tmp_path, WAYS[way], SCRIPT.format(options=""))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["9"]
    assert done.stderr.count("the script runs") == 1


def test_datatrove_runs_no_script_either(tmp_path: Path) -> None:
    pytest.importorskip("datatrove")
    done = run(tmp_path, ["script.py"], SCRIPT.format(options=', engine="datatrove"'))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "9"
    assert done.stderr.count("the script runs") == 1


def test_a_stream_runs_no_script_either(tmp_path: Path) -> None:
    done = run(tmp_path, ["script.py"], SCRIPT.format(options="") + STREAM)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["9", "3"]
    assert done.stderr.count("the script runs") == 1
