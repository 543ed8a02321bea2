"""serve: binds the address before anything is loaded, and ends cleanly on Ctrl-C and SIGTERM."""

from __future__ import annotations

import ipaddress
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from hdiff.errors import UserError

if TYPE_CHECKING:
    from starlette.applications import Starlette

GRACE_SECONDS = 3
"""How long answers that are under way may take once the server is told to end."""
BACKLOG = 128


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens at a name or address; port 0 takes a free one."""
    if not 0 <= port <= 65535:
        raise UserError(f"port is {port}; give a number from 0 (any free port) to 65535")
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise UserError(f"'{host}' is no name or address this machine knows; use 127.0.0.1") from None
    family, kind, protocol, _, address = addresses[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise UserError(
            f"cannot listen at {host} port {port} ({error.strerror}); another program may use it; take any "
            f"free one:",
            "--port 0",
        ) from None
    return listener


def address_of(host: str, listener: socket.socket) -> str:
    """Where the page is, for a browser: an address with `http://`."""
    port = listener.getsockname()[1]
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}/"


def is_local(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def run_server(app: Starlette, listener: socket.socket) -> None:
    """Serves until Ctrl-C or SIGTERM."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    with _quiet_signals():
        uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def _quiet_signals() -> Iterator[None]:
    """uvicorn raises the signal that ended it once more: to end on one is no failure here."""

    def ignore(number: int, frame: FrameType | None) -> None:
        pass

    before = {number: signal.signal(number, ignore) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
