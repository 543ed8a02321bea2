"""Entry point of the `hdiff` command and of `python -m hdiff`."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Runs the command line; exit code 0 done, 2 the user's input, 1 ours, 128 + n stopped by signal n."""
    from hdiff.cli import run

    _set_encodings()
    sys.exit(run(sys.argv[1:]))


def _set_encodings() -> None:
    """Files and pipes get UTF-8 whatever the locale; a terminal its own encoding, `?` for what it lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            encoding = stream.encoding if stream.isatty() else "utf-8"
            stream.reconfigure(encoding=encoding, errors="replace")


if __name__ == "__main__":
    main()
