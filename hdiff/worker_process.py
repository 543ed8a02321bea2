"""start_worker: a fresh process beside this one, with a connection to it. No torch."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any


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
