"""Children: processes that run a command of hdiff and import what this one imports. No torch.

`python -m hdiff` would take the package from the current folder, which need not be the one that runs here.
A child is started by the path of `hdiff/__main__.py`, which makes its own folder the hdiff that is imported.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

IMPORT_PATH = "HDIFF_IMPORT_PATH"
"""Variable that lists the places where a parent looks for modules, as JSON; `hdiff/__main__.py` reads it."""


def child_command(*words: str, launcher: Sequence[str] = ()) -> list[str]:
    """A command line that runs a command of hdiff.

    Args:
        *words: What follows `hdiff` on the command line.
        launcher: Takes the place of this Python interpreter, `("accelerate", "launch")`.

    Returns:
        The program and its arguments.
    """
    return [*(launcher or [sys.executable]), str(Path(__file__).with_name("__main__.py")), *words]


def child_environment(**variables: str) -> Mapping[str, str]:
    """The environment of a child: this process's, with the places where it looks for modules.

    Args:
        **variables: Variables of the child that are set unless this process has them.

    Returns:
        Name -> value.
    """
    places = [os.path.abspath(entry) for entry in sys.path]  # "" is the current folder
    return {**variables, **os.environ, IMPORT_PATH: json.dumps(places)}
