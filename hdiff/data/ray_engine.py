"""RayEngine: jobs as tasks of a Ray cluster whose machines share a file system. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import ray

from hdiff.data.engines import Engine, LocalEngine
from hdiff.data.job import Job, Report


@final
class RayEngine(Engine):
    """Runs on the cluster that RAY_ADDRESS names, else on a cluster of `workers` cores started here.

    Ray repeats a task whose process dies. A job that dies all the same goes to local processes, which find
    out the document that kills them.
    """

    def run(self, jobs: Sequence[Job], on_job: Callable[[Job, Report], None]) -> None:
        started_here = not ray.is_initialized()
        if started_here:
            ray.init(num_cpus=_cores_to_start(self.workers), log_to_driver=False, include_dashboard=False)
        try:
            run_job = ray.remote(_run)
            running = {run_job.options(num_cpus=1, max_retries=2).remote(job): job for job in jobs}
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


def _run(job: Job) -> Report:
    return job.run()


def _cores_to_start(workers: int) -> int | None:
    """Cores of a cluster that is started here; None where one exists already."""
    import os

    return None if os.environ.get("RAY_ADDRESS") else workers
