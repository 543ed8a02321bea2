"""Places that raise, read from the source, with their remedies."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from typer.main import get_command

import hdiff
import hdiff.parsers
from hdiff.cli import app

CHECKOUT = Path(__file__).resolve().parents[3]

PACKAGES = {"hdiff": Path(hdiff.__file__).parent, "parsers": Path(hdiff.parsers.__file__).parent}

PROSE = CHECKOUT / "tests" / "fixtures" / "remedies.txt"

ERRORS = {"UserError", "RecipeError", "DataError", "ParserError", "CheckpointError", "NotUnderstood", "error"}

COMMANDS = {word for word in get_command(app).commands}

TYPABLE = re.compile(
    rf"\bhdiff ({'|'.join(COMMANDS)}) [A-Z{{]|pip install|--[a-z]"
    r"|\b(train|data|model|evaluation|corruption)\.\w+="
)


@dataclass(frozen=True)
class Site:
    """A place that raises: file, message and remedies, with `{...}` for what is filled in."""

    file: str
    message: str
    remedies: tuple[str, ...]


def template(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(template(value) if isinstance(value, ast.Constant) else "{}" for value in node.values)
    if isinstance(node, ast.Starred) and isinstance(node.value, ast.GeneratorExp):
        return template(node.value.elt)
    return f"{{{ast.unparse(node)}}}"


def sites() -> Iterator[Site]:
    for name, folder in PACKAGES.items():
        for file in sorted(folder.rglob("*.py")):
            place = f"{name}/{file.relative_to(folder).as_posix()}"
            if place.startswith(("hdiff/parsers/", "hdiff/recipes/")):
                continue
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and node.args and called(node) in ERRORS:
                    yield Site(place, template(node.args[0]), tuple(map(template, node.args[1:])))


def called(node: ast.Call) -> str:
    return str(getattr(node.func, "id", getattr(node.func, "attr", "")))


SITES = list(sites())

FORWARDED = ("{*error.remedies}", "{*remedies}", "{*words}", "{found}")
"""Remedies of an error that is raised again with its place before it."""


def prose() -> dict[str, str]:
    """What cannot be typed: beginning of the sentence after the last semicolon -> reason."""
    found, reason = {}, ""
    for line in PROSE.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            reason = line[2:]
        elif line.strip():
            found[line.strip()] = reason
    return found


def clause(site: Site) -> str:
    text = " ".join(site.message.split())
    return f"{site.file}: {text.rpartition('; ')[2] or text}"
