"""run_job: does a job by the name of its step."""

from __future__ import annotations

from hdiff.data.prepare.align_step import align_shard
from hdiff.data.prepare.job import Job, OnDocument, Report, read_settings
from hdiff.data.prepare.parse_step import parse_shard

STEPS = {"parse": parse_shard, "align": align_shard}


def run_job(job: Job, on_document: OnDocument | None = None) -> Report:
    """Does a job, unless its output is there already; returns what `.ok.json` holds."""
    return STEPS[job.step](job, read_settings(job.settings), on_document or (lambda position: None))
