"""`python -m hdiff.harness`: the command line of lm-evaluation-harness, which then knows `--model hdiff`."""

from __future__ import annotations

import sys

from lm_eval.__main__ import cli_evaluate

from hdiff.errors import UserError


def main() -> None:
    """Runs it; exit code 2 with one line on the user's input."""
    try:
        cli_evaluate()
    except UserError as error:
        print(f"hdiff: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
