"""Writes the tables of docs/results/ again from the run folders they were made of.

A page marks what is made: `<!-- table NAME -->` before it, `<!-- end -->` after it. The words around stay.
Runs that are not there leave their table as it is, and are named. From the checkout:
`python recipes/benchmarks/results.py --runs runs [--check]`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import ablation_table
import code_gaps
import corruption
import data_limited
import known_answers
import parallel
import phrase_gaps
import plain_transformer
import tournament

PAGES = Path(__file__).parents[2] / "docs" / "results"
MARKED = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
SEEDS = [0, 1, 2]


def _code_gaps(runs: Path) -> str:
    return code_gaps.table(code_gaps.figures(runs))


def _corruption(runs: Path) -> str:
    return corruption.table(Namespace(out=runs, seeds=SEEDS, systems=list(corruption.SYSTEMS)))


def _data_limited(runs: Path) -> str:
    return data_limited.table(data_limited.figures(runs))


def _data_limited_differences(runs: Path) -> str:
    return data_limited.differences(data_limited.figures(runs))


def _known_answers(runs: Path) -> str:
    return known_answers.table(known_answers.curves(Namespace(out=runs, seeds=SEEDS)))


def _parallel(runs: Path) -> str:
    return parallel.table(Namespace(out=runs, seeds=SEEDS, systems=list(parallel.SYSTEMS)[1:]))


class Table(NamedTuple):
    """One table of a page.

    Attributes:
        folder: Folder of its runs inside --runs.
        make: Makes it of that folder.
        parts: Folders in there that it is made of; none: all.
        tells_commits: Whether a table of the commits follows.
    """

    folder: str
    make: Callable[[Path], str]
    parts: tuple[str, ...] = ()
    tells_commits: bool = True


def _of_tournament(folder: str, *corpora: str) -> Table:
    return Table(folder, partial(tournament.table, corpora=corpora), corpora)


TABLES: dict[str, Table] = {
    "corruption": Table("corruption", _corruption),
    "corruption_more": Table("corruption_more", _corruption),
    "code_gaps": Table("code_gaps", _code_gaps),
    "data_limited": Table("data_limited", _data_limited),
    "data_limited_differences": Table("data_limited", _data_limited_differences, tells_commits=False),
    "families": Table("ablations/families", ablation_table.table),
    "known_answers": Table("known", _known_answers),
    "parallel": Table("parallel", _parallel),
    "phrase_gaps": Table("tournament_spans", phrase_gaps.table, ("wikitext2", "e2e")),
    "plain": Table("plain", plain_transformer.table),
    "tournament": _of_tournament("tournament", "tinystories", "wikitext2"),
    "tournament_e2e": _of_tournament("tournament", "e2e"),
    "tournament_gutenberg": _of_tournament("tournament", "gutenberg"),
    "tournament_spans": _of_tournament("tournament_spans", "wikitext2", "gutenberg", "tinystories"),
    "word_level": Table("word_level", plain_transformer.table),
}
"""By name."""


def commits(runs: Path, parts: Sequence[str] = ()) -> str:
    """A table that says which commit every run of a folder, or of some folders in it, was trained at."""
    runs_of: dict[str, list[str]] = {}
    for file in sorted(file for part in parts or (".",) for file in (runs / part).glob("**/run.json")):
        record = json.loads(file.read_text())
        name = str(file.parent.relative_to(runs))
        runs_of.setdefault(str(record.get("commit") or "unknown"), []).append(name)
    rows = [f"| {commit} | {_short(names)} |" for commit, names in runs_of.items()]
    return "\n".join(["| trained at commit | runs (seeds) |", "|---|---|", *rows])


def _short(names: list[str]) -> str:
    """`a-0, a-1, b-0` as `a (0, 1), b (0)`."""
    seeds: dict[str, list[str]] = {}
    for name in names:
        system, _, seed = name.rpartition("-")
        seeds.setdefault(system, []).append(seed)
    return ", ".join(f"{system} ({', '.join(numbers)})" for system, numbers in seeds.items())


def renew(text: str, runs: Path) -> tuple[str, list[str]]:
    """A page with its tables made again.

    Args:
        text: The page.
        runs: Folder of the run folders.

    Returns:
        The new page, and a line for every table that stayed as it was, with the reason.
    """
    kept: list[str] = []

    def again(match: re.Match[str]) -> str:
        name = match[2]
        if name not in TABLES:
            raise SystemExit(f"no table '{name}' (known: {', '.join(TABLES)})")
        folder, make, parts, tells_commits = TABLES[name]
        if not any(any((runs / folder / part).glob("**/run.json")) for part in parts or (".",)):
            kept.append(
                f"{name}: no runs in {' '.join(str(runs / folder / part) for part in parts or ('',))}"
            )
            return match[0]
        origin = f"\n\n{commits(runs / folder, parts)}" if tells_commits else ""
        return f"{match[1]}{make(runs / folder)}{origin}\n{match[3]}"

    return MARKED.sub(again, text), kept


def main() -> None:
    """Parses the command line and writes the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the benchmarks' folders")
    parser.add_argument("--pages", type=Path, default=PAGES)
    parser.add_argument(
        "--check",
        action="store_true",
        help="change nothing; exit code 1 if a page differs, 2 if none does but tables could not be made",
    )
    arguments = parser.parse_args()
    differ, unmade = False, 0
    for page in sorted(arguments.pages.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        new, kept = renew(text, arguments.runs)
        unmade += len(kept)
        for line in kept:
            print(f"{page.name}: kept {line}", file=sys.stderr)
        if new != text:
            differ = True
            print(f"{page.name}: {'differs' if arguments.check else 'written'}")
            if not arguments.check:
                page.write_text(new, encoding="utf-8")
    if arguments.check and (differ or unmade):
        raise SystemExit(1 if differ else 2)


if __name__ == "__main__":
    main()
