"""Plugins: components that other installed packages offer by name, through entry points.

A package names them in its pyproject.toml, and nothing of it is imported until a recipe or command asks:

    [project.entry-points."hdiff.corruptions"]
    mynoise = "mypackage.noise:Mine"
"""

from __future__ import annotations

import importlib
import re
import shlex
import sys
import traceback
from collections.abc import Iterable
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, requires
from pathlib import Path
from typing import Any

from hdiff.errors import UserError, nearest

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


_OWN_CLASS = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")

_own_files: set[str] = set()
"""Files of the modules that kinds `module:Class` named."""


def plugin_names(purpose: str) -> list[str]:
    """Names that installed packages offer for a purpose, a key of `GROUPS`, sorted."""
    group = GROUPS.get(purpose)
    return sorted({point.name for point in entry_points(group=group)}) if group else []


def import_class(kind: str, *, what: str, error: type[UserError]) -> Any:
    """What `module:Class` names: of a package, or of a file in this folder or beside the recipe."""
    module, _, name = kind.partition(":")
    if not _OWN_CLASS.fullmatch(kind) or module.endswith(".py"):
        meant = as_class_name(kind) or "mypackage.noise:Mine"
        raise error(f"{what} is '{kind}', a class of yours is named module:Class; write {meant}")
    look_in(Path.cwd())  # the command hdiff does not, unlike python -m hdiff
    failed = f"{what} '{kind}' cannot be imported:"
    try:
        value: Any = importlib.import_module(module)
        for part in name.split("."):
            value = getattr(value, part)
        _own_files.add(str(getattr(sys.modules[module], "__file__", "")))
        return value
    except ModuleNotFoundError as reason:
        missing = str(reason.name)
        if module == missing or module.startswith(f"{missing}."):
            raise error(
                f"{failed} no module '{missing}' is installed, in the current folder or beside the "
                f"recipe; put {missing}.py there, or name its folder:",
                "export PYTHONPATH=FOLDER",
            ) from reason
        raise error(
            f"{failed} '{module}' needs the module '{missing}', which is not there; get it, for example:",
            f"pip install {missing.partition('.')[0]}",
        ) from reason
    except Exception as reason:  # the module is the user's, and so is what it raises
        file = getattr(sys.modules.get(module), "__file__", None)
        if isinstance(reason, AttributeError) and reason.obj is sys.modules.get(module):
            hint = nearest(name, [each for each, of in vars(reason.obj).items() if isinstance(of, type)])
            raise error(
                f"{failed} no class '{name}' is in {file or module}{hint or '; write it there'}"
            ) from reason
        place = "" if file is None else f" (found in {file})"
        raise error(f"{failed} {type(reason).__name__}: {reason}{place}; mend that module") from reason


def place_in_own_file(error: BaseException) -> str | None:
    """Where a component of the user's raised, or handed on what it cannot have: `file, line N, in name`."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    own = next((frame for frame in frames if frame.filename in _own_files), None)
    return None if own is None else f"{own.filename}, line {own.lineno}, in {own.name}"


def as_class_name(kind: str) -> str | None:
    """`module:Class` for what was written instead: a path of the file, `module.Class`, blanks in between."""
    words = re.sub(r"\.py(?=[:./]|$)", "", re.sub(r"\s", "", kind)).replace("\\", "/").removeprefix("./")
    module, _, name = words.rpartition(":" if ":" in words else ".")
    dotted = f"{module.strip('/.').replace('/', '.')}:{name}"
    return dotted if _OWN_CLASS.fullmatch(dotted) else None


def look_in(folder: Path) -> None:
    """Lets modules of a folder be imported, those that are installed first."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
        importlib.invalidate_caches()


def install_command(extra: str) -> str:
    """What installs the packages of an extra; no index has hdiff itself, so that its name would not do."""
    try:
        lines = [line.partition(";") for line in requires("hdiff") or ()]
    except PackageNotFoundError:
        return f"pip install '.[{extra}]'"
    is_of = re.compile(rf"""extra == ['"]{extra}['"]""")
    return f"pip install {shlex.join(line.strip() for line, _, marker in lines if is_of.search(marker))}"


def is_plugin(name: str) -> bool:
    """Whether an installed package offers a component of this name, for any purpose."""
    return any(name in plugin_names(purpose) for purpose in GROUPS)


def plugin_packages(name: str) -> list[str]:
    """Installed packages that offer a component of this name, for any purpose, sorted."""
    points = [point for group in GROUPS.values() for point in entry_points(group=group, name=name)]
    return sorted({point.dist.name for point in points if point.dist is not None})


def load_plugin(purpose: str, name: str, base: type, *, error: type[UserError]) -> Any:
    """The class that an installed package offers for a purpose; None if nobody offers the name."""
    group = GROUPS.get(purpose)
    points = _distinct(entry_points(group=group, name=name)) if group else []
    if not points:
        return None
    if len(points) > 1:
        both = " and ".join(f"{_package(point)} ({point.value})" for point in points)
        raise error(f"{purpose} '{name}' is offered by {both}; uninstall one, or name the class you mean")
    (point,) = points
    try:
        offered = point.load()
    except Exception as reason:  # the module is a stranger's, and so is what it raises
        raise error(
            f"{purpose} '{name}' of {_package(point)} ({point.value}) cannot be imported: "
            f"{type(reason).__name__}: {reason}; update that package or uninstall it"
        ) from reason
    if not (isinstance(offered, type) and issubclass(offered, base)):
        raise error(
            f"{purpose} '{name}' of {_package(point)} ({point.value}) is no subclass of {base.__module__}."
            f"{base.__name__}; update that package or uninstall it"
        )
    return offered


def _distinct(points: Iterable[EntryPoint]) -> list[EntryPoint]:
    """Each offer once: a package that lies on the path twice is no two packages."""
    return list({(_package(point), point.value): point for point in points}.values())


def _package(point: EntryPoint) -> str:
    return f"the package '{point.dist.name}'" if point.dist is not None else "a package without a name"
