"""WorkerPool: jobs done by several processes, any of which may die or hang at any time."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from hdiff.children import start_worker
from hdiff.data.prepare.job import Job, Report
from hdiff.data.prepare.steps import run_job
from hdiff.errors import DataError

MAX_DEATHS = 3
"""A document is left out, and a job that dies before any document given up, after so many deaths."""

_TICK_SECONDS = 1.0

OnJob = Callable[[Job, Report], None]


def run_jobs(jobs: Sequence[Job], *, workers: int, timeout: float, on_job: OnJob) -> None:
    """Does jobs in worker processes.

    A worker that dies, or does not finish a document in time, is replaced and its job done again one
    document at a time. A document that was being worked on at three deaths in a row (the first counts
    for all documents of its job) is left out and reported as rejected.

    Args:
        jobs: The jobs.
        workers: Processes.
        timeout: Seconds after which a worker that says nothing is killed.
        on_job: Called after each job, in the order they finish.

    Raises:
        DataError: If workers keep dying before the first document of a job.
        Exception: What a job raises.
    """
    supervisor = _Supervisor(deque(jobs), timeout, on_job)
    try:
        supervisor.run(min(workers, len(jobs)))
    finally:
        supervisor.stop()


@dataclass
class _Worker:
    """A process and what it is doing."""

    process: Any
    connection: Connection
    job: Job | None = None
    document: int | None = None
    heard: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class _Supervisor:
    """Gives jobs to workers and takes care of what becomes of them."""

    jobs: deque[Job]
    timeout: float
    on_job: OnJob
    workers: list[_Worker] = field(default_factory=list)
    early_deaths: Counter[Any] = field(default_factory=Counter)
    deaths: defaultdict[Any, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))

    def run(self, count: int) -> None:
        for _ in range(count):
            self._start()
        while self.jobs or any(worker.job for worker in self.workers):
            for worker in self.workers:
                if worker.job is None and self.jobs:
                    self._give(worker, self.jobs.popleft())
            ready = wait([worker.connection for worker in self.workers], timeout=_TICK_SECONDS)
            for worker in list(self.workers):
                if worker.connection in ready:
                    self._listen(worker)
                elif worker.job is not None and time.monotonic() - worker.heard > self.timeout:
                    worker.process.kill()
                    self._bury(worker, f"takes longer than {self.timeout:g} seconds")

    def stop(self) -> None:
        """Ends all workers, at once."""
        for worker in self.workers:
            worker.process.kill()
            worker.process.join()
            worker.connection.close()
        self.workers.clear()

    def _start(self) -> None:
        self.workers.append(_Worker(*start_worker(_work)))

    def _give(self, worker: _Worker, job: Job) -> None:
        worker.job, worker.document, worker.heard = job, None, time.monotonic()
        try:
            worker.connection.send(job)
        except OSError:
            self._bury(worker, "ends its process")

    def _listen(self, worker: _Worker) -> None:
        try:
            kind, value = worker.connection.recv()
        except (EOFError, OSError):
            worker.process.join()
            self._bury(worker, "kills its process")
            return
        worker.heard = time.monotonic()
        if kind == "document":
            worker.document = value
        elif kind == "error":
            raise value
        else:
            job, worker.job = worker.job, None
            assert job is not None
            self.on_job(job, value)

    def _bury(self, worker: _Worker, reason: str) -> None:
        """Replaces a dead worker and puts its job back, first in the queue."""
        self.workers.remove(worker)
        worker.connection.close()
        worker.process.join()
        job = worker.job
        self._start()
        if job is None:
            return
        name = job.out
        if worker.document is None or job.step != "parse":
            self.early_deaths[name] += 1
            if self.early_deaths[name] >= MAX_DEATHS:
                raise DataError(
                    f"parsing workers were killed {MAX_DEATHS} times at the same shard, {name.name}, perhaps "
                    f"for want of memory; run again with fewer workers, finished shards are kept:",
                    f"--workers {max(1, len(self.workers) // 2)}",
                )
        elif job.one_by_one:
            self.deaths[name][worker.document] += 1
            if self.deaths[name][worker.document] >= MAX_DEATHS - 1:
                job = replace(job, quarantined={**job.quarantined, worker.document: f"parsing it {reason}"})
        self.jobs.appendleft(replace(job, one_by_one=job.step == "parse"))


def _work(connection: Connection) -> None:
    """A worker: does jobs until nobody gives it any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and numpy are imported: a core per worker
    while True:
        try:
            job: Job = connection.recv()
        except (EOFError, OSError):
            return
        try:
            report = run_job(job, lambda position: connection.send(("document", position)))
            message: tuple[str, Any] = ("done", report)
        except BrokenPipeError:
            return
        except Exception as error:
            message = ("error", error)
        try:
            connection.send(message)
        except OSError:
            return
        except Exception as error:  # an error that cannot be sent
            connection.send(("error", RuntimeError(f"{message[1]!r} ({error})")))
