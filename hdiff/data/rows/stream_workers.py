"""Workers of a stream: processes that encode groups of documents ahead, in order.

No more groups than workers are ahead of the training. A worker that dies is an error at once, one that hangs
after a while.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from hdiff.children import start_worker
from hdiff.data.rows.stream_documents import Group
from hdiff.data.rows.stream_encoding import DocumentEncoder, Encoded, Encoding
from hdiff.errors import DataError

_SECONDS_TO_START = 600.0
_SECONDS_TO_DIE = 10.0
_SECONDS_TO_LEAVE = 2.0


def encoded_groups(
    groups: Iterator[Group], encoding: Encoding, *, workers: int, timeout: float
) -> Iterator[tuple[Group, Encoded]]:
    """Encodes groups in their order, in so many processes or here; closing the generator ends them."""
    if workers == 0:
        encoder = DocumentEncoder(encoding)
        for group in groups:
            yield group, encoder.encode(group.texts)
        return
    started: list[_Worker] = []
    try:
        waiting: deque[tuple[_Worker, Group]] = deque()
        for _ in range(workers):
            started.append(_Worker.start(encoding))
        for worker in started:
            worker.wait_until_ready()
        for worker in started:
            waiting.append((worker, worker.take(next(groups))))
        while True:
            worker, group = waiting.popleft()
            encoded = worker.result(group, timeout)
            waiting.append((worker, worker.take(next(groups))))
            yield group, encoded
    finally:
        for worker in started:
            worker.connection.close()  # those that wait for a group leave
        for worker in started:
            worker.stop()


@dataclass(frozen=True)
class _Worker:
    """A process that has one group at a time, so that neither side waits for a full pipe."""

    process: Any
    connection: Connection

    @classmethod
    def start(cls, encoding: Encoding) -> _Worker:
        return cls(*start_worker(_work, encoding))

    def wait_until_ready(self) -> None:
        """Until it has loaded its parser."""
        if not self.connection.poll(_SECONDS_TO_START):
            raise DataError(
                f"a worker of data.stream has not started after {_SECONDS_TO_START:g} seconds; lower "
                f"data.stream.workers, or set it to 0 to see where a parser hangs"
            )
        self._receive("its start")

    def take(self, group: Group) -> Group:
        """Gives the worker a group; returns it."""
        try:
            self.connection.send(group.texts)
        except OSError:
            raise self._death(str(group)) from None
        return group

    def result(self, group: Group, timeout: float) -> Encoded:
        """What becomes of the group it has."""
        if not self.connection.poll(timeout):
            raise DataError(
                f"a worker of data.stream takes longer than {timeout:g} seconds for {group}; if one of these "
                f"documents makes the parser hang remove it from the source, else raise data.stream.timeout, "
                f"and start again with",
                f"resume=auto data.stream.timeout={10 * timeout:g}",
            )
        encoded: Encoded = self._receive(str(group))
        return encoded

    def stop(self) -> None:
        """Ends it, once its connection is closed: one that does not leave is killed."""
        self.process.join(_SECONDS_TO_LEAVE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _receive(self, what: str) -> Any:
        try:
            kind, value = self.connection.recv()
        except (EOFError, OSError):
            raise self._death(what) from None
        if kind == "error":
            raise value
        return value

    def _death(self, what: str) -> DataError:
        self.process.join(_SECONDS_TO_DIE)
        return DataError(
            f"a worker of data.stream died (exit code {self.process.exitcode}) at {what}; if memory is "
            f"short lower data.stream.workers, if one of these documents kills the parser remove it from the "
            f"source, and start again with",
            "resume=auto",
        )


def _work(connection: Connection, encoding: Encoding) -> None:
    """A worker: encodes groups until nobody gives it any more."""
    # Clusters send these to all processes; the training decides what they mean.
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if (number := getattr(signal, name, None)) is not None:
            signal.signal(number, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before a parser imports torch: a core per worker
    encoder: DocumentEncoder | None = None
    texts: tuple[str, ...] | None = None  # none yet: it only starts
    while True:
        try:
            encoder = encoder or DocumentEncoder(encoding).started()
            message: tuple[str, Any] = ("ok", None if texts is None else encoder.encode(texts))
        except Exception as error:
            message = ("error", error)
        try:
            connection.send(message)
        except OSError:
            return
        except Exception as error:  # an error that cannot be sent
            connection.send(("error", RuntimeError(f"{message[1]!r} ({error})")))
        try:
            texts = connection.recv()
        except (EOFError, OSError):
            return
