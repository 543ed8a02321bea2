"""The command in a process of its own: addresses, signals, and errors before anything is served."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress

import pytest
from serve.conftest import SENTENCE
from shared_models import change_config

from hdiff.cli import run as hdiff


def post(address, path, **body):
    request = urllib.request.Request(
        f"{address}api/{path}", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_and_ends_cleanly_on_signals(start_server, served, number):
    server = start_server(str(served), "--port", "0")
    assert server.address.startswith("http://127.0.0.1:")
    assert post(server.address, "corrupt", text=SENTENCE)["tokens"]
    assert server.end(number) == 0
    said = server.errors.read_text()
    assert said.splitlines()[1:] == ["Ctrl-C ends it", "ended"]
    assert said.startswith("loading ")


def test_it_ends_while_the_model_is_busy(start_server, served):
    server = start_server(str(served), "--port", "0")
    body = {"length": 64, "steps": 64, "samples": 8}
    asking = threading.Thread(target=lambda: [_ignored(server.address, body) for _ in range(20)], daemon=True)
    asking.start()
    time.sleep(0.5)
    assert server.end() == 0


def _ignored(address, body):
    with suppress(OSError):
        post(address, "restore", **body)


def test_an_exported_folder_is_served(start_server, exported):
    server = start_server(str(exported), "--port", "0", "--host", "localhost")
    assert server.address.startswith("http://localhost:")
    assert post(server.address, "restore", length=8)["samples"][0]["text"]


def test_an_exported_folder_with_a_class_of_others_is_served_if_it_is_named(
    start_server, exported, tmp_path, capsys
):
    kind = "hdiff.corruption:TokenMasking"
    folder = shutil.copytree(exported, tmp_path / "copied")
    change_config(folder, corruption={"kind": kind})
    assert hdiff(["serve", str(folder), "--port", "0"]) == 2
    assert f"on the command line with --component {kind}" in capsys.readouterr().err
    server = start_server(str(folder), "--port", "0", "--component", kind)
    assert post(server.address, "restore", length=8)["samples"][0]["text"]


def test_other_hosts_are_warned_of(start_server, served):
    server = start_server(str(served), "--port", "0", "--host", "0.0.0.0")
    assert server.address.startswith("http://127.0.0.1:")
    assert post(server.address, "corrupt", text="file")["tokens"]
    assert server.end() == 0
    assert "warning: other machines may reach 0.0.0.0" in server.errors.read_text()


def test_a_taken_port_is_said_before_the_model_is_loaded(capsys, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert hdiff(["serve", str(tmp_path), "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert f"127.0.0.1 port {port}" in said
    assert "--port 0" in said


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["no/such/run", "--port", "0"], "no folder at 'no/such/run'"),
        (["README.md", "--port", "70000"], "from 0 (any free port) to 65535"),
        (["README.md", "--host", "no such host"], "is no name or address"),
    ],
)
def test_mistakes_are_said_in_a_sentence(capsys, arguments, part):
    assert hdiff(["serve", *arguments]) == 2
    said = capsys.readouterr().err
    assert part in said
    assert len(said.splitlines()) == 1


def test_a_folder_that_is_no_run_is_refused(capsys, tmp_path):
    assert hdiff(["serve", str(tmp_path), "--port", "0"]) == 2
    assert "is not a run folder" in capsys.readouterr().err


def in_a_fresh_interpreter(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_without_the_extra_the_command_says_what_to_install():
    code = (
        "import sys; sys.modules['uvicorn'] = None; sys.modules['starlette'] = None\n"
        "from hdiff.cli import run; sys.exit(run(['serve', 'runs/none']))"
    )
    done = in_a_fresh_interpreter(code)
    assert done.returncode == 2, done.stderr
    assert "pip install 'starlette" in done.stderr


@pytest.mark.parametrize(
    "code",
    [
        "import hdiff, hdiff.cli, hdiff.serve",
        "from hdiff.cli import run; run(['--help']); run(['serve', '--help'])",
    ],
)
def test_hdiff_and_its_help_load_no_web_server(code):
    heavy = ("starlette", "uvicorn", "anyio", "torch")
    done = in_a_fresh_interpreter(f"{code}\nimport sys; print([n for n in {heavy} if n in sys.modules])")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
