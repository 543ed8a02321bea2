"""Runs of an ablation: trains and evaluates in processes of their own, and resumes after any kill."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hdiff.ablation.results import (
    FAILED_FILE,
    STAMP_FILE,
    is_evaluated,
    is_trained,
    judge_weights,
    read_failures,
    stamp_of,
    what_is_missing,
)
from hdiff.ablation.specification import Ablation, Run
from hdiff.children import child_command, child_environment
from hdiff.errors import DataError, RecipeError
from hdiff.files import lock, write_atomically
from hdiff.plugins import install_command
from hdiff.recipe import load_recipe, to_yaml
from hdiff.runs.places import at_places_of

POLL_SECONDS = 0.1
THREADS = "OMP_NUM_THREADS"
"""Says how many threads a process has; a value of the user's stays. Other libraries go by it too."""


@dataclass(frozen=True)
class RunJob:
    """One process: the run it works on, its stage (training or evaluation) and its command line."""

    run: Run
    stage: Literal["train", "eval"]
    command: list[str]


def run_ablation(
    ablation: Ablation,
    *,
    jobs: int = 1,
    launcher: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> int | None:
    """Trains what is not trained and evaluates what is not evaluated; a run that crashes stops no other.

    Args:
        ablation: The ablation, checked.
        jobs: Trainings at a time; cores are divided among them. Evaluations run one at a time, on all cores,
            so that seconds per sample compare.
        launcher: Command that takes the place of the Python interpreter of trainings, `accelerate launch`.
        say: Tells a person what happens.

    Returns:
        None when everything was tried, or the number of the signal that stopped it (runs have saved).

    Raises:
        RecipeError: If `jobs` or `launcher` cannot be.
        DataError: If runs of an earlier start still work in the folder.
    """
    if jobs < 1:
        raise RecipeError(f"--jobs is {jobs}; it is the number of runs at a time, at least 1")
    words = [] if launcher is None else shlex.split(launcher)
    if launcher is not None and (not words or shutil.which(words[0]) is None):
        raise RecipeError(
            f"--launcher '{launcher}' is not installed; leave it out, or run:", install_command("train")
        )
    (ablation.output / "recipes").mkdir(parents=True, exist_ok=True)
    with _claimed(ablation.output) as claim:
        runner = _Runner(ablation.output, claim, say)
        with runner.catching_signals():
            training = [_training(run, ablation, words) for run in ablation.all_runs if not is_trained(run)]
            runner.work(training, at_a_time=jobs, threads=max(1, cores() // jobs))
            judge = judge_weights(ablation)
            # Some variants draw no samples: autoregressive ones, or families that need more steps.
            path = None if judge is None or ablation.judge is None else str(ablation.judge.path)
            scoring = [] if path is None else ["--judge", path, "--judge-if-drawn"]
            for run in ablation.all_runs:
                _renew_recipe(run)
                known = None if run is ablation.judge else judge
                if is_trained(run) and not is_evaluated(run, known):
                    options = () if known is None else scoring
                    runner.work([_evaluation(run, options)], at_a_time=1, threads=cores(), judge=known)
        return runner.stopped_by


def _renew_recipe(run: Run) -> None:
    """Gives a run the evaluation settings of the ablation, and one that is trained the places of its data.

    What was evaluated with other settings is void.
    """
    file = run.path / "recipe.yaml"
    if not file.is_file():
        return
    saved = load_recipe(file)
    renewed = saved.model_copy(update={"evaluation": run.recipe.evaluation})
    if is_trained(run):
        renewed = at_places_of(renewed, run.recipe)
    if renewed == saved:
        return
    if renewed.evaluation != saved.evaluation:
        (run.path / STAMP_FILE).unlink(missing_ok=True)
    write_atomically(file, to_yaml(renewed))


def cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _training(run: Run, ablation: Ablation, launcher: Sequence[str]) -> RunJob:
    recipe = ablation.output / "recipes" / f"{run.name}.yaml"
    write_atomically(recipe, to_yaml(run.recipe))
    return RunJob(run, "train", child_command("train", str(recipe), "--quiet", launcher=launcher))


def _evaluation(run: Run, options: Sequence[str]) -> RunJob:
    return RunJob(run, "eval", child_command("eval", str(run.path), *options, "--quiet"))


class _Runner:
    """Starts processes, waits for them, notes failures, and passes a signal on to them once.

    Args:
        output: Folder of logs and of the list of failures.
        lock: Open file whose lock the processes share, so that it lasts as long as any of them.
        say: Tells a person what happens.
    """

    def __init__(self, output: Path, lock: Any, say: Callable[[str], None]) -> None:
        self.output = output
        self.lock = lock
        self.say = say
        self.stopped_by: int | None = None
        self.failed = read_failures(output)

    def work(self, jobs: Sequence[RunJob], *, at_a_time: int, threads: int, judge: str | None = None) -> None:
        """Runs jobs in order, at most `at_a_time`, until all have ended or a signal came."""
        waiting = deque(jobs)
        live: dict[subprocess.Popen[bytes], tuple[RunJob, float]] = {}
        told: set[int] = set()
        while live or (waiting and self.stopped_by is None):
            while waiting and len(live) < at_a_time and self.stopped_by is None:
                job = waiting.popleft()
                live[self._start(job, threads)] = (job, time.monotonic())
                self._name_processes(live)
            for process in list(live):
                if process.poll() is not None:
                    job, began = live.pop(process)
                    self._ended(job, process.returncode, time.monotonic() - began, judge)
                elif self.stopped_by is not None and process.pid not in told:
                    # Once: a second signal would make a training quit without saving.
                    told.add(process.pid)
                    process.terminate()
            if live:
                time.sleep(POLL_SECONDS)

    def _start(self, job: RunJob, threads: int) -> subprocess.Popen[bytes]:
        self.failed.pop(job.run.name, None)
        self._write_failures()
        with self._log(job).open("wb") as log:
            return subprocess.Popen(
                job.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=child_environment(**{THREADS: str(threads)}),
                # A session of its own: Ctrl-C reaches it through us, and once.
                start_new_session=True,
                pass_fds=(self.lock.fileno(),) if os.name == "posix" else (),
            )

    def _ended(self, job: RunJob, code: int, seconds: float, judge: str | None) -> None:
        if code == 0 and job.stage == "eval" and (job.run.path / "eval.json").is_file():
            stamp = stamp_of(job.run, judge)
            write_atomically(job.run.path / STAMP_FILE, json.dumps(stamp, indent=1))
        # Only what is there counts: a process that ends well and leaves nothing would be started for ever.
        is_there = is_trained(job.run) and (job.stage == "train" or is_evaluated(job.run, judge))
        if code == 0 and is_there:
            self.say(f"{job.run.name}: {job.stage} done in {seconds:.0f} s")
        elif self.stopped_by is None:
            reason = self._last_words(job, code) if code else what_is_missing(job.run, judge)
            assert reason is not None, "a run with nothing missing is there"
            self.failed[job.run.name] = reason
            self._write_failures()
            self.say(f"{job.run.name}: {job.stage} FAILED, {reason} (log: {self._log(job)})")

    def _last_words(self, job: RunJob, code: int) -> str:
        """The last line of a log; for a process that was killed, by what."""
        if code < 0:
            return f"killed by signal {-code} ({signal.Signals(-code).name}); start again to resume"
        lines = self._log(job).read_text(encoding="utf-8", errors="replace").split("\n")
        return next(
            (line.strip() for line in reversed(lines) if line.strip()), f"exit code {code}, no message"
        )

    def _name_processes(self, live: Iterable[subprocess.Popen[bytes]]) -> None:
        """Writes the process ids into the lock, for whoever finds it taken."""
        self.lock.truncate(0)
        self.lock.write(" ".join(str(process.pid) for process in live))
        self.lock.flush()

    def _log(self, job: RunJob) -> Path:
        return self.output / f"{job.run.name}.{job.stage}.log"

    def _write_failures(self) -> None:
        write_atomically(self.output / FAILED_FILE, json.dumps(self.failed, indent=1))

    @contextmanager
    def catching_signals(self) -> Iterator[None]:
        """Notes SIGINT, SIGTERM and SIGHUP instead of dying of them."""

        def stop(number: int, _frame: Any) -> None:
            if self.stopped_by is None:
                self.stopped_by = number
                self.say("stopping: runs save a checkpoint; start again to resume")

        previous = {number: signal.signal(number, stop) for number in _stopping_signals()}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def _stopping_signals() -> list[signal.Signals]:
    names = ("SIGINT", "SIGTERM", "SIGHUP")  # some platforms lack the last
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


@contextmanager
def _claimed(output: Path) -> Iterator[Any]:
    """Keeps others out of the folder; the processes share the lock."""
    with (output / "lock").open("a+") as file:
        try:
            lock(file, output)
        except BlockingIOError:
            file.seek(0)
            raise DataError(
                f"runs of an earlier hdiff ablate still work in {output}; wait until they end, or stop them "
                f"(process ids: {file.read().strip() or 'not known'})"
            ) from None
        yield file
