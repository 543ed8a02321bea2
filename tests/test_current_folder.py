"""A current folder that is gone is said in one sentence, however hdiff is started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import hdiff

SCRIPT = "import sys; sys.argv[0] = 'hdiff'; from hdiff.__main__ import main; main()"
STARTS = {
    "script": [sys.executable, "-c", SCRIPT],
    "module": [sys.executable, "-m", "hdiff"],
    "file": [sys.executable, str(Path(hdiff.__file__).with_name("__main__.py"))],
}
COMMANDS = [
    ["--version"],
    ["train", "recipes/quickstart.yaml"],
    ["eval", "/nowhere"],
    ["sample", "runs/quickstart"],
    ["inspect", "The dog slept.", "--parser", "plain"],
    ["doctor"],
    ["prepare", "builtin:pydoc", "--out", "/nowhere/out"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
@pytest.mark.parametrize("start", STARTS)
def test_a_current_folder_that_is_gone_is_a_sentence(start: str, words: list[str], tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    run = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
    done = subprocess.run(
        ["sh", "-c", run, "sh", str(gone), *STARTS[start], *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("hdiff: there is no current folder")
    assert line.endswith("go to one: cd FOLDER")
