"""Campaign: one scenario, run uninterrupted once, then interrupted until enough interruptions are counted."""

from __future__ import annotations

import itertools
import random
import shutil
import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from bits import differences
from kill_points import KillPoints
from scenarios import STEPS, Scenario
from starts import Ending, fork, new_process

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
NEW_PROCESS_SHARE = 0.04
"""Share of the kills that hit `python -m hdiff`, started anew, instead of a fork."""

BATCH_SHARE = 0.45
"""Up to here the draw of a kill chooses a batch; above, a file operation."""

FIRST_BATCH_SHARE = 0.75
"""The same at the first start of a run."""

STARTS_PER_RUN = 60
"""A run that is not done after so many starts is stuck."""


@dataclass
class Counts:
    """What happened.

    Attributes:
        kills: SIGKILLs that ended a process.
        stops: Signals that a run answered by saving and leaving with 128 + n.
        resumed: Kills and stops after which the next start went on.
        identical: Kills and stops of runs that ended bit-identical.
        places: Where the kills hit.
        combinations: Kills as a batch was drawn: workers, processes and where in the epoch.
        problems: What went wrong.
    """

    kills: int = 0
    stops: int = 0
    resumed: int = 0
    identical: int = 0
    places: Counter[str] = field(default_factory=Counter)
    combinations: Counter[tuple[int, int, str]] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def add(self, other: Counts) -> None:
        """Adds the counts of another campaign."""
        self.kills += other.kills
        self.stops += other.stops
        self.resumed += other.resumed
        self.identical += other.identical
        self.places += other.places
        self.combinations += other.combinations
        self.problems += other.problems


class Campaign:
    """Kills the runs of one scenario.

    Args:
        scenario: The scenario.
        recipe: Recipe file.
        folder: Where runs and logs go.
        generator: Draws the moments.
        stops: Send signals that a run answers, instead of SIGKILL.
    """

    def __init__(
        self, scenario: Scenario, recipe: Path, folder: Path, generator: random.Random, *, stops: bool = False
    ) -> None:
        self.scenario = scenario
        self.recipe = recipe
        self.folder = folder
        self.generator = generator
        self.stops = stops
        self.counts = Counts()
        folder.mkdir(parents=True)

    def run(self, number: int) -> Counts:
        """Kills (or stops) runs until so many are counted, and compares each finished one.

        Args:
            number: How many.

        Returns:
            The counts.
        """
        whole = self.folder / "whole"
        ending = self._start(whole, kind="file")
        if any(ending.codes):
            self.counts.problems.append(f"{self.scenario.name}: not even the reference ends: {ending.output}")
            return self.counts
        self.file_points = len(ending.points)
        self.seconds = ending.seconds
        self.batch_points = [self._batch_points(rank) for rank in range(self.scenario.processes)]
        self.places = itertools.cycle(sorted(self.batch_points[0]))
        index = 0
        while self._done() < number and not self.counts.problems:
            index += 1
            self._one_run(whole, self.folder / f"run-{index}", number)
        return self.counts

    def _batch_points(self, rank: int) -> dict[str, list[str]]:
        """The batches of an uninterrupted run, by where in training they are drawn."""
        output = self.folder / f"listing-{rank}"
        found: dict[str, list[str]] = {}
        for point in self._start(output, kind="batch", rank=rank).points:
            found.setdefault(self.scenario.place(point), []).append(point)
        shutil.rmtree(output)
        return found

    def _done(self) -> int:
        return self.counts.stops if self.stops else self.counts.kills

    def _one_run(self, whole: Path, output: Path, number: int) -> None:
        """One run to its end, with as many kills as chance brings."""
        before = self._done()
        is_interrupted = False
        for start in range(STARTS_PER_RUN):
            is_last = self._done() >= number
            ending = self._start(output, "file") if is_last else self._draw(output, is_first=start == 0)
            counted = self._count(ending)
            if counted is None:
                self.counts.problems.append(f"{output}: exit codes {ending.codes}: {ending.output[-2000:]}")
                return
            self.counts.resumed += is_interrupted
            is_interrupted = counted
            if not counted:
                break
        else:
            self.counts.problems.append(f"{output}: not done after {STARTS_PER_RUN} starts")
            return
        different = differences(whole, output)
        if different:
            self.counts.problems.append(f"{output}: {', '.join(different)} differ from {whole}")
        else:
            self.counts.identical += self._done() - before
            shutil.rmtree(output)

    def _count(self, ending: Ending) -> bool | None:
        """True if the start was interrupted, False if it finished, None if it went wrong."""
        if not any(ending.codes):
            return False
        if self.stops:
            is_stopped = len(set(ending.codes)) == 1 and ending.codes[0] - 128 in SIGNALS
            self.counts.stops += is_stopped
            return True if is_stopped else None
        self.counts.kills += ending.is_killed
        return True if ending.is_killed else None

    def _draw(self, output: Path, *, is_first: bool) -> Ending:
        """A start with a kill at a random moment; one that begins at row 0 passes all batches."""
        draw = self.generator.random()
        batches = STEPS * self.scenario.accumulation
        rank = self.generator.randrange(self.scenario.processes)
        if self.stops:
            chosen = self.generator.choice(SIGNALS)
            return self._start(output, "batch", self.generator.randint(1, batches), rank=rank, sent=chosen)
        if draw < NEW_PROCESS_SHARE and self.scenario.processes == 1:
            delay = self.generator.uniform(0, 0.5)
            changed = output / "metrics.jsonl"
            arguments = self.scenario.arguments(self.recipe, output)
            ending = new_process(arguments, self._log(output), kill_after_change_of=changed, delay=delay)
            self._note(ending, "a new process, at a random time")
            return ending
        if draw < 0.2:
            after = self.generator.uniform(0, self.seconds)
            ending = self._start(output, "file", kill_after=after)
            self._note(ending, "at a random time")
            return ending
        if draw < (FIRST_BATCH_SHARE if is_first else BATCH_SHARE) or rank > 0:
            place = next(place for place in self.places if place in self.batch_points[rank])
            point = self.generator.choice(self.batch_points[rank][place])
            ending = self._start(output, "batch", name=point, rank=rank)
            self._note(ending, place)
            if ending.is_killed:
                workers = self.scenario.stream_workers or 0
                self.counts.combinations[workers, self.scenario.processes, place] += 1
            return ending
        ending = self._start(output, "file", self.generator.randint(1, self.file_points))
        self._note(ending, f"file: {ending.points[-1]}" if ending.points else "")
        return ending

    def _note(self, ending: Ending, place: str) -> None:
        if ending.is_killed:
            self.counts.places[place] += 1

    def _start(
        self,
        output: Path,
        kind: str,
        number: int = 0,
        *,
        name: str | None = None,
        rank: int = 0,
        sent: int = signal.SIGKILL,
        kill_after: float | None = None,
    ) -> Ending:
        def prepare(own_rank: int, report: int) -> None:
            if own_rank == rank:
                points = KillPoints(
                    output, kind=kind, number=number, name=name, report=report, number_of_signal=sent
                )
                points.install()

        return fork(
            self.scenario.arguments(self.recipe, output),
            self._log(output),
            prepare=prepare,
            processes=self.scenario.processes,
            kill_after=kill_after,
        )

    def _log(self, output: Path) -> Path:
        return output.with_name(f"{output.name}.log")
