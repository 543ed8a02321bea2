"""A Python interpreter that has hdiff imported already, for tests that start many of its processes.

`preloaded(folder)` gives an executable that takes `-m hdiff ...`: it hands arguments, directory, environment
and streams to a server, which forks, runs the command for real and sends back the exit code. POSIX only.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLIENT = """#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    words = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(words).to_bytes(4, "big")], [0, 1, 2])
    server.sendall(words)
    code = server.recv(1)
sys.exit(code[0] if code else 1)
"""


@contextmanager
def preloaded(folder: Path) -> Iterator[Path]:
    """The executable, as long as its server runs."""
    address, client = str(folder / "server"), folder / "python"
    client.write_text(CLIENT.format(python=sys.executable, address=address))
    client.chmod(0o755)
    server = subprocess.Popen([sys.executable, __file__, address])
    try:
        while not Path(address).exists():
            assert server.poll() is None, "the server ended before it listened"
            time.sleep(0.05)
        yield client
    finally:
        server.terminate()
        server.wait()


def serve(address: str) -> None:
    """Answers clients until it is terminated, each in a process of its own."""
    import hdiff.commands.evaluate
    import hdiff.evaluation.run
    import hdiff.training.trainer  # noqa: F401
    from hdiff.cli import run

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(16)
        while True:
            client, _ = listening.accept()
            if os.fork():
                client.close()
                continue
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            length, streams, _, _ = socket.recv_fds(client, 4, 3)
            words, missing = b"", int.from_bytes(length, "big")
            while len(words) < missing:
                words += client.recv(missing - len(words))
            arguments, directory, environment = json.loads(words)
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
            os.chdir(directory)
            os.environ.clear()
            os.environ.update(environment)
            program = next(n for n, word in enumerate(arguments) if word.endswith(("hdiff", "__main__.py")))
            code = run(arguments[program + 1 :])
            sys.stdout.flush()
            sys.stderr.flush()
            client.sendall(bytes([code]))
            os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
