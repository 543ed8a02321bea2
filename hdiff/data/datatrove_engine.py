"""DatatroveEngine: jobs as tasks of a datatrove executor, on this machine or under Slurm. No torch.

`JobStep` is a pipeline step like any other of datatrove, so an executor of yours can run it too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from typing import Any, final

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep

from hdiff.data.engines import Engine
from hdiff.data.job import Job, Report


class JobStep(PipelineStep):  # type: ignore[misc]
    """Does the jobs of one rank.

    Args:
        jobs: All jobs.
    """

    name = "hdiff prepare"
    type = "hdiff"

    def __init__(self, jobs: Sequence[Job]) -> None:
        super().__init__()
        self.jobs = list(jobs)

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Any:
        """Does every `world_size`-th job, beginning with `rank`.

        Args:
            data: Documents of an earlier step; passed on untouched.
            rank: Number of this task.
            world_size: Number of tasks.

        Yields:
            The documents of the earlier step.
        """
        if data is not None:
            yield from data
        for job in self.jobs[rank::world_size]:
            job.run()


@final
class DatatroveEngine(Engine):
    """Runs datatrove's local executor. It does not replace killed workers; for that take `local`."""

    def run(self, jobs: Sequence[Job], on_job: Callable[[Job, Report], None]) -> None:
        with tempfile.TemporaryDirectory() as logs:
            LocalPipelineExecutor(
                pipeline=[JobStep(jobs)],
                tasks=min(self.workers, len(jobs)),
                workers=self.workers,
                logging_dir=logs,
                skip_completed=False,
            ).run()
        for job in jobs:  # done above: this only reads the reports
            on_job(job, job.run())
