"""Commands, options and recipe keys that README and docs show exist."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
import typer
from prose import CHECKOUT, pages

from hdiff import config
from hdiff.cli import app

ROOT = typer.main.get_command(app)
SECTIONS = {
    "data": config.DataConfig,
    "data.stream": config.StreamConfig,
    "model": config.ModelConfig,
    "train": config.train.TrainConfig,
    "train.lora": config.train.LoraConfig,
    "evaluation": config.EvaluationConfig,
}
KEY = re.compile(r"(?<![\w./])(data(?:\.stream)?|model|train(?:\.lora)?|evaluation)\.([a-z]\w*)")
OTHERS = {
    "model.length": "MDLM",
    "model.safetensors": "a file",
    "model.trunk": "Python",
    "data.labels": "run.json",
}
"""What reads like a key and belongs to something else."""


def name_of(page: Path) -> str:
    return page.relative_to(CHECKOUT).as_posix()


def commands_of(text: str) -> list[str]:
    """Every shown line that begins with `hdiff`: in fenced, indented and inline code, without its comment."""
    text = text.replace("\\\n", " ")
    fenced = [
        line for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) for line in block.split("\n")
    ]
    rest = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    indented = re.findall(r"(?m)^ {4}(.*)$", rest)
    inline = re.findall(r"`([^`]+)`", rest)
    shown = (" ".join(code.split("#")[0].split()) for code in (*fenced, *indented, *inline))
    return [code for code in shown if re.match(r"hdiff [a-z]", code)]


def command_of(line: str) -> tuple[click.Command, str]:
    """The command that a line names, and the rest of the line."""
    command, words = ROOT, line.split()[1:]
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
    return command, " ".join(words)


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_shown_commands_and_options_exist(page: Path) -> None:
    for line in commands_of(page.read_text(encoding="utf-8")):
        command, rest = command_of(line)
        assert command is not ROOT, line
        known = {
            name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)
        }
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", re.sub(r"\"[^\"]*\"|'[^']*'", "", rest)):
            assert option in known | {"--help"}, f"{option} in: {line}"


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_named_keys_of_recipes_exist(page: Path) -> None:
    for code in re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8")):
        for section, key in re.findall(
            r"(?<![\w./])(data(?:\.stream)?|model|train(?:\.lora)?|evaluation)\.([a-z]\w*)", code
        ):
            if f"{section}.{key}" not in OTHERS:
                assert key in SECTIONS[section].model_fields, code


SHOWN = {
    "inline": ("Run `hdiff eval RUN --steps 1`.", ["hdiff eval RUN --steps 1"]),
    "fenced": ("```\nhdiff doctor   # what works\n```", ["hdiff doctor"]),
    "fenced with a language": ("```bash\nhdiff doctor\n```", ["hdiff doctor"]),
    "indented": ("Text:\n\n    hdiff train R.yaml\n", ["hdiff train R.yaml"]),
    "over two lines": ("    hdiff train R.yaml \\\n        a=1\n", ["hdiff train R.yaml a=1"]),
    "two commands": ("`hdiff eval` and `hdiff sample`", ["hdiff eval", "hdiff sample"]),
    "a sentence": ("Here hdiff is a word.", []),
    "a package": ("`hdiff[spacy]` and `hdiff.corruption`", []),
    "Python": ("```python\nimport hdiff\n```", []),
    "after another word": ("`pip install hdiff`", []),
}


@pytest.mark.parametrize(("text", "lines"), SHOWN.values(), ids=SHOWN)
def test_shown_commands_are_found(text: str, lines: list[str]) -> None:
    assert commands_of(text) == lines


def test_the_documentation_shows_every_command() -> None:
    shown = {line.split()[1] for page in pages() for line in commands_of(page.read_text(encoding="utf-8"))}
    assert shown >= set(ROOT.commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("folder", ["hdiff", "parsers", "recipes", "tests"])
def test_pages_that_code_and_recipes_name_exist(folder: str) -> None:
    files = [file for kind in ("py", "yaml") for file in (CHECKOUT / folder).rglob(f"*.{kind}")]
    assert files
    for file in files:
        for page in re.findall(r"(?<![\w/])docs/[\w/-]+\.md", file.read_text(encoding="utf-8")):
            assert (CHECKOUT / page).is_file(), f"{file.relative_to(CHECKOUT)} names {page}"
