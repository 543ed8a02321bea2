"""The command line starts quickly, completes in a shell, and writes no colours where none belong."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from shared_models import save_untrained
from terminals import on_a_terminal

COLOUR = re.compile(rb"\x1b\[[0-9;]*[34][0-9]m|\x1b\[[0-9;]*9[0-9]m")
SHOW_PROGRESS = """
from hdiff.progress import Progress
display = Progress("counting")
for done in range(1, 4):
    display.update(done, 3, "note")
display.message("the end")
display.close()
"""
INSPECT = [
    sys.executable,
    "-m",
    "hdiff",
    "inspect",
    "The old dog slept.",
    "--parser",
    "plain",
    "--level",
    "word",
]


def cpu_seconds(*command: str) -> float:
    """CPU time of a process: other work on the machine does not count."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=600)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_importing_hdiff_takes_under_0_3_seconds() -> None:
    assert min(cpu_seconds(sys.executable, "-c", "import hdiff") for _ in range(3)) < 0.3


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["--version"]])
def test_the_command_line_answers_within_a_second(words: list[str]) -> None:
    assert min(cpu_seconds(sys.executable, "-m", "hdiff", *words) for _ in range(3)) < 1


@pytest.fixture(scope="module")
def shared_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_untrained(tmp_path_factory.mktemp("shared") / "untrained")


def test_a_text_is_written_within_three_seconds(shared_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    command = [sys.executable, "-m", "hdiff", "sample", str(shared_model), "--num", "1", "--steps", "4"]
    assert min(cpu_seconds(*command) for _ in range(3)) < 3


@pytest.mark.parametrize("command", [["sample"], ["serve", "--port", "0"]], ids=["sample", "serve"])
def test_loading_is_said_before_torch_is_loaded(shared_model: Path, command: list[str]) -> None:
    words = [sys.executable, "-X", "importtime", "-m", "hdiff", *command, str(shared_model)]
    running = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert running.stderr is not None
    before = []
    for line in running.stderr:
        if line.startswith("loading "):
            break
        before.append(line.rpartition("|")[2].strip())
    else:
        pytest.fail("nothing was said")
    running.kill()
    running.communicate()
    assert "torch" not in before


def test_a_page_is_there_in_seconds_and_no_compiler_is_loaded() -> None:
    """The parser included; under 3 s of processor time on an idle machine."""
    command = [sys.executable, "-X", "importtime", "-m", "hdiff", "serve", "builtin:stories", "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile("w+") as told:
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=told, text=True, env=environment)
        assert running.stdout is not None
        assert running.stdout.readline().startswith("http://")
        running.kill()
        running.stdout.close()
        _, _, used = os.wait4(running.pid, 0)
        running.returncode = -9
        told.seek(0)
        loaded = {line.rpartition("|")[2].strip() for line in told}
    assert {"torch", "starlette"} <= loaded
    assert not loaded & {"torch._dynamo", "sympy", "transformers", "datasets"}
    assert used.ru_utime + used.ru_stime < 9


def test_a_completion_script_for_bash_is_made() -> None:
    hdiff = Path(sys.executable).with_name("hdiff")
    environment = {**os.environ, "_HDIFF_COMPLETE": "source_bash"}
    script = subprocess.run(
        [hdiff], env=environment, capture_output=True, text=True, timeout=600, check=False
    ).stdout
    assert "complete " in script
    assert "hdiff" in script
    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stderr
    words = {**os.environ, "_HDIFF_COMPLETE": "complete_bash", "COMP_WORDS": "hdiff sa", "COMP_CWORD": "1"}
    completed = subprocess.run([hdiff], env=words, capture_output=True, text=True, timeout=600, check=False)
    assert completed.stdout.split() == ["sample"]


def test_a_terminal_has_colours_and_a_pipe_has_none() -> None:
    assert COLOUR.search(on_a_terminal(INSPECT))
    piped = subprocess.run(INSPECT, capture_output=True, timeout=600, check=True)
    assert b"\x1b" not in piped.stdout + piped.stderr
    assert b"dog" in piped.stdout


def test_no_color_and_dumb_terminals_are_obeyed() -> None:
    assert not COLOUR.search(on_a_terminal(INSPECT, NO_COLOR="1"))
    assert b"\x1b" not in on_a_terminal(INSPECT, TERM="dumb")


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere() -> None:
    command = [sys.executable, "-c", SHOW_PROGRESS]
    assert b"\x1b" in on_a_terminal(command)
    assert not COLOUR.search(on_a_terminal(command, NO_COLOR="1"))
    dumb = on_a_terminal(command, TERM="dumb")
    assert b"\x1b" not in dumb
    assert b"counting: 3/3 note" in dumb
    piped = subprocess.run(command, capture_output=True, timeout=600, check=True)
    assert piped.stdout == b""
    assert piped.stderr.splitlines() == [b"counting: 3/3 note", b"the end"]


def test_the_runtime_installation_brings_no_parser_and_no_trainer() -> None:
    """What `pip install .` pulls in, followed through the metadata of what is installed here."""
    found: set[str] = set()
    pending = ["hdiff"]
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found.add(name)
        try:
            wanted = [Requirement(line) for line in requires(name) or []]
        except PackageNotFoundError:
            continue
        pending += [
            requirement.name.lower().replace("_", "-")
            for requirement in wanted
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        ]
    heavy = {"accelerate", "benepar", "datasets", "nltk", "pandas", "ray", "spacy", "tensorboard"}
    assert {"torch", "tokenizers"} <= found
    assert not found & {*heavy, "transformers", "matplotlib", "xformers", "starlette"}
