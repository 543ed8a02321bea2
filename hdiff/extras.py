"""Extras: how to get a package that this installation of hdiff lacks."""

from __future__ import annotations

import re
from importlib import metadata

from hdiff.errors import UserError

_REQUIREMENT = re.compile(r"""([\w.-]+)[^;]*(?:;.*extra == ["']([\w-]+)["'])?""")


def missing_package(error: ModuleNotFoundError) -> UserError | None:
    """The sentence with the command that brings a missing module; None if hdiff names no package of it."""
    package = (error.name or "").partition(".")[0].replace("_", "-").lower()
    try:
        requirements = metadata.requires("hdiff") or []
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        return None
    matches = [match for match in map(_REQUIREMENT.match, requirements) if match]
    extras = [match[2] for match in matches if match[1].replace("_", "-").lower() == package]
    if not extras:
        return None
    extra = None if None in extras else package if package in extras else extras[0]
    return UserError(
        f"this needs the package '{package}', which is not installed; in the checkout of hdiff run:",
        "pip install ." if extra is None else f"pip install '.[{extra}]'",
    )
