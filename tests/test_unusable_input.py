"""Every command with every kind of unusable place and value: exit code 0 or 2, one sentence, no traceback.

The commands and their options come from the application itself, so new ones are tried without a line here.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import typer
from read_only import read_only
from unusable_input import NUMBERS, TEXTS, places

from hdiff.__main__ import _set_encodings
from hdiff.cli import app
from hdiff.cli import run as hdiff
from hdiff.data.prepare.run import prepare

MOST_SECONDS = 300
EVERY = int(os.environ.get("HDIFF_TEST_EVERY", "4"))
"""Of so many texts and places each parameter gets one; at 1 all of them, which takes five minutes."""
ROOM = 3 << 30
"""Bytes that a command may take: who asks for more meets an error, not the killer of the kernel."""

RECIPE = """
name: small
output: {folder}/run
data: {{path: {folder}/data, sequence_length: 32, max_unit_tokens: 6}}
model: {{width: 16, depth: 1, num_heads: 2}}
corruption: {{kind: span_masking, segmentation: random, level: sentence, lengths: corpus}}
head: {{kind: autoregressive, num_heads: 2}}
train: {{steps: 2, batch_size: 4, warmup_steps: 1}}
evaluation: {{steps: [1], blocks: 2, draws: 1, samples: 1}}
"""
ABLATION = """
name: a
base: recipe.yaml
output: out
seeds: [0]
baseline: a
variants:
  a: {}
  b: {train.steps: 3}
"""
RESULTS = ("eval", "samples", "report", "analysis", "exploration", "diagnosis")
"""How the files begin that commands write into a run folder."""
TREES = "(S (NP (DT The) (NN dog)) (VP (VBD slept)) (. .))\n" * 4

BASE: dict[str, dict[str, str]] = {
    "prepare": {
        "source": "{work}/text.txt",
        "out": "{new}",
        "parser": "plain",
        "tokenizer": "words",
        "levels": "sentence",
        "validation": "{work}/other.txt",
    },
    "train": {"recipe": "{work}/recipe.yaml", "overrides": "resume=auto"},
    "eval": {"run": "{work}/run", "steps": "1"},
    "sample": {"run": "{work}/run", "num": "1", "steps": "1", "length": "4"},
    "inspect": {"text": "The dog slept.", "parser": "plain", "level": "word"},
    "serve": {"run": "{work}/run", "port": "0"},
    "report": {"target": "{work}/run"},
    "export": {"run": "{work}/run", "folder": "{new}"},
    "audit": {"corruption": "nowhere:Nothing"},
    "ablate": {"file": "{work}/ablation.yaml", "plan": ""},
    "diagnose": {"model": "{work}/run", "prefixes": "2", "masks": "2", "pairs": "2"},
    "parser eval": {"gold": "{work}/trees.ptb", "parser": "treebank:{work}/trees.ptb"},
    "parser train": {"gold": "{work}/trees.ptb", "dev": "{work}/trees.ptb", "out": "{new}", "epochs": "1"},
}
"""Values with which a command works, and soon; a command that is not here gets a run folder."""


def leaves(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Commands by their words."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from leaves(inner, (*words, name))
    if not hasattr(command, "commands"):
        yield " ".join(words), command


COMMANDS = dict(leaves(typer.main.get_command(app)))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run, its data, and what other commands read; `plain` is the parser that is loaded soonest."""
    folder = tmp_path_factory.mktemp("work")
    options = {"parser": "plain", "levels": ["sentence"], "tokenizer": "train:512"}
    prepare("builtin:pydoc", folder / "data", limit=14, validation_fraction=0.3, **options)
    (folder / "recipe.yaml").write_text(RECIPE.format(folder=folder))
    (folder / "ablation.yaml").write_text(ABLATION)
    (folder / "trees.ptb").write_text(TREES)
    (folder / "text.txt").write_text("The dog slept.\n\nA cat sat.\n")
    (folder / "other.txt").write_text("A dog sat.\n")
    assert hdiff(["train", str(folder / "recipe.yaml"), "-q"]) == 0
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Files that no command may overwrite: all but empty ones and results."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(RESULTS)]
    return {str(path): content for path in files if (content := path.read_bytes())}


