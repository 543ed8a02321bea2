"""A model goes to a hub and comes back: huggingface_hub itself, against a small hub on this machine."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from hdiff.errors import CheckpointError
from hdiff.sharing import PretrainedModel

pytest.importorskip("huggingface_hub", reason="repositories need huggingface_hub")

COMMIT = hashlib.sha1(b"the only commit").hexdigest()
PUSH_AND_LOAD = """
import sys
from pathlib import Path
from hdiff.sharing import PretrainedModel
folder, cache = sys.argv[1:]
address = PretrainedModel.from_pretrained(folder).push_to_hub("user/model", private=True)
loaded = PretrainedModel.from_pretrained("user/model", cache_dir=Path(cache))
print(address, loaded.description.name, loaded.tokenizer.sha256)
from huggingface_hub import constants
constants.HF_HUB_OFFLINE = True  # what was loaded once is found without a hub
again = PretrainedModel.from_pretrained("user/model", cache_dir=Path(cache))
assert again.description == loaded.description
"""


class Hub(ThreadingHTTPServer):
    """What the Hub answers to an upload of small files and to a download of a snapshot."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.files: dict[str, bytes] = {}
        self.created: list[dict[str, Any]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/repos/create":
            self.server.created.append(json.loads(body))
            self.answer(json.dumps({"url": f"{self.server.address}/user/model"}).encode())
        elif self.path == "/api/validate-yaml":
            self.answer(b'{"errors": [], "warnings": []}')
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            files = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
            self.answer(json.dumps({"files": files}).encode())
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"{self.server.address}/user/model/commit/{COMMIT}"
            self.answer(json.dumps({"commitUrl": url, "commitOid": COMMIT, "success": True}).encode())
        else:
            self.answer(b"{}", 404)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/user/model/tree/"):
            files = self.server.files.items()
            tree = [{"type": "file", "oid": COMMIT, "size": len(data), "path": name} for name, data in files]
            self.answer(json.dumps(tree).encode())
        elif path.startswith("/api/models/user/model"):
            siblings = [{"rfilename": name} for name in self.server.files]
            info = {"id": "user/model", "sha": COMMIT, "siblings": siblings, "private": True, "tags": []}
            info |= {"downloads": 0, "likes": 0}
            self.answer(json.dumps(info).encode())
        elif "/resolve/" in path and (name := path.rpartition("/")[2]) in self.server.files:
            content = self.server.files[name]
            etag = f'"{hashlib.sha1(content).hexdigest()}"'
            self.answer(content, ETag=etag, X_Repo_Commit=COMMIT)
        else:
            self.answer(b'{"error": "not found"}', 404, X_Error_Code="RepoNotFound")

    do_HEAD = do_GET


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_model_is_pushed_and_loaded_by_its_name(hub: Hub, exported: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "HF_ENDPOINT": hub.address, "HF_TOKEN": "hf_test", "HF_HOME": str(tmp_path)}
    for name in ("HF_HUB_OFFLINE", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        environment.pop(name, None)
    hub.files["pytorch_model.bin"] = b"a pickle that nobody may fetch"
    done = subprocess.run(
        [sys.executable, "-c", PUSH_AND_LOAD, str(exported), str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        timeout=120,
        env={**environment, "NO_PROXY": "127.0.0.1"},
    )
    assert done.returncode == 0, done.stderr
    expected = PretrainedModel.from_pretrained(exported)
    address, name, tokenizer = done.stdout.split()
    assert address == f"{hub.address}/user/model/commit/{COMMIT}"
    assert (name, tokenizer) == (expected.description.name, expected.tokenizer.sha256)
    assert "private" in (
        hub.created[0].get("visibility"),
        *[name for name, on in hub.created[0].items() if on],
    )
    for file in ("model.safetensors", "config.json", "tokenizer.json"):
        assert hub.files[file] == (exported / file).read_bytes()
    fetched = {path.name for path in (tmp_path / "cache").rglob("*")}
    assert "model.safetensors" in fetched
    assert "pytorch_model.bin" not in fetched
    (snapshot,) = (tmp_path / "cache").glob("models--user--model/snapshots/*")
    assert (snapshot / "model.safetensors").is_symlink(), "the cache links to blobs beside it"
    assert PretrainedModel.from_pretrained(snapshot).description == expected.description


@pytest.mark.parametrize("name", ["user/model/more", "../up", "", "user/mo del"])
def test_malformed_names_are_not_pushed(name: str, exported: Path) -> None:
    with pytest.raises(CheckpointError, match="is no name of a repository; give user/model"):
        PretrainedModel.from_pretrained(exported).push_to_hub(name)


def test_a_folder_has_no_revision(exported: Path) -> None:
    with pytest.raises(CheckpointError, match="leave revision out"):
        PretrainedModel.from_pretrained(exported, revision="main")


def test_without_a_network_the_error_says_so(exported: Path, tmp_path: Path) -> None:
    """Nothing listens at the address: the name cannot be found, the upload not be made."""
    code = (
        "import sys; from hdiff.cli import run; from hdiff.errors import CheckpointError\n"
        "from hdiff.sharing import PretrainedModel\n"
        "try:\n    PretrainedModel.from_pretrained('user/model')\n"
        "except CheckpointError as error:\n    print(error)\n"
        "try:\n    PretrainedModel.from_pretrained(sys.argv[1]).push_to_hub('user/model')\n"
        "except CheckpointError as error:\n    print(error)\n"
    )
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    environment = {name: value for name, value in environment.items() if "proxy" not in name.lower()}
    done = subprocess.run(
        [sys.executable, "-c", code, str(exported)],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    down, up = done.stdout.splitlines()
    assert "check the name and the network" in down
    assert "hf auth login" in up
