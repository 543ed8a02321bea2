"""Refuses connections that leave this machine, and questions to name servers.

`tests/conftest.py` loads it and puts this folder on PYTHONPATH, so every Python that a test starts with this
environment loads it too. An audit hook sees each connection that sockets of Python open.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import sys
from typing import Any

_ASKS_FOR = {
    "socket.connect": lambda arguments: arguments[1],
    "socket.sendto": lambda arguments: arguments[1],
    "socket.sendmsg": lambda arguments: arguments[1],
    "socket.getaddrinfo": lambda arguments: arguments[:1],
    "socket.gethostbyname": lambda arguments: arguments[:1],
    "socket.gethostbyaddr": lambda arguments: arguments[:1],
}
"""Event of the interpreter -> the address in its arguments; that of a UNIX socket is no tuple."""

_OWN_NAMES = {"", "localhost", "localhost.localdomain", socket.gethostname()}


def is_here(host: Any) -> bool:
    """Whether a host name or address is this machine's own."""
    if host is None:
        return True
    name = host.decode(errors="replace") if isinstance(host, bytes) else str(host)
    if name in _OWN_NAMES:
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    asked = _ASKS_FOR.get(event)
    if asked is None:
        return
    address = asked(arguments)
    if isinstance(address, tuple) and address and not is_here(address[0]):
        raise OSError(
            errno.ENETUNREACH, f"a test asks for {address[0]!r} ({event}); tests stay on this machine"
        )


sys.addaudithook(_refuse)
