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


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice (PyYAML keeps the last one)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise RecipeError(f"key '{key}' is given twice (line {line}); keep one of them")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def parse_yaml(text: str, *, where: str) -> Any:
    """Reads YAML without objects, anchors of code or duplicate keys.

    Args:
        text: YAML.
        where: File or argument, for the error.

    Returns:
        Plain Python values.

    Raises:
        RecipeError: If it is not YAML or repeats a key.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        first_line = " ".join(str(error).split())
        raise RecipeError(f"{where} is not valid YAML: {first_line}") from error
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from error


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
    if not path.is_file():
        raise RecipeError(f"no recipe {path}; give a .yaml file (those in recipes/ are a start)")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(f"recipe {path} is not UTF-8 text; save it as UTF-8") from error
    values = parse_yaml(text, where=str(path))
    if not isinstance(values, dict):
        raise RecipeError(f"recipe {path} holds no keys; start from one in recipes/")
    origins: dict[str, str] = {}
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator or not key:
            raise RecipeError(
                f"'{override}' is not an override; write key=value, for example train.steps=100"
            )
        _assign(values, key.split("."), parse_yaml(value, where=f"override '{override}'"), override)
        origins[key] = f"override '{override}'"
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


def to_yaml(recipe: Recipe) -> str:
    """The resolved recipe as YAML that `load_recipe` reads back to an equal recipe."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def differences(one: Recipe, other: Recipe) -> list[str]:
    """Dotted keys in which two recipes differ."""
    flat_one, flat_other = _flatten(one.model_dump(mode="json")), _flatten(other.model_dump(mode="json"))
    return sorted(key for key in {*flat_one, *flat_other} if flat_one.get(key) != flat_other.get(key))


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
            raise RecipeError(f"override '{override}': '{key}' is a value, not a section")
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
    return f"{dotted} is {item['input']!r}: {item['msg']} ({origin})"


def _keys(location: list[str]) -> list[str]:
    model: type[BaseModel] = Recipe
    for part in location:
        hints = typing.get_type_hints(model)
        inner = hints.get(part)
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
