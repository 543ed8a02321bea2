"""ParsingPool: shards parsed by one or many processes, with the same result. No torch."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from hdiff.data.documents import Shard
from hdiff.data.shard import parse_shard
from hdiff.errors import DataError

_MAX_ATTEMPTS = 3


def parse_shards(
    shards: Sequence[Shard],
    folder: Path,
    parser_spec: str,
    *,
    workers: int = 1,
    on_shard: Callable[[Shard], None] | None = None,
) -> dict[Path, dict[str, Any]]:
    """Parses shards; those already finished are kept.

    Several workers are fresh processes: a script that calls this needs `if __name__ == "__main__":`.

    Args:
        shards: What to parse.
        folder: Existing folder for the trees, one file per shard with the shard's name.
        parser_spec: As `load_parser` takes it.
        workers: Processes.
        on_shard: Called after each shard, in the order they finish.

    Returns:
        For each file of trees, in the order of `shards`, the report of `parse_shard`.

    Raises:
        DataError: If workers keep being killed.
    """
    reports: dict[Path, dict[str, Any]] = {}
    for attempt in range(1, _MAX_ATTEMPTS + 1):
        left = [shard for shard in shards if folder / shard.path.name not in reports]
        try:
            _attempt(left, folder, parser_spec, min(workers, len(left)), on_shard, reports)
            break
        except BrokenProcessPool:
            if attempt == _MAX_ATTEMPTS:
                raise DataError(
                    f"parsing workers were killed {attempt} times, perhaps for want of memory; "
                    f"run again with fewer than {workers} --workers, finished shards are kept"
                ) from None
    return {folder / shard.path.name: reports[folder / shard.path.name] for shard in shards}


def _attempt(
    shards: Sequence[Shard],
    folder: Path,
    parser_spec: str,
    workers: int,
    on_shard: Callable[[Shard], None] | None,
    reports: dict[Path, dict[str, Any]],
) -> None:
    def record(shard: Shard, report: dict[str, Any]) -> None:
        reports[folder / shard.path.name] = report
        if on_shard is not None:
            on_shard(shard)

    if workers <= 1:
        for shard in shards:
            record(shard, parse_shard(shard.path, folder / shard.path.name, parser_spec))
        return
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = {
            pool.submit(parse_shard, shard.path, folder / shard.path.name, parser_spec): shard
            for shard in shards
        }
        try:
            for future in as_completed(futures):
                record(futures[future], future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
