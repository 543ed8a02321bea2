"""Writes the reference of recipe keys, component keys and commands: `python docs/make_reference.py`.

Types, ranges and defaults come from signatures, meanings from docstrings. tests/test_reference.py compares.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pydantic
import typer

from hdiff import config
from hdiff.cli import app
from hdiff.corruption import CORRUPTIONS
from hdiff.data.token_classes import CLASSES
from hdiff.heads import HEADS, Head
from hdiff.models.planner import Planner
from hdiff.parsers import PARSERS
from hdiff.parsers.salience_base import SALIENCES
from hdiff.samplers import SAMPLERS
from hdiff.schedules import SCHEDULES, Schedule
from hdiff.supervision import SUPERVISIONS
from hdiff.value_types import LARGEST

FOLDER = Path(__file__).resolve().parent / "reference"
NOTE = "<!-- Made from the code by `python docs/make_reference.py`; edit the docstrings, not this page. -->"
SECTIONS: dict[str, type[pydantic.BaseModel]] = {
    "data": config.DataConfig,
    "data.stream": config.StreamConfig,
    "data.mixture": config.CorpusConfig,
    "model": config.ModelConfig,
    "train": config.train.TrainConfig,
    "train.lora": config.train.LoraConfig,
    "evaluation": config.EvaluationConfig,
}
FAMILIES: dict[str, tuple[str, Mapping[str, type]]] = {
    "Corruptions": ("Of `corruption: {kind: NAME, ...}`.", CORRUPTIONS),
    "Schedules": ("Of `schedule` in a corruption: a name, or `{kind: NAME, ...}`.", SCHEDULES),
    "Heads": ("Of `head` and `type_head`: `{kind: NAME, ...}`.", HEADS),
    "Classes of token ids": ("Of `classes` in a head or in `soft_masking`.", CLASSES),
    "Samplers": ("Of `evaluation.sampler` and `--sampler`; `num_steps` comes from `--steps`.", SAMPLERS),
    "Supervision": ("Of `supervision`; `labels` where no kind is given.", SUPERVISIONS),
    "Planner": ("Of the section `planner`, which has no kind.", {"planner": Planner}),
}
GIVEN = {"vocab_size", "width", "mask_id", "sampling", "table"}
"""Arguments of constructors that the program supplies."""
EVERYWHERE = {"context", "quiet"}
COMMANDS = """What `hdiff COMMAND --help` prints, in one place. Every command takes `--quiet` (`-q`),
which prints results and errors and nothing else. `--debug` shows the traceback of an error."""
CLASSES_OF_A_HEAD = (
    "Classes of token ids: a token's probability is that of its class times its own within it."
)
KINDS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "`true` or `false`"}


def pages() -> dict[str, str]:
    """Name of each page -> its text."""
    return {"recipe.md": recipe_page(), "components.md": components_page(), "commands.md": commands_page()}


def recipe_page() -> str:
    """Keys of a recipe, section by section."""
    parts = [
        "# Recipe keys",
        NOTE,
        "Every key, its type, its default and its meaning. Keys without a default must be given.",
    ]
    parts += ["## Top level", _section(config.Recipe)]
    for name, cls in SECTIONS.items():
        parts += [f"## {name}", paragraph(cls.__doc__ or ""), _section(cls)]
    return "\n\n".join(parts) + "\n"


def _section(cls: type[pydantic.BaseModel]) -> str:
    schema = cls.model_json_schema()
    meanings = entries(cls, "Attributes")
    rows = []
    for key, field in cls.model_fields.items():
        default = (
            "required" if field.is_required() else _default(field.get_default(call_default_factory=True))
        )
        rows.append((f"`{key}`", type_text(schema["properties"][key]), default, meanings[key]))
    return table(("key", "type", "default", "meaning"), rows)


def components_page() -> str:
    """Keys of every component that a recipe or a command can name."""
    parts = [
        "# Component keys",
        NOTE,
        "Arguments that a recipe may give to each component, from its constructor.",
    ]
    for title, (where, family) in FAMILIES.items():
        parts += [f"## {title}", where]
        for kind, cls in family.items():
            parts += [f"### {kind}", visible(paragraph(cls.__doc__ or "")), _arguments(cls)]
    parts += ["## Parsers", "Of `--parser NAME` or `--parser NAME:MODEL`.", _by_name(PARSERS)]
    parts += ["## Salience", "Of `--salience NAME`.", _by_name(SALIENCES)]
    return "\n\n".join(parts) + "\n"


def _arguments(cls: type) -> str:
    hints = typing.get_type_hints(cls.__init__)  # type: ignore[misc]
    rows = []
    for name, parameter in inspect.signature(cls).parameters.items():
        if name in GIVEN or parameter.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        required = parameter.default is inspect.Parameter.empty
        default = "required" if required else _default(parameter.default)
        if hints[name] == Schedule | None:
            kind, default = "a schedule, below", "`linear`"
        else:
            kind = _hint_text(name, hints[name])
        rows.append((f"`{name}`", kind, default, meaning(cls, name)))
    return table(("key", "type", "default", "meaning"), rows) if rows else "No keys."


def _hint_text(name: str, hint: Any) -> str:
    if name == "classes":  # a recipe names them; the constructor gets tables
        return "a name or `{kind: NAME, ...}`, below"
    return type_text(pydantic.TypeAdapter(hint).json_schema())


def meaning(cls: type, name: str) -> str:
    """What an argument means: of the first class that says so, and of the one that it refers to."""
    for base in cls.__mro__:
        text = entries(base, "Args").get(name)
        reference = re.fullmatch(r"See `(\w+)`\.", text or "")
        if text and reference is None:
            return CLASSES_OF_A_HEAD if name == "classes" and issubclass(cls, Head) else text
    raise SystemExit(f"{cls.__module__}.{cls.__name__} does not say what '{name}' means; add it to its Args")


def _by_name(family: Mapping[str, str]) -> str:
    """Parsers and saliences, read from their files: importing some needs packages of their own."""
    rows = []
    for name, place in family.items():
        module, _, class_name = place.partition(":")
        spec = find_spec(f"hdiff.parsers{module}")
        assert spec is not None, place
        assert spec.origin is not None, place
        tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
        found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name)
        rows.append((f"`{name}`", paragraph(ast.get_docstring(found) or "")))
    return table(("name", "what it does"), rows)


def commands_page() -> str:
    """Arguments and options of every command."""
    parts = ["# Commands", NOTE, COMMANDS]
    for name, command in _commands(app, "hdiff"):
        callback = command.callback
        assert callback is not None, name
        parts += [f"## {name}", paragraph(command.help or callback.__doc__ or "")]
        hints = typing.get_type_hints(callback, include_extras=True)
        given = inspect.signature(callback).parameters.values()
        rows = [
            _option(each, *typing.get_args(hints[each.name])) for each in given if each.name not in EVERYWHERE
        ]
        parts.append(table(("argument or option", "type", "default", "meaning"), rows))
        if command.epilog:
            examples = re.split(r"\s+\|\s+", re.sub(r"^Examples?:\s+", "", command.epilog))
            parts.append("\n".join(["```text", *examples, "```"]))
    return "\n\n".join(parts) + "\n"


def _commands(group: typer.Typer, name: str) -> Iterator[tuple[str, typer.models.CommandInfo]]:
    for command in group.registered_commands:
        assert command.callback is not None, name
        yield f"{name} {command.name or command.callback.__name__}", command
    for inner in group.registered_groups:
        assert inner.typer_instance is not None, name
        yield from _commands(inner.typer_instance, f"{name} {inner.name}")


def _option(parameter: inspect.Parameter, hint: Any, info: Any) -> tuple[str, ...]:
    """A row for one parameter of a command's function, annotated with typer's `info`."""
    options = [option for option in typing.get_args(hint) if option is not type(None)] or [hint]
    is_many = typing.get_origin(options[0]) is list or typing.get_origin(hint) is list
    (kind,) = typing.get_args(options[0]) if typing.get_origin(options[0]) is list else (options[0],)
    if isinstance(info, typer.models.ArgumentInfo):
        names = f"`{info.metavar or parameter.name.upper()}`"
    else:  # typer keeps the first name of an annotated option where its default would be
        first = [info.default] if isinstance(info.default, str) else []
        spelled = [*first, *(info.param_decls or ())] or [f"--{parameter.name.replace('_', '-')}"]
        names = ", ".join(f"`{name}`" for name in spelled)
    if kind is bool:
        text = "flag"
    elif typing.get_origin(hint) is typing.Literal:
        text = " or ".join(f"`{choice}`" for choice in typing.get_args(hint))
    elif kind in (int, float):
        limits = {"minimum": info.min, "maximum": info.max}
        schema = {key: value for key, value in limits.items() if value is not None and abs(value) < 2**31}
        text = type_text({"type": "integer" if kind is int else "number", **schema})
    else:
        text = {"FILE": "file", "DIR": "folder"}.get(info.metavar, "path" if kind is Path else "text")
    required = parameter.default is inspect.Parameter.empty
    default = "required" if required else "off" if text == "flag" else _default(parameter.default)
    default = "none" if default == "`null`" else default
    return names, f"{text}, repeatable" if is_many else text, default, paragraph(info.help or "")


def type_text(schema: Mapping[str, Any]) -> str:
    """A JSON schema in words."""
    if "$ref" in schema or schema.get("allOf"):
        return "section"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(type_text(option) for option in schema["anyOf"]))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type")
    if kind == "null":
        return "`null`"
    if kind == "array":
        items = [type_text(item) for item in schema.get("prefixItems", [])] or [
            type_text(schema.get("items", {}))
        ]
        return f"list of {' and '.join(items)}"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"section of {type_text(inner)}" if isinstance(inner, dict) and inner else "section"
    return (KINDS.get(str(kind), "any value") + _range(schema)).strip()


def _range(schema: Mapping[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [(sign, schema[key]) for key, sign in signs.items() if key in schema and schema[key] < LARGEST]
    return ",".join(f" {sign} {int(value) if value == int(value) else value:,}" for sign, value in limits)


def _default(value: Any) -> str:
    if isinstance(value, pydantic.BaseModel):
        return "its defaults"
    if callable(value) or value.__class__.__module__.startswith("hdiff."):
        return "none"
    value = list(value) if isinstance(value, tuple) else value
    if isinstance(value, dict):
        return "`{" + ", ".join(f"{key}: {inner}" for key, inner in value.items()) + "}`"
    if value is None:
        return "`null`"
    return f"`{value}`" if isinstance(value, str | Path) else f"`{json.dumps(value)}`"


def entries(cls: type, heading: str) -> dict[str, str]:
    """Name -> text of a section of a google docstring."""
    text = inspect.cleandoc(cls.__doc__ or "")
    found = re.search(rf"^{heading}:\n((?:[ ]{{4}}.*\n?|\n)+)", text, re.MULTILINE)
    items = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", found[1], re.MULTILINE) if found else []
    return {name: re.sub(r"\bNone\b", "`null`", " ".join(body.split())) for name, body in items}


def paragraph(text: str) -> str:
    """The first paragraph of a docstring on one line, and the formula after it, where a colon ends it."""
    first, *others = inspect.cleandoc(text).split("\n\n")
    line = " ".join(first.split())
    return f"{line} `{' '.join(others[0].split())}`" if line.endswith(":") and others else line


def visible(text: str) -> str:
    """Text whose `<` begins no HTML; inside backticks it stays."""
    parts = text.split("`")
    return "`".join(part if place % 2 else part.replace("<", "&lt;") for place, part in enumerate(parts))


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, *(tuple(visible(cell).replace("|", "\\|") for cell in row) for row in rows)]
    texts = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([texts[0], "|---" * len(head) + "|", *texts[1:]])


if __name__ == "__main__":
    for page, text in pages().items():
        (FOLDER / page).write_text(text, encoding="utf-8")
