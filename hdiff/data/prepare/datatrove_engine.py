"""DatatroveEngine: jobs as tasks of a datatrove executor, on this machine or under Slurm.

`ShareStep` is a pipeline step like any other of datatrove, for its Slurm executor:

    SlurmPipelineExecutor(pipeline=[ShareStep("corpus/*.jsonl", "data/corpus")], tasks=200, ...).run()

between `hdiff prepare ... --plan` and `hdiff prepare ...` with the same options.
"""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, final

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep

from hdiff.children import hidden_script
from hdiff.data.prepare.engines import Engine
from hdiff.data.prepare.job import Job, Report
from hdiff.data.prepare.steps import run_job
from hdiff.data.prepare.worker_pool import run_jobs


class Step(PipelineStep):  # type: ignore[misc]
    """A pipeline step that passes the documents of an earlier step on untouched, then does its own work."""

    type = "hdiff"

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Any:
        """Does the work of task `rank` and hands the documents of the earlier step on."""
        if data is not None:
            yield from data
        self.work(rank, world_size)

    @abstractmethod
    def work(self, rank: int, world_size: int) -> None:
        """Does the part of one task."""


@final
class JobStep(Step):
    """Jobs from `rank` on, each `world_size`-th, in a process that is replaced if it dies or hangs."""

    name = "hdiff prepare"

    def __init__(self, jobs: Sequence[Job], timeout: float) -> None:
        super().__init__()
        self.jobs = list(jobs)
        self.timeout = timeout

    def work(self, rank: int, world_size: int) -> None:
        mine = self.jobs[rank::world_size]
        run_jobs(mine, workers=1, timeout=self.timeout, on_job=lambda job, report: None)


@final
class ShareStep(Step):
    """Every `world_size`-th shard of a plan from `rank` on; arguments as of `prepare_share`."""

    name = "hdiff prepare, one share"

    def __init__(self, source: str, out: str, **options: Any) -> None:
        super().__init__()
        self.source, self.out, self.options = source, out, options

    def work(self, rank: int, world_size: int) -> None:
        from hdiff.data.prepare.run import prepare_share

        prepare_share(self.source, self.out, share=(rank, world_size), **self.options)


@final
class DatatroveEngine(Engine):
    """Runs datatrove's local executor."""

    def run(self, jobs: Sequence[Job], on_job: Callable[[Job, Report], None]) -> None:
        with tempfile.TemporaryDirectory() as logs, hidden_script():
            LocalPipelineExecutor(
                pipeline=[JobStep(jobs, self.timeout)],
                tasks=min(self.workers, len(jobs)),
                workers=self.workers,
                logging_dir=logs,
                skip_completed=False,
            ).run()
        for job in jobs:  # done above: this only reads the reports
            on_job(job, run_job(job))
