"""No test reaches beyond this machine: connections and name servers are refused, loopback is not."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

ELSEWHERE = "192.0.2.1"  # TEST-NET-1: belongs to nobody
CONNECT = f"import socket; socket.create_connection(('{ELSEWHERE}', 80), timeout=1)"


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_connection_elsewhere_is_refused(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as client, pytest.raises(OSError, match="stay on this machine"):
        client.connect((ELSEWHERE, 80))


@pytest.mark.parametrize("host", ["example.org", b"example.org", "::ffff:192.0.2.1"])
def test_no_name_server_is_asked(host: str | bytes) -> None:
    with pytest.raises(OSError, match="stay on this machine"):
        socket.getaddrinfo(host, 80)


def test_a_process_that_a_test_starts_is_refused_too() -> None:
    done = subprocess.run([sys.executable, "-c", CONNECT], capture_output=True, text=True)
    assert done.returncode == 1
    assert "tests stay on this machine" in done.stderr


def test_this_machine_may_be_reached(tmp_path: Path) -> None:
    with socket.create_server(("localhost", 0)) as server, socket.create_connection(server.getsockname()):
        assert socket.getaddrinfo("127.0.0.1", 80)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        server.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "socket"))
