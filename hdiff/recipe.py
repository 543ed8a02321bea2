"""Recipe files: strict YAML plus `key=value` overrides, resolved to a typed Recipe."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

import hdiff.recipes
from hdiff.config import Recipe
from hdiff.errors import RecipeError, UserError, nearest
from hdiff.plugins import look_in
from hdiff.strict_yaml import parse_yaml, read_yaml, shown, write_yaml
from hdiff.value_types import expectation, spelled

DOTTED_KEY = re.compile(r"[\w-]+(\.[\w-]+)*")
_OWN_CLASS = re.compile(r"[\w.]+:[A-Za-z_]\w")
"""A class of the user's, `module:Class`, which may lie beside the recipe."""


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Reads a recipe file and applies overrides, `dotted.key=value` texts whose values are YAML."""
    return patched_recipe(
        Path(path), [(*read_override(text), f"override '{shown(text, 200)}'") for text in overrides]
    )


def patched_recipe(path: Path, patches: Iterable[tuple[str, Any, str]]) -> Recipe:
    """Reads a recipe file and sets keys, one patch after the other."""
    path = installed(path, "recipe")
    values = read_yaml(path, what="recipe", remedy="those in recipes/")
    if {"base", "variants"} <= values.keys():
        raise RecipeError(f"{path} is an ablation, not a recipe; run:", f"hdiff ablate {quote(str(path))}")
    origins: dict[str, str] = {}
    for key, value, origin in patches:
        _assign(values, key.split("."), value, origin)
        origins[key] = origin
    if _OWN_CLASS.search(str(values)):
        look_in(path.absolute().parent)
        look_in(path.resolve().parent)
    return resolve(values, where=str(path), origins=origins)


@contextmanager
def naming_origin(where: str, overrides: Iterable[str]) -> Iterator[None]:
    """Says of errors in components which file or override has the key that they are about."""
    try:
        yield
    except UserError as error:
        if not error.key:
            raise
        origins = {read_override(text)[0]: f"override '{shown(text, 200)}'" for text in overrides}
        if not (origin := _origin(tuple(error.key.split(".")), origins, where)):
            raise
        raise type(error)(f"{origin}: {error.args[0]}", *error.remedies) from error


def installed(path: Path, what: str) -> Path:
    """The file, else the one of that name that comes with hdiff, else the path as it is."""
    if path.exists():
        return path
    shipped = Path(hdiff.recipes.__file__).parent
    if path.parts[:1] == ("recipes",) and (inside := shipped.joinpath(*path.parts[1:])).is_file():
        return inside
    names = {file.stem: file.relative_to(shipped) for file in sorted(shipped.rglob("*.yaml"), reverse=True)}
    if path.stem in names:
        raise RecipeError(f"no {what} {path}; did you mean 'recipes/{names[path.stem].as_posix()}'?")
    return path


def read_override(text: str) -> tuple[str, Any]:
    """Key and plain value of a `dotted.key=value` text, whose value is YAML."""
    key, separator, value = text.partition("=")
    if not separator or not DOTTED_KEY.fullmatch(key):
        raise RecipeError(
            f"'{shown(text, 200)}' is not an override; write key=value, for example", "train.steps=100"
        )
    return key, parse_yaml(value, where=f"override '{text}'", is_whole=True)


def resolve(values: dict[str, Any], *, where: str, origins: Mapping[str, str] | None = None) -> Recipe:
    """Checks plain values and makes a Recipe of them."""
    return validated(Recipe, values, where=where, whole="the recipe", origins=origins)


Sections = typing.TypeVar("Sections", bound=BaseModel)


def validated(
    kind: type[Sections], values: Any, *, where: str, whole: str, origins: Mapping[str, str] | None = None
) -> Sections:
    """Checks the plain values of a file against its sections."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = _by_location(error, values)
        texts = [
            f"{_problem(kind, location, items, whole)} ({_origin(location, origins or {}, where)})"
            for location, items in problems.items()
        ]
        raise RecipeError("; ".join(texts)) from error


def to_yaml(recipe: Recipe) -> str:
    """The resolved recipe as YAML that `load_recipe` reads back to an equal recipe."""
    return write_yaml(recipe.model_dump(mode="json"))


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


def _assign(values: dict[str, Any], keys: list[str], value: Any, origin: str) -> None:
    for key in keys[:-1]:
        inner = values.get(key, {})
        if not isinstance(inner, dict):
            raise RecipeError(
                f"'{key}' is {spelled(inner)}, a value, so no key '{keys[-1]}' can be set in it; set '{key}' "
                f"as a whole ({origin})"
            )
        values[key] = dict(inner)  # the section may be shared: with other variants, or by an anchor of YAML
        values = values[key]
    values[keys[-1]] = value


Location = tuple[str, ...]


def _by_location(error: ValidationError, values: Any) -> dict[Location, list[ErrorDetails]]:
    """Problems by the place of the value; those of a union's branches come together, the deepest tell."""
    problems: dict[Location, list[ErrorDetails]] = {}
    for item in error.errors(include_url=False):
        problems.setdefault(_location(item, values), []).append(item)
    return {
        place: items
        for place, items in problems.items()
        if not any(len(other) > len(place) and other[: len(place)] == place for other in problems)
    }


def _location(item: ErrorDetails, values: Any) -> Location:
    """Keys and indexes of a problem, without the names that pydantic gives branches."""
    places: list[str] = []
    for part in item["loc"]:
        pairs = enumerate(values) if isinstance(values, list) else values
        inner = dict(pairs) if isinstance(values, list | dict) else {}
        if part in inner:
            values = inner[part]
            places.append(str(part))
    return (*places, str(item["loc"][-1])) if item["type"] == "missing" else tuple(places)


def _problem(kind: type[BaseModel], location: Location, items: list[ErrorDetails], whole: str) -> str:
    dotted, first = ".".join(location) or whole, items[0]
    if first["type"] == "extra_forbidden":
        section = ".".join(location[:-1]) or whole
        if location[-1] == "<<":
            return f"no key '<<' in {section}: YAML 1.2 merges no sections; write the keys out"
        return f"no key '{location[-1]}' in {section}{nearest(location[-1], _keys(kind, location[:-1]))}"
    if first["type"] == "missing":
        return f"'{dotted}' is missing"
    expected = " or ".join(dict.fromkeys(expectation(item) for item in items)).replace(" or expected", " or")
    return f"{dotted} is {spelled(first['input'])}: {expected}"


def _origin(location: Location, origins: Mapping[str, str], where: str) -> str:
    """The last patch that set a value, something in it, or what it is in."""
    for key, origin in reversed([*origins.items()]):
        parts = tuple(key.split("."))
        if parts == location[: len(parts)] or location == parts[: len(location)]:
            return origin
    return where


def _keys(kind: type[BaseModel], location: Location) -> list[str]:
    """Keys that the section at a place has."""
    for part in location:
        fields = (
            [] if part.isdigit() else [f for name, f in kind.model_fields.items() if part in (name, f.alias)]
        )
        inner = [model for field in fields for model in _models(field.annotation)]
        if not part.isdigit() and not inner:
            return []
        kind = inner[0] if inner else kind
    return [field.alias or name for name, field in kind.model_fields.items()]


def _models(hint: Any) -> list[type[BaseModel]]:
    """Sections that an annotation mentions."""
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return [hint]
    return [model for part in typing.get_args(hint) for model in _models(part)]
