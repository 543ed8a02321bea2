"""Children: processes that run a command or a function of hdiff and import what this one imports.

`python -m hdiff` would take the package from the current folder, which need not be the one that runs here.
A child is started by the path of `hdiff/__main__.py`, which makes its own folder the hdiff that is imported.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

IMPORT_PATH = "HDIFF_IMPORT_PATH"
"""Variable that lists the places where a parent looks for modules, as JSON; `hdiff/__main__.py` reads it."""


def child_command(*words: str, launcher: Sequence[str] = ()) -> list[str]:
    """A command line of hdiff; `launcher` takes the place of this Python interpreter."""
    return [*(launcher or [sys.executable]), str(Path(__file__).with_name("__main__.py")), *words]


def child_environment(**variables: str) -> Mapping[str, str]:
    """The environment of a child: this process's, with the places where it looks for modules."""
    places = [os.path.abspath(entry) for entry in sys.path]  # "" is the current folder
    return {**variables, **os.environ, IMPORT_PATH: json.dumps(places)}


def start_worker(work: Callable[..., None], *arguments: Any) -> tuple[Any, Connection]:
    """Starts a process that ends with this one and knows nothing of the script that runs here.

    Args:
        work: Function of a module, called with the process's end of the connection and the arguments.
        *arguments: Passed on by pickle; none of a class that the script itself defines.

    Returns:
        The process, and our end of the connection.
    """
    methods = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, *arguments), daemon=True)
    with hidden_script():
        process.start()
    theirs.close()
    return process, ours


@contextmanager
def hidden_script() -> Iterator[None]:
    """Keeps Python from importing the running script into the processes that are started meanwhile.

    The import runs a script again that has no `if __name__ == "__main__":`, and fails if it came from a pipe.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script
