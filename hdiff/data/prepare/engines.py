"""Engines: who does the jobs of a preparation. The work is the same pure function for all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import final

from hdiff.data.prepare.job import Job, Report
from hdiff.data.prepare.steps import run_job
from hdiff.data.prepare.worker_pool import run_jobs
from hdiff.errors import DataError, nearest
from hdiff.plugins import install_command

ENGINES: dict[str, str] = {
    "local": "hdiff.data.prepare.engines:LocalEngine",
    "ray": "hdiff.data.prepare.ray_engine:RayEngine",
    "datatrove": "hdiff.data.prepare.datatrove_engine:DatatroveEngine",
}
"""Name -> module:class, imported on first use."""


class Engine(ABC):
    """Does jobs, in any order, so many at a time, on any machine that sees the same files."""

    def __init__(self, workers: int, timeout: float) -> None:
        self.workers = workers
        self.timeout = timeout

    @abstractmethod
    def run(self, jobs: Sequence[Job], on_job: Callable[[Job, Report], None]) -> None:
        """Does all jobs; `on_job` gets each with its report, in the order they finish."""


@final
class LocalEngine(Engine):
    """Processes of this machine; with one worker, this process."""

    def run(self, jobs: Sequence[Job], on_job: Callable[[Job, Report], None]) -> None:
        if self.workers > 1:
            run_jobs(jobs, workers=self.workers, timeout=self.timeout, on_job=on_job)
            return
        for job in jobs:
            on_job(job, run_job(job))


def load_engine(name: str, *, workers: int, timeout: float) -> Engine:
    """The engine of a name from `ENGINES`, for so many jobs at a time and seconds per document."""
    if name not in ENGINES:
        raise DataError(f"unknown engine '{name}'{nearest(name, ENGINES)} (engines are {', '.join(ENGINES)})")
    module, _, class_name = ENGINES[name].partition(":")
    try:
        engine_class: type[Engine] = getattr(import_module(module), class_name)
        return engine_class(workers, timeout)
    except ImportError as error:
        raise DataError(f"engine '{name}' needs {error.name}; run:", install_command(name)) from error
