"""Soak: kills a tiny training again and again, and compares what it ends with with an uninterrupted run.

`make soak KILLS=20`, or `python tests/soak --kills 20`. Kills come at random moments (seeded), between and
in the middle of file operations, in every part of an epoch, with gradient accumulation and two processes;
then signals that a run answers by saving, and damaged files. Exit code 1 if anything was lost or differs.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # also in forked and started processes: bits depend on it

from campaign import Campaign, Counts
from damage import damage_checkpoints, damage_data
from scenarios import SCENARIOS, Scenario, prepare_data, write_recipe
from starts import load_libraries


def shares(number: int, scenarios: tuple[Scenario, ...]) -> list[int]:
    """Divides a number of kills over scenarios; what rounding leaves goes to the first."""
    parts = [round(number * scenario.share) for scenario in scenarios]
    parts[0] += number - sum(parts)
    return parts


def say(text: str) -> None:
    """Prints a line at once: forked processes must not print it again."""
    print(text, flush=True)


def interrupt(
    folder: Path, recipe: Path, number: int, generator: random.Random, *, stops: bool = False
) -> Counts:
    """Runs the campaigns of all scenarios and prints a line of the table for each.

    Args:
        folder: Where everything is written.
        recipe: Recipe file.
        number: SIGKILLs in all.
        generator: Draws the moments.
        stops: Send signals that a run answers instead.

    Returns:
        The counts.
    """
    total = Counts()
    for index, (scenario, part) in enumerate(zip(SCENARIOS, shares(number, SCENARIOS), strict=True)):
        if part == 0:
            continue
        here = folder / f"{'stops' if stops else 'kills'}-{index}"
        counts = Campaign(scenario, recipe, here, generator, stops=stops).run(part)
        by = "SIGTERM, SIGUSR1, SIGINT" if stops else "SIGKILL"
        times = counts.stops if stops else counts.kills
        say(f"| {scenario.name} | {by} | {times} | {counts.resumed} | {counts.identical} |")
        total.add(counts)
        for problem in counts.problems:
            print(f"soak: {problem}", file=sys.stderr, flush=True)
    return total


def print_places(places: Counter[str], combinations: Counter[tuple[int, int, str]]) -> None:
    """Prints where kills hit: file operations summed by kind, with how many different ones there were."""
    groups: Counter[str] = Counter()
    different = {place for place in places if place.startswith("file: ")}
    for place, number in places.items():
        words = place.removeprefix("file: ").split()
        groups[
            " ".join(words[: words.index("of") if "of" in words else 5]) if place in different else place
        ] += number
    say("\n| killed | times |\n|---|---:|")
    for place, number in groups.most_common():
        say(f"| {place} | {number} |")
    say(f"\n{sum(places[place] for place in different)} kills at {len(different)} different file operations")
    say("\n| killed as a batch was drawn: workers | processes | place | times |\n|---:|---:|---|---:|")
    for (workers, processes, place), number in sorted(combinations.items()):
        say(f"| {workers} | {processes} | {place} | {number} |")


def spoil(checkpoints: Path, data: Path, number: int, generator: random.Random) -> list[str]:
    """Damages checkpoints, and data a fourth as often; prints what was noticed, returns what was not."""
    noticed, missed = damage_checkpoints(checkpoints, number, generator)
    more, also_missed = damage_data(data, number // 4, generator)
    say("\n| damage | noticed |\n|---|---:|")
    for kind, times in sorted((noticed + more).items()):
        say(f"| {kind} | {times} |")
    for damage in missed + also_missed:
        print(f"soak: not noticed: {damage}", file=sys.stderr)
    return missed + also_missed


def main() -> int:
    """Parses the command line, runs, and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="SIGKILLs")
    parser.add_argument(
        "--stops", type=int, help="signals that a run answers; by default a tenth of the kills"
    )
    parser.add_argument("--damages", type=int, default=1000, help="truncations and flipped bits")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    chosen = parser.parse_args()
    stops = chosen.kills // 10 if chosen.stops is None else chosen.stops
    generator = random.Random(chosen.seed)
    load_libraries()
    with tempfile.TemporaryDirectory(prefix="hdiff-soak-") as name:
        folder = Path(name)
        data = prepare_data(folder)
        recipe = write_recipe(folder, data)
        say("| scenario | interrupted by | times | resumed | bit-identical |\n|---|---|---:|---:|---:|")
        kills = interrupt(folder, recipe, chosen.kills, generator)
        problems = list(kills.problems)
        problems += interrupt(folder, recipe, stops, generator, stops=True).problems
        print_places(kills.places, kills.combinations)
        if chosen.damages and not problems:
            problems += spoil(folder / "kills-0" / "whole" / "checkpoints", data, chosen.damages, generator)
    say(f"soak: {kills.kills} kills, {kills.resumed} resumed, {kills.identical} bit-identical")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
