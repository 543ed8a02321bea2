"""Tiny runs, trained for real, behind the application and behind a server process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import IO, Any

import pytest
from browser import CHROMIUM
from serve.devtools import Chromium
from shared_models import CHECKOUT, FAMILIES, TINY

from hdiff.cli import run as hdiff

SENTENCE = "The old dog that barked all night slept in the warm kitchen."
SECONDS = 60


def ask(client: Any, path: str, **body: Any) -> dict[str, Any]:
    """What the server answers."""
    answer = client.post(f"/api/{path}", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def refusal(client: Any, path: str, **body: Any) -> str:
    """The sentence with which the server refuses."""
    answer = client.post(f"/api/{path}", json=body)
    assert answer.status_code == 400, answer.text
    return str(answer.json()["error"])


def hidden_at(found: dict[str, Any], number: int) -> set[int]:
    """Tokens that are not clean in a state of `corrupt`."""
    kinds = [
        ([state[1] for state in token["states"] if state[0] <= number] or ["clean"])[-1]
        for token in found["tokens"]
    ]
    return {place for place, kind in enumerate(kinds) if kind != "clean"}


@pytest.fixture(scope="session")
def family(prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The run folder of a family, trained when it is first asked for; do not change it."""
    folder = tmp_path_factory.mktemp("served")
    recipe = str(CHECKOUT / "recipes" / "e2e_control.yaml")

    @cache
    def train(name: str) -> Path:
        own = [*TINY, f"data.path={prepared_folder}", f"output={folder / name}", f"name={name}"]
        assert hdiff(["train", recipe, *own, *FAMILIES[name], "data.sequence_length=64", "-q"]) == 0, name
        return folder / name

    return train


@pytest.fixture(scope="session")
def served(family: Callable[[str], Path]) -> Path:
    """A run of masked spans, evaluated."""
    assert hdiff(["eval", str(family("spans")), "--steps", "1", "-q"]) == 0
    return family("spans")


@pytest.fixture(scope="session")
def exported(served: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run as a folder to share."""
    folder = tmp_path_factory.mktemp("exported") / "spans"
    assert hdiff(["export", str(served), str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def client_of() -> Callable[[Path], Any]:
    """A client of the application that serves a folder."""
    pytest.importorskip("starlette", reason="needs the extra serve")
    from starlette.testclient import TestClient

    from hdiff.serve.app import create_app
    from hdiff.serve.served_run import ServedRun

    @cache
    def make(folder: Path) -> Any:
        return TestClient(create_app(ServedRun.load(folder)), base_url="http://127.0.0.1:8000")

    return make


@pytest.fixture
def client(client_of: Callable[[Path], Any], served: Path) -> Any:
    """A client of the run of masked spans."""
    return client_of(served)


class ServerProcess:
    """`hdiff serve` in a process of its own; `address` is where its page is."""

    def __init__(self, *arguments: str, errors: Path) -> None:
        command = [sys.executable, "-m", "hdiff", "serve", *arguments]
        self.errors = errors
        with errors.open("w") as file:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=file, text=True, env={**os.environ}
            )
        output: IO[str] | None = self.process.stdout
        assert output is not None, "it is a pipe"
        self.address = output.readline().strip()
        assert re.fullmatch(r"http://\S+:\d+/", self.address), errors.read_text()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal and gives the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=SECONDS)


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers, and ends those that still run."""
    pytest.importorskip("uvicorn", reason="needs the extra serve")
    started: list[ServerProcess] = []

    def start(*arguments: str) -> ServerProcess:
        started.append(ServerProcess(*arguments, errors=tmp_path / f"stderr_{len(started)}"))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


@pytest.fixture(scope="module")
def address(served: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the run of masked spans for the tests of a file."""
    pytest.importorskip("uvicorn", reason="needs the extra serve")
    server = ServerProcess(str(served), "--port", "0", errors=tmp_path_factory.mktemp("server") / "stderr")
    yield server.address
    server.end()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """One browser for the tests of a file."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here; apt-get install chromium")
    chromium = Chromium(tmp_path_factory.mktemp("chromium"))
    yield chromium
    chromium.close()
