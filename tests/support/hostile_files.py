"""Files made to harm, and the time and memory a refusal may take."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MOST_SECONDS = 20.0
MOST_KILOBYTES = 500_000
DEEP = 100_000
MINIMAL = "name: mine\noutput: runs/mine\ndata: {path: data/mine}\n"


@contextmanager
def soon_and_small() -> Iterator[None]:
    """What is inside takes bounded time and memory; both bounds are far above what is needed."""
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    assert time.process_time() - began < MOST_SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KILOBYTES


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path
