"""Recipe files: strict YAML plus `key=value` overrides, resolved to a typed Recipe. No torch."""

from __future__ import annotations

import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from hdiff.components import nearest
from hdiff.config import Recipe
from hdiff.errors import RecipeError

LARGEST_FILE = 1 << 20
"""Most bytes of a YAML file that are read."""

MAX_VALUES = 100_000
"""Most values of a file, each alias counted as what it stands for."""

MAX_DEPTH = 60
"""Deepest nesting of lists and sections."""

_MAX_DIGITS = 400
_PLAIN_RESOLVERS = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that gives numbers, texts, lists and sections only, in bounded time and memory.

    It refuses a key given twice (PyYAML keeps the last one), tags, and aliases that stand for more than was
    written ("billion laughs") or for themselves; a date stays the text it is.
    """

    yaml_implicit_resolvers = _PLAIN_RESOLVERS

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
        seen: set[Any] = set()
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise RecipeError(f"a key is a list or a section (line {line}); a key is a word")
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise RecipeError(f"key '{key}' is given twice (line {line}); keep one of them")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _line(event: Any) -> str:
    return f"(line {event.start_mark.line + 1})"


def _check_scalar(node: yaml.ScalarNode, event: Any) -> None:
    is_number = node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
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


def parse_yaml(text: str, *, where: str) -> Any:
    """Reads YAML without objects, tags, dates or duplicate keys.

    Args:
        text: YAML.
        where: File or argument, for the error.

    Returns:
        Plain Python values: numbers, texts, lists, dicts, None.

    Raises:
        RecipeError: If it is not YAML, repeats a key, or is too large or too deep.
    """
    where = shown(where, 200)
    try:
        if len(text) > LARGEST_FILE:
            raise RecipeError(f"{len(text):,} characters, at most {LARGEST_FILE:,} are read")
        return yaml.load(text, Loader=_StrictLoader)
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # numbers such as 0x_
        first_line = " ".join(str(error).split())
        raise RecipeError(f"{where} is not valid YAML: {shown(first_line, 400)}") from error
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from error


def read_yaml(path: Path, *, what: str, remedy: str) -> dict[str, Any]:
    """Reads a YAML file of keys.

    Args:
        path: The file.
        what: What it should be, for errors.
        remedy: What to do where it is missing or empty.

    Returns:
        Its keys and plain values.

    Raises:
        RecipeError: If it is missing, unreadable, too large, or holds no keys.
    """
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


def load_recipe(path: Path, overrides: Iterable[str] = ()) -> Recipe:
    """Reads a recipe file and applies overrides.

    Args:
        path: YAML file.
        overrides: `dotted.key=value` texts; the value is YAML.

    Returns:
        The typed recipe.

    Raises:
        RecipeError: If the file is missing or malformed, a key is unknown, or a value does not fit.
    """
    values = read_yaml(path, what="recipe", remedy="those in recipes/")
    origins: dict[str, str] = {}
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator or not key:
            raise RecipeError(
                f"'{shown(override, 200)}' is not an override; write key=value, for example train.steps=100"
            )
        _assign(values, key.split("."), parse_yaml(value, where=f"override '{override}'"), override)
        origins[key] = f"override '{shown(override, 200)}'"
    return resolve(values, where=str(path), origins=origins)


def resolve(values: dict[str, Any], *, where: str, origins: dict[str, str] | None = None) -> Recipe:
    """Checks plain values and makes a Recipe of them.

    Args:
        values: Nested plain values.
        where: Where they come from, for errors.
        origins: Dotted key -> where it was overridden.

    Returns:
        The recipe.

    Raises:
        RecipeError: Naming every problem at once, with the nearest known key.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        problems = [_problem(dict(item), where, origins or {}) for item in error.errors()]
        raise RecipeError("; ".join(dict.fromkeys(problems))) from error


def shown(value: object, length: int) -> str:
    """A value for an error, cut to so many characters."""
    text = str(value)
    return text if len(text) <= length else f"{text[:length]}..."


def to_yaml(recipe: Recipe) -> str:
    """The resolved recipe as YAML that `load_recipe` reads back to an equal recipe."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def differences(one: Recipe, other: Recipe) -> list[str]:
    """Dotted keys in which two recipes differ."""
    flat_one, flat_other = flattened(one), flattened(other)
    return sorted(key for key in {*flat_one, *flat_other} if flat_one.get(key) != flat_other.get(key))


def flattened(recipe: Recipe) -> dict[str, Any]:
    """Its values by dotted key, JSON-able."""
    return _flatten(recipe.model_dump(mode="json"))


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat.update(
            _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        )
    return flat


def _assign(values: dict[str, Any], keys: list[str], value: Any, override: str) -> None:
    for key in keys[:-1]:
        inner = values.setdefault(key, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"override '{shown(override, 200)}': '{key}' is a value, not a section")
        values = inner
    values[keys[-1]] = value


def _problem(item: dict[str, Any], where: str, origins: dict[str, str]) -> str:
    location = [str(part) for part in item["loc"]]
    dotted = ".".join(location)
    origin = origins.get(dotted, where)
    if item["type"] == "extra_forbidden":
        section = ".".join(location[:-1]) or "the recipe"
        return f"no key '{location[-1]}' in {section}{nearest(location[-1], _keys(location[:-1]))} ({origin})"
    if item["type"] == "missing":
        return f"'{dotted}' is missing ({origin})"
    return f"{dotted} is {shown(repr(item['input']), 200)}: {item['msg']} ({origin})"


def _keys(location: list[str]) -> list[str]:
    model: type[BaseModel] = Recipe
    for part in location:
        hints = typing.get_type_hints(model)
        inner = hints.get(part)
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
