"""Words of command lines: places filled in, remedies put in, typed in this process."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomllib

from hdiff.analysis.run import analyse_run
from hdiff.cli import app
from hdiff.components import build
from hdiff.runs.folder import RunFolder
from hdiff.runs.record import RunRecord
from hdiff.schedules import SCHEDULES
from hdiff.serve.served_run import ServedRun
from hdiff.serve.server import bind
from hdiff.sharing import PretrainedModel
from hdiff.strict_yaml import parse_yaml
from remedies.sites import CHECKOUT

TINY = [
    "model={width: 16, depth: 1, num_heads: 2}",
    "train={steps: 2, batch_size: 4, warmup_steps: 1}",
    "data.sequence_length=32",
    "evaluation={steps: [1], blocks: 1, draws: 1, samples: 2}",
]


def type_words(words: list[str]) -> None:
    """Runs a command line; its error is raised, not printed."""
    if (code := app(args=words, standalone_mode=False)) not in (None, 0):
        raise AssertionError(f"exit code {code}")


def analyse(data: str, *, places: dict[str, Any]) -> None:
    run = RunFolder.load(places["TOKENS"])
    recipe = run.recipe.model_copy(update={"data": run.recipe.data.model_copy(update={"path": data})})
    analyse_run(replace(run, recipe=recipe))


def built(text: str, *, places: dict[str, Any]) -> object:
    section, _, value = text.rpartition("=")
    return build(parse_yaml(value, where="here"), SCHEDULES, section=section or "schedule")


def harness(text: str, *, places: dict[str, Any]) -> object:
    pytest.importorskip("lm_eval", reason="the harness is not installed")
    from hdiff.harness import HdiffLM

    return HdiffLM.create_from_arg_string("" if text == "nothing" else text)


PYTHON: dict[str, Callable[..., object]] = {
    "built": built,
    "harness": harness,
    "shared": lambda name, places: PretrainedModel.from_pretrained(name),
    "analyse": analyse,
    "report_record": lambda path, places: RunRecord.read(Path(path)),
    "served": lambda path, places: ServedRun.load(Path(path)),
    "bound": lambda port, places: bind("127.0.0.1", int(port)).close(),
}
"""What is no command by itself: the part of one that raises."""

VALUES = {"NAME": "text", "NUMBER": "3", "TREES": "trees.ptb", "PATH": "model.pt", "RUN": "runs/a"}


def fill(words: str, places: dict[str, Any], **more: str) -> list[str]:
    """The words of a command line, with places for names in capitals."""
    here = places["HERE"]
    named = {
        key: value[:-1] if value.endswith("!") else str(places.get(value, here / value.lower()))
        for key, value in more.items()
    }
    for key, name in (
        ("NEW_JUDGE", "new_judge"),
        ("NEW", "new"),
        ("DATA", "new_data"),
        ("DIR", "dir"),
        ("TWO", "two.yaml"),
        ("ONE", "one.txt"),
        ("ROWS", "rows.jsonl"),
        ("EMPTY", "empty"),
        ("FOREIGN", "foreign"),
        ("RUN", "run"),
        ("FOLDER", "folder"),
        ("ABLATION.yaml", "two.yaml"),
        ("JUDGE", "judge"),
        ("TREES", "treebank:trees.ptb"),
    ):
        named.setdefault(
            key, str(places.get(key, here / name if key != "TREES" else f"treebank:{here}/trees.ptb"))
        )
    named = {**{key: str(value) for key, value in places.items() if key.isupper()}, **named}
    named.setdefault("SOURCE", str(places["TEXT"]))
    named.setdefault("FILE", str(places["TEXT"]))
    pattern = re.compile(
        "|".join(
            rf"(?<![A-Za-z_]){re.escape(key)}(?![A-Za-z_])" for key in sorted(named, key=len, reverse=True)
        )
    )
    return [pattern.sub(lambda match: named[match[0]], word) for word in shlex.split(words)]


def perform(words: list[str], places: dict[str, Any]) -> None:
    if words[0] in PYTHON:
        PYTHON[words[0]](words[1], places=places)
    else:
        type_words(words)


def with_remedy(words: list[str], remedy: list[str]) -> list[str]:
    """The command line again, with options or keys of a remedy in place of those it had."""
    kept = list(words)
    for new in remedy:
        if new.startswith("--") and new in kept:
            place = kept.index(new)
            has_value = remedy.index(new) + 1 < len(remedy) and not remedy[remedy.index(new) + 1].startswith(
                "--"
            )
            del kept[place : place + 1 + has_value]
        elif "=" in new and not new.startswith("--"):
            kept = [word for word in kept if word.partition("=")[0] != new.partition("=")[0]]
    quiet = [word for word in kept if word == "-q"]
    return [*(word for word in kept if word != "-q"), *remedy, *quiet]


def with_tiny(words: list[str], places: dict[str, Any]) -> list[str]:
    """A training of seconds instead of minutes, on data that are there."""
    if words[0] != "train" or words[1].startswith(str(places["HERE"])):
        return words
    data = [] if any(word.startswith("data.path=") for word in words) else [f"data.path={places['PYDOC']}"]
    kind = (
        ["model={kind: autoregressive, width: 16, depth: 1, num_heads: 2}"]
        if "judge" in words[1]
        else TINY[:1]
    )
    return [*words, *kind, *TINY[1:], *data, "-q"]


def bert(places: dict[str, Any]) -> None:
    """A tiny BERT, and data of its tokenizer."""
    from tiny_checkpoints import make_bert

    folder = places["HERE"] / "bert"
    make_bert(folder)
    places["BERT"] = folder
    type_words(
        [
            "prepare",
            str(places["TEXT"]),
            "--out",
            str(places["HERE"] / "bert_data"),
            "--tokenizer",
            str(folder),
            "--parser",
            "plain",
            "--levels",
            "sentence",
            "-q",
        ]
    )
    places["BERT_DATA"] = places["HERE"] / "bert_data"


def check_installs(command: str) -> None:
    """What is installed belongs to an extra, or is what was missing."""
    extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    known = {re.split(r"[<>=; \[]", line)[0] for lines in extras.values() for line in lines}
    for requirement in shlex.split(command)[2:]:
        name = re.split(r"[<>=; \[]", requirement)[0]
        assert name in known | {"wandb", "not_there_anywhere"}
