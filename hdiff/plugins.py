"""Plugins: components that other installed packages offer by name, through entry points. No torch.

A package names them in its pyproject.toml, and nothing of it is imported until a recipe or command asks:

    [project.entry-points."hdiff.corruptions"]
    mynoise = "mypackage.noise:Mine"
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from hdiff.errors import UserError

GROUPS: dict[str, str] = {
    "corruption": "hdiff.corruptions",
    "head": "hdiff.heads",
    "type_head": "hdiff.heads",
    "sampler": "hdiff.samplers",
    "schedule": "hdiff.schedules",
    "parser": "hdiff.parsers",
    "salience": "hdiff.salience",
}
"""What a component is for -> group of entry points."""


def plugin_names(purpose: str) -> list[str]:
    """Names that installed packages offer.

    Args:
        purpose: A key of `GROUPS`; of others there are no plugins.

    Returns:
        The names, sorted.
    """
    group = GROUPS.get(purpose)
    return sorted({point.name for point in entry_points(group=group)}) if group else []


def is_plugin(name: str) -> bool:
    """Whether an installed package offers a component of this name, for any purpose."""
    return any(name in plugin_names(purpose) for purpose in GROUPS)


def plugin_packages(name: str) -> list[str]:
    """Installed packages that offer a component of this name, for any purpose, sorted."""
    points = [point for group in GROUPS.values() for point in entry_points(group=group, name=name)]
    return sorted({point.dist.name for point in points if point.dist is not None})


def load_plugin(purpose: str, name: str, base: type, *, error: type[UserError]) -> Any:
    """The class that an installed package offers.

    Args:
        purpose: A key of `GROUPS`.
        name: The name; one of hdiff's own is not looked up here, so it cannot be taken over.
        base: What the class must be derived from.
        error: Class of the errors.

    Returns:
        The class, or None if nobody offers the name.

    Raises:
        UserError: Of class `error`, if two packages offer the name, or the class cannot be imported or is of
            another kind.
    """
    group = GROUPS.get(purpose)
    points = _distinct(entry_points(group=group, name=name)) if group else []
    if not points:
        return None
    if len(points) > 1:
        both = " and ".join(f"{_package(point)} ({point.value})" for point in points)
        raise error(f"{purpose} '{name}' is offered by {both}; uninstall one, or name the class you mean")
    (point,) = points
    try:
        found = point.load()
    except Exception as reason:  # the module is a stranger's, and so is what it raises
        raise error(
            f"{purpose} '{name}' of {_package(point)} ({point.value}) cannot be imported: "
            f"{type(reason).__name__}: {reason}; update that package or uninstall it"
        ) from reason
    if not (isinstance(found, type) and issubclass(found, base)):
        raise error(
            f"{purpose} '{name}' of {_package(point)} ({point.value}) is no subclass of {base.__module__}."
            f"{base.__name__}; update that package or uninstall it"
        )
    return found


def _distinct(points: Iterable[EntryPoint]) -> list[EntryPoint]:
    """Each offer once: a package that lies on the path twice is no two packages."""
    return list({(_package(point), point.value): point for point in points}.values())


def _package(point: EntryPoint) -> str:
    return f"the package '{point.dist.name}'" if point.dist is not None else "a package without a name"
