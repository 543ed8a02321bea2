"""Fuzz: feeds every reader of hdiff with inputs that are nearly right; only documented errors may come out.

`make fuzz INPUTS=100000`, or `python tests/fuzz --inputs 100000`. Two in a hundred inputs come from
Hypothesis (grammars of the formats and mutations of valid files), the rest from atheris, which lets libFuzzer
keep the inputs that reach new edges of the reader; where atheris is not installed (pip install atheris) all
come from Hypothesis. Exit code 1 if anything but a UserError came out, a reader crashed or took longer than
10 seconds; the inputs are then in the folder that is named.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from readers import READERS

HYPOTHESIS_SHARE = 0.02
"""Hypothesis draws some hundred inputs a second, libFuzzer some thousand."""


@dataclass(frozen=True)
class Campaign:
    """What one reader was given by one source.

    Attributes:
        reader: Its name.
        source: `hypothesis` or `coverage`.
        inputs: Inputs it read.
        accepted: Those among them that it took for valid.
        slowest: Seconds of the slowest.
        edges: Edges of its modules that were reached; None for Hypothesis, which does not count them.
        found: Undocumented errors, each with the file of its input.
    """

    reader: str
    source: str
    inputs: int
    accepted: int
    slowest: float
    edges: int | None
    found: dict[str, str]


def run(name: str, source: str, number: int, seed: int, folder: Path) -> Campaign:
    """Starts a worker and reads what it counted.

    Args:
        name: The reader.
        source: `hypothesis` or `coverage`.
        number: Inputs.
        seed: Seed of the source.
        folder: For inputs that are findings.

    Returns:
        The counts; a crash is a finding.
    """
    here = folder / f"{name.replace(' ', '_')}-{source}"
    here.mkdir()
    command = [
        sys.executable,
        str(Path(__file__).with_name("worker.py")),
        name,
        source,
        str(number),
        str(seed),
    ]
    with (here / "log").open("w", encoding="utf-8") as log:
        code = subprocess.run([*command, str(here)], stdout=log, stderr=subprocess.STDOUT).returncode
    result = {"inputs": 0, "accepted": 0, "slowest": 0.0, "found": {}}
    if (here / "result.json").is_file():
        result.update(json.loads((here / "result.json").read_text(encoding="utf-8")))
    found = {kind: str(here / file) for kind, file in result["found"].items()}
    if code or result["inputs"] < number:
        found[f"crash or interruption, exit code {code}"] = str(here / "log")
    reached = re.findall(r"cov: (\d+)", (here / "log").read_text(encoding="utf-8", errors="replace"))
    edges = int(reached[-1]) if reached and source == "coverage" else None
    return Campaign(name, source, result["inputs"], result["accepted"], result["slowest"], edges, found)


def main() -> int:
    """Parses the command line, runs all campaigns, and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1000, help="inputs for each reader")
    parser.add_argument(
        "--reader", action="append", choices=list(READERS), help="only this one; repeat for more"
    )
    parser.add_argument("--seed", type=int, default=0, help="of Hypothesis and of libFuzzer")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    chosen = parser.parse_args()
    names = chosen.reader or list(READERS)
    has_atheris = importlib.util.find_spec("atheris") is not None
    by_hypothesis = max(1, round(chosen.inputs * HYPOTHESIS_SHARE)) if has_atheris else chosen.inputs
    tasks = [(name, "coverage", chosen.inputs - by_hypothesis) for name in names if has_atheris]
    tasks += [(name, "hypothesis", by_hypothesis) for name in names]
    folder = Path(tempfile.mkdtemp(prefix="hdiff-fuzz-"))
    if not has_atheris:
        print("atheris is not installed: all inputs come from Hypothesis, none is led by coverage")
    print(
        "| reader | source | inputs | taken for valid | edges | slowest, s | undocumented errors |",
        flush=True,
    )
    print("|---|---|---:|---:|---:|---:|---:|", flush=True)
    campaigns = []
    with ThreadPoolExecutor(chosen.jobs) as pool:
        for done in pool.map(lambda task: run(*task, chosen.seed, folder), tasks):
            campaigns.append(done)
            row = [done.reader, done.source, done.inputs, done.accepted, done.edges or "", done.slowest]
            print(f"| {' | '.join(map(str, row))} | {len(done.found)} |", flush=True)
            for kind, file in done.found.items():
                print(f"fuzz: {done.reader}: {kind}: {file}", file=sys.stderr, flush=True)
    number = sum(done.inputs for done in campaigns)
    errors = sum(len(done.found) for done in campaigns)
    print(f"fuzz: {number} inputs, {len(names)} readers, {errors} undocumented errors")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
