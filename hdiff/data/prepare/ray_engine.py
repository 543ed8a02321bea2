"""RayEngine: jobs as tasks of a Ray cluster whose machines share a file system."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import final

import ray

from hdiff.data.prepare.engines import Engine, LocalEngine
from hdiff.data.prepare.job import Job, Report
from hdiff.data.prepare.steps import run_job


@final
class RayEngine(Engine):
    """Runs on the cluster that RAY_ADDRESS names, else on a cluster of `workers` cores started here.

    Ray repeats a task whose process dies, and a process that takes too long for a document ends itself. A job
    that fails all the same goes to local processes, which find out the document that is to blame.
    """

    def run(self, jobs: Sequence[Job], on_job: Callable[[Job, Report], None]) -> None:
        started_here = not ray.is_initialized()
        if started_here:
            ray.init(num_cpus=_cores_to_start(self.workers), log_to_driver=False, include_dashboard=False)
        try:
            run_job = ray.remote(_run)
            running = {
                run_job.options(num_cpus=1, max_retries=1).remote(job, self.timeout): job for job in jobs
            }
            killers: list[Job] = []
            while running:
                done, _ = ray.wait(list(running), num_returns=1, timeout=None)
                job = running.pop(done[0])
                try:
                    on_job(job, ray.get(done[0]))
                except ray.exceptions.WorkerCrashedError:
                    killers.append(job)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from error
        finally:
            if started_here:
                ray.shutdown()
        if killers:
            LocalEngine(max(2, self.workers), self.timeout).run(killers, on_job)


def _run(job: Job, timeout: float) -> Report:
    with _Watch(timeout) as watch:
        return run_job(job, watch.heard)


class _Watch:
    """Ends this process if it is not heard of for some time."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._last = time.monotonic()
        self._is_over = threading.Event()

    def heard(self, position: int) -> None:
        self._last = time.monotonic()

    def __enter__(self) -> _Watch:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()

    def _watch(self) -> None:
        while not self._is_over.wait(1.0):
            if time.monotonic() - self._last > self._timeout:
                os._exit(1)


def _cores_to_start(workers: int) -> int | None:
    """Cores of a cluster that is started here; None where one exists already."""
    return None if os.environ.get("RAY_ADDRESS") else workers
