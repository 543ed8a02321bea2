"""Entry point of the `hdiff` command and of `python -m hdiff`."""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import suppress
from importlib.machinery import PathFinder
from typing import Any, NoReturn


def main() -> None:
    """Runs the command line; exit code 0 done, 2 the user's input, 1 ours, 128 + n stopped by signal n."""
    _set_encodings()
    _check_current_folder()
    from hdiff.cli import run

    _leave(run(sys.argv[1:]))


def _leave(code: int) -> NoReturn:
    """Ends the process; at once, if it was connected to others by gloo.

    A thread of gloo that frees a tensor while Python ends aborts the process now and then, after all is done,
    and a launcher takes that for a failure. Closing the group does not end its threads: models that were
    trained together hold on to it.
    """
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        if distributed.get_backend() == "gloo":
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError):
                    stream.flush()
            os._exit(code)
        if code == 0:
            distributed.destroy_process_group()
    sys.exit(code)


def _set_encodings() -> None:
    """Files and pipes get UTF-8 whatever the locale; a terminal its own encoding, `?` for what it lacks.

    What is printed to a stream that was closed before the start is dropped.
    """
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            encoding = stream.encoding if stream.isatty() else "utf-8"
            stream.reconfigure(encoding=encoding, errors="replace")


def _check_current_folder() -> None:
    """Ends where the current folder is gone: libraries print a line of their own there and abort."""
    try:
        os.getcwd()
    except OSError as error:
        print(f"hdiff: there is no current folder ({error.strerror}); go to one: cd FOLDER", file=sys.stderr)
        sys.exit(2)


def _import_as_the_parent() -> None:
    """Makes this file's folder the hdiff that is imported; all else is found where the parent finds it.

    The folder itself, where Python looks first when it runs a file, holds parts of hdiff and no modules.
    """
    folder = os.path.dirname(os.path.abspath(__file__))
    root = os.path.dirname(folder)
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != folder]
    parent = json.loads(os.environ.get("HDIFF_IMPORT_PATH", "[]"))  # see hdiff.children
    sys.path += [entry for entry in (*parent, root) if entry not in sys.path]
    for place, entry in enumerate(sys.path):
        spec = PathFinder.find_spec("hdiff", [entry])
        if spec is not None and spec.origin is not None:  # without origin it is a folder of other things
            if entry != root:
                sys.path.insert(place, root)
            return


if __name__ == "__main__":
    if not __package__:  # run as a file and not by `-m`
        _check_current_folder()
        _import_as_the_parent()
    main()
