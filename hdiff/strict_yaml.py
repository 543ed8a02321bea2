"""parse_yaml, write_yaml: YAML 1.2 core values, as JSON has them.

A number, a truth value and a text are what they look like in YAML 1.2: `yes` and `1_000` are texts, `010` is
ten, `3e-4` is a number. Keys are texts, as written.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from hdiff.errors import RecipeError

LARGEST_FILE = 1 << 20
"""Most bytes of a YAML file that are read."""

MAX_VALUES = 100_000
"""Most values of a file, each alias counted as what it stands for."""

MAX_DEPTH = 60
"""Deepest nesting of lists and sections."""

_MAX_DIGITS = 400
_TAG = "tag:yaml.org,2002:"
_CORE_SCHEMA = (  # YAML 1.2.2, section 10.3.2: tag, pattern, first characters
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
)
_RESOLVERS: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
for _name, _pattern, _first in _CORE_SCHEMA:
    for _character in (*_first, *([""] if _name == "null" else [])):
        _RESOLVERS.setdefault(_character, []).append((_TAG + _name, re.compile(rf"(?:{_pattern})\Z")))


class _Dumper(yaml.SafeDumper):
    """Puts every text in quotes that the loader would take for something else."""

    yaml_implicit_resolvers = _RESOLVERS

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(f"{_TAG}str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _text)


class _Loader(yaml.SafeLoader):
    """Gives numbers, truth values, texts, lists and sections only, in bounded time and memory.

    It refuses a key given twice (PyYAML keeps the last one), tags, and aliases that stand for more than was
    written ("billion laughs") or for themselves.
    """

    yaml_implicit_resolvers = _RESOLVERS

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._measures: dict[int, tuple[int, int]] = {}  # of each finished node: values and levels in it

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            raise RecipeError(
                f"not valid YAML here: the tag '{event.tag:.80}' {_line(event)} makes an object; write "
                f"plain values"
            )
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise RecipeError(f"it is nested deeper than {MAX_DEPTH} levels {_line(event)}; flatten it")
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(event, yaml.AliasEvent):
            if id(node) not in self._measures:
                raise RecipeError(f"the alias '*{event.anchor}' {_line(event)} holds itself; write it out")
            return node
        self._measure(node, event)
        return node

    def _measure(self, node: Any, event: Any) -> None:
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            inner = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            inner = node.value
        else:
            _check_scalar(node, event)
        measures = [self._measures[id(part)] for part in inner]
        values = 1 + sum(measure[0] for measure in measures)
        levels = 1 + max((measure[1] for measure in measures), default=0)
        if values > MAX_VALUES or levels > MAX_DEPTH:
            raise RecipeError(
                f"its aliases stand for more than {MAX_VALUES:,} values or {MAX_DEPTH} levels "
                f"{_line(event)}; write the values out"
            )
        self._measures[id(node)] = (values, levels)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise RecipeError(f"a key is a list or a section (line {line}); a key is a word")
            key = key_node.value
            if key in values:
                raise RecipeError(f"key '{key}' is given twice (line {line}); keep one of them")
            values[key] = self.construct_object(value_node, deep=deep)
        return values


def _whole_number(_loader: _Loader, node: yaml.ScalarNode) -> int:
    base = {"0o": 8, "0x": 16}.get(node.value[:2], 10)
    return int(node.value, base)


def _number(_loader: _Loader, node: yaml.ScalarNode) -> float:
    text = node.value.lower()
    return float(text.replace(".", "") if text.endswith(("inf", "nan")) else text)


_Loader.add_constructor(f"{_TAG}int", _whole_number)
_Loader.add_constructor(f"{_TAG}float", _number)


def _line(event: Any) -> str:
    return f"(line {event.start_mark.line + 1})"


def _check_scalar(node: yaml.ScalarNode, event: Any) -> None:
    is_number = node.tag in (f"{_TAG}int", f"{_TAG}float")
    if is_number and len(node.value) > _MAX_DIGITS:
        raise RecipeError(
            f"a number of {len(node.value):,} digits {_line(event)}; at most {_MAX_DIGITS} are read"
        )
    if not node.value.isascii() and not is_unicode(node.value):
        raise RecipeError(f"half a surrogate pair {_line(event)} is no character; write the character itself")


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: it holds no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def parse_yaml(text: str, *, where: str, is_whole: bool = False) -> Any:
    """Reads YAML without objects, tags, dates or duplicate keys.

    Args:
        text: YAML.
        where: File or argument, for the error.
        is_whole: Whether the text must be one value to its last character, without a comment after it.

    Returns:
        Plain values that share no parts: numbers, texts, lists, dicts with texts as keys, None.

    Raises:
        RecipeError: If it is not YAML, repeats a key, or is too large or too deep.
    """
    where = shown(where, 200)
    try:
        if len(text) > LARGEST_FILE:
            raise RecipeError(f"{len(text):,} characters, at most {LARGEST_FILE:,} are read")
        loader = _Loader(text)
        node = loader.get_single_node()
        if is_whole and (rest := text[0 if node is None else node.end_mark.index :].strip()):
            raise RecipeError(
                f"'{shown(rest, 80)}' is a comment, not part of the value; put the value in quotes"
            )
        return None if node is None else json.loads(json.dumps(loader.construct_document(node)))
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        first_line = " ".join(str(error).replace('in "<unicode string>", ', "at ").split())
        raise RecipeError(f"{where} is not valid YAML: {shown(first_line, 400)}") from error
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from error


def read_yaml(path: Path, *, what: str, remedy: str) -> dict[str, Any]:
    """Reads a YAML file of keys; `remedy` is for one that is missing or empty."""
    try:
        if not path.is_file():
            raise RecipeError(f"no {what} {path}; give a .yaml file ({remedy} are a start)")
        if path.stat().st_size > LARGEST_FILE:
            raise RecipeError(
                f"{what} {path} has {path.stat().st_size:,} bytes, at most {LARGEST_FILE:,} are read; give a "
                f".yaml file"
            )
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{what} {path} is not UTF-8 text; save it as UTF-8") from error
    except OSError as error:
        raise RecipeError(
            f"cannot read {what} {shown(path, 200)}: {error.strerror}; check its name"
        ) from error
    values = parse_yaml(text, where=str(path))
    if not isinstance(values, dict):
        raise RecipeError(f"{what} {path} holds no keys; start from {remedy}")
    return values


def write_yaml(values: Any) -> str:
    """Plain values as YAML that `parse_yaml` reads back to equal values."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def shown(value: object, length: int) -> str:
    """A value for an error, cut to so many characters."""
    text = str(value)
    return text if len(text) <= length else f"{text[:length]}..."
