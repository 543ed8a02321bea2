"""build: a component from `{kind: name, **constructor arguments}`, checked against its signature.

A kind is a name of its family, a name that another package offers (`hdiff.plugins`), or
`package.module:Class` for a class of the user's.
"""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from hdiff.errors import RecipeError, UserError, at_key, nearest
from hdiff.plugins import as_class_name, import_class, load_plugin, plugin_names
from hdiff.value_types import expectation, plain_values, spelled

LARGEST_ARGUMENT = 1_000_000
"""Largest number that a component may be given: more is a mistake, damage or an attack."""


def component_class(kind: str, family: Mapping[str, type], *, section: str) -> type:
    """The class a kind stands for: a name in `family` or of a plugin, or `package.module:Class`."""
    if isinstance(kind, str) and kind in family:
        return family[kind]
    purpose = section.rpartition(".")[2]
    names = sorted({*family, *plugin_names(purpose)})
    known = ", ".join(names)
    if not isinstance(kind, str):
        raise RecipeError(f"{section}.kind is {kind!r:.80}, expected a name (known: {known})")
    if ":" not in kind:
        offered = load_plugin(purpose, kind, _base(family), error=RecipeError)
        if offered is None:
            own = f", a class of yours is named '{name}'" if (name := as_class_name(kind)) else ""
            hint = nearest(kind[:80], names) or own
            raise RecipeError(f"no {section} '{kind[:80]}'{hint} (known: {known})")
        return offered  # type: ignore[no-any-return]
    component = import_class(kind, what=f"{section}.kind", error=RecipeError)
    base = _base(family)
    # Not only a kindness: what is called here was named by a file.
    if not (isinstance(component, type) and issubclass(component, base)):
        raise RecipeError(
            f"{section}.kind '{kind}' is no subclass of {base.__module__}.{base.__name__}; name one"
        )
    return component


def _base(family: Mapping[str, type]) -> type:
    """The class of ours that all classes of a family are derived from."""
    first, *others = family.values()
    shared = [cls for cls in first.__mro__ if all(issubclass(other, cls) for other in others)]
    return next((cls for cls in shared if cls.__module__.startswith("hdiff.")), object)


def with_defaults(spec: Mapping[str, Any], family: Mapping[str, type], *, section: str) -> dict[str, Any]:
    """A component's description with every argument that it leaves out, as its signature has it."""
    parameters = inspect.signature(component_class(spec["kind"], family, section=section)).parameters
    defaults = {
        name: parameter.default
        for name, parameter in parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    return {**defaults, **spec}


def build(spec: Mapping[str, Any], family: Mapping[str, type], *, section: str, **given: Any) -> Any:
    """Builds a component; `given` are arguments that the program supplies and a recipe may not set."""
    with at_key(section):
        return _build(spec, family, section, given)


def _build(
    spec: Mapping[str, Any], family: Mapping[str, type], section: str, given: Mapping[str, Any]
) -> Any:
    if not isinstance(spec, Mapping):
        raise RecipeError(
            f"{section} is {spec!r:.80}; give a name:", f"'{section}={{kind: {next(iter(family))}}}'"
        )
    if "kind" not in spec:
        raise RecipeError(f"{section} has no kind (known: {', '.join(sorted(family))})")
    with at_key(f"{section}.kind"):
        cls = component_class(spec["kind"], family, section=section)
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(cls).parameters.items()
        if name not in given and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
    arguments = {key: value for key, value in spec.items() if key != "kind"}
    hints = typing.get_type_hints(cls.__init__)  # type: ignore[misc]
    typed = {}
    for key, value in arguments.items():
        with at_key(f"{section}.{key}"):
            if key not in parameters:
                raise RecipeError(
                    f"no key '{key}' in {section} of kind '{spec['kind']}'{nearest(key, parameters)} "
                    f"(known: {', '.join(parameters) or 'none'})"
                )
            typed[key] = _typed(value, hints.get(key, Any), f"{section}.{key}")
    try:
        return cls(**given, **typed)
    except (TypeError, ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
        raise RecipeError(f"{section} of kind '{spec['kind']}' cannot be built: {error}") from error
    except UserError as error:
        raise type(error)(f"{section}: {error.args[0]}", *error.remedies) from error


def _typed(value: Any, hint: Any, where: str) -> Any:
    """The value of the annotated type for one of a file: a list may become a tuple, a text no number.

    Keys of files are texts, so those of `Mapping[int, float]` are read as numbers.
    """
    config = ConfigDict(arbitrary_types_allowed=True, strict=True, allow_inf_nan=False, extra="forbid")
    try:
        # In a list, as a dataclass would not take the config.
        adapter = TypeAdapter(tuple[hint], config=config)
        typed = adapter.validate_json(json.dumps([plain_values(value)]))[0]
    except ValidationError as error:
        items = error.errors(include_url=False)
        deepest = max(len(item["loc"]) for item in items)
        texts = dict.fromkeys(expectation(item) for item in items if len(item["loc"]) == deepest)
        raise RecipeError(f"{where} is {spelled(value)}: {' or '.join(texts)}") from error
    except (ValueError, UserError) as error:
        raise RecipeError(f"{where} is {spelled(value)}: {error}") from error
    if isinstance(value, Mapping) and isinstance(typed, Mapping) and len(typed) < len(value):
        raise RecipeError(f"{where} is {spelled(value)}: two keys are one number; keep one of them")
    if any(abs(number) > LARGEST_ARGUMENT for number in _numbers(typed)):
        raise RecipeError(f"{where} is {spelled(value)}: expected numbers up to {LARGEST_ARGUMENT:,}")
    return typed


def _numbers(value: Any) -> Iterator[float]:
    """Numbers in a value, keys included."""
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple):
        for part in value:
            yield from _numbers(part)
    elif isinstance(value, int | float):
        yield value