@contextmanager
def bounded(seconds: float = MOST_SECONDS) -> Iterator[None]:
    """Interrupts what takes long (a server that serves) and refuses memory beyond a bound."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    before = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    old = signal.signal(signal.SIGALRM, interrupt)
    old_interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, before[1]))
    signal.setitimer(signal.ITIMER_REAL, seconds, 20)  # again, where a server has swallowed it
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
        signal.signal(signal.SIGINT, old_interrupt)
        resource.setrlimit(resource.RLIMIT_AS, before)


def faults(capsys: pytest.CaptureFixture[str], words: list[str]) -> str | None:
    """What is wrong about how a command ended; None if nothing."""
    capsys.readouterr()
    _set_encodings()
    with bounded(1 if words[0] == "serve" else MOST_SECONDS):
        code = hdiff(words)
    captured = capsys.readouterr()
    said = [line for line in captured.err.splitlines() if line.startswith("hdiff: ")]
    if code not in (0, 2):
        return f"exit code {code}: {captured.err[-400:]}"
    if "Traceback" in captured.err + captured.out:
        return f"a traceback: {captured.err[-400:]}"
    if code == 2 and len(said) != 1:
        return f"{len(said)} sentences: {captured.err[-400:]}"
    return None


def words_of(name: str, changes: dict[str, str], work: Path, new: Path) -> list[str]:
    """A command line: options that work, and some of them changed."""
    command = COMMANDS[name]
    required = {each.name: "{work}/run" for each in command.params if each.required}
    known = {each.name for each in command.params}
    values = {key: value for key, value in {**required, **BASE.get(name, {})}.items() if key in known}
    values = {key: value.format(work=work, new=new) for key, value in values.items()} | changes
    options, arguments = [], []
    for each in command.params:
        if each.name not in values:
            continue
        if each.param_type_name == "argument":
            arguments.append(values[each.name])
        else:
            longest = max(each.opts, key=len)
            options.append(f"{longest}={values[each.name]}".removesuffix("=" if each.is_flag else ""))
    return [*name.split(), *options, "--", *arguments]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_lines_that_are_varied_work(
    name: str, work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else what is varied would not be reached."""
    with bounded(2 if name == "serve" else MOST_SECONDS):
        code = hdiff(words_of(name, {}, work, tmp_path / "new"))
    assert code == (2 if name == "audit" else 0), capsys.readouterr().err


PARAMETERS = [
    (name, each.name)
    for name, command in COMMANDS.items()
    for each in command.params
    if each.name not in ("help", "component")
]


def values_for(name: str, parameter: str, kinds: dict[str, str]) -> list[str]:
    """Values of a type; one in `EVERY` of texts and places, another one for each parameter."""
    (each,) = [each for each in COMMANDS[name].params if each.name == parameter]
    kind = each.type_descriptor.annotation
    if kind is bool:
        return ["maybe"]
    if kind in (int, float):
        return NUMBERS
    if (name, parameter) == ("diagnose", "text"):  # a pipe may be read from, and waits for its writer
        kinds = {kind: place for kind, place in kinds.items() if "pipe" not in kind}
    values = list(kinds.values()) if kind is Path else [*TEXTS, *kinds.values()]
    return values[PARAMETERS.index((name, parameter)) % EVERY :: EVERY]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "serve"])  # its server: tests/serve
def test_an_interrupt_ends_a_command_and_spoils_nothing(
    name: str, work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def words_into(run: Path) -> list[str]:
        changes = {"overrides": f"output={run}"} if name == "train" else {}
        return words_of(name, changes, work, run)

    with bounded(MOST_SECONDS):  # an interrupted import would stay half done here
        hdiff(words_into(tmp_path / "before"))
    words = words_into(tmp_path / "run")
    again = [*words, "resume=auto"] if name == "train" else words
    codes = set()
    for seconds in (0.003, 0.03, 0.1, 0.3):
        code = 130
        with suppress(KeyboardInterrupt), bounded(seconds):  # it may come when the command has ended
            code = hdiff(words if not (tmp_path / "run").exists() else again)
        codes.add(code)
    assert codes <= {130, 2 if name == "audit" else 0}, capsys.readouterr().err
    with bounded(MOST_SECONDS):
        code = hdiff(again)
    assert code == (2 if name == "audit" else 0), capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_whole_numbers_have_an_upper_limit(name: str) -> None:
    open_ended = [
        each.name
        for each in COMMANDS[name].params
        if each.type_descriptor.annotation is int and each.name != "port" and each.max is None
    ]
    assert not open_ended


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS)
def test_unusable_values_get_a_sentence(
    name: str,
    parameter: str,
    work: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "kinds").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    kinds = places(tmp_path / "kinds", work / "run", work / "data")
    before = contents(tmp_path / "kinds")
    found = {}
    with read_only(tmp_path / "kinds" / "locked"):
        for number, value in enumerate(values_for(name, parameter, kinds)):
            words = words_of(name, {parameter: value}, work, tmp_path / f"new{number}")
            if fault := faults(capsys, words):
                found[value[-100:]] = fault
    assert not found, "\n" + "\n".join(f"{value!r}: {fault}" for value, fault in found.items())
    after = contents(tmp_path / "kinds")
    assert {path: after.get(path) for path in before} == before
