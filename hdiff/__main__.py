"""Entry point of the `hdiff` command and of `python -m hdiff`."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line; exit code 0 done, 2 the user's input, 1 ours, 128 + n stopped by signal n."""
    from hdiff.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
