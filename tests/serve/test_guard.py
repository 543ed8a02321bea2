"""Who may ask, and what the answers allow: names, sites, types of content, turns."""

from __future__ import annotations

import re

import anyio
import pytest
from serve.conftest import SENTENCE

ASK = {"text": SENTENCE}


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "localhost:8000", "LOCALHOST", "[::1]:8000", "192.168.1.7:80"]
)
def test_addresses_and_localhost_are_answered(client, host):
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "a@localhost",
        "",
        "[::1",
    ],
)
def test_foreign_names_are_refused_against_dns_rebinding(client, host):
    for answer in (
        client.get("/", headers={"host": host}),
        client.post("/api/corrupt", json=ASK, headers={"host": host}),
    ):
        assert answer.status_code == 400
        assert "another address" in answer.json()["error"]
        assert SENTENCE not in answer.text


def test_a_name_that_was_asked_for_is_answered(served):
    from starlette.testclient import TestClient

    from hdiff.serve.app import create_app
    from hdiff.serve.served_run import ServedRun

    client = TestClient(
        create_app(ServedRun.load(served), names=["Desk.local"]), base_url="http://desk.local:80"
    )
    assert client.get("/").status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:8000", "http://127.0.0.1:8001"]
)
def test_other_sites_are_refused(client, origin):
    answer = client.post("/api/corrupt", json=ASK, headers={"origin": origin})
    assert answer.status_code == 403
    assert (
        client.post("/api/corrupt", json=ASK, headers={"origin": "http://127.0.0.1:8000"}).status_code == 200
    )


def test_no_answer_may_be_read_by_other_sites(client):
    preflight = client.options("/api/corrupt", headers={"access-control-request-method": "POST"})
    for answer in (preflight, client.get("/"), client.post("/api/corrupt", json=ASK)):
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert preflight.status_code == 405


def test_forms_of_other_sites_cannot_ask(client):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a"):
        answer = client.post("/api/corrupt", content=b'{"text": "a"}', headers={"content-type": kind})
        assert answer.status_code == 415


def test_every_answer_has_a_policy_without_other_sources(client):
    for answer in (
        client.get("/"),
        client.get("/static/serve.js"),
        client.get("/nowhere"),
        client.get("/", headers={"host": "evil.example"}),
        client.post("/api/corrupt", json=ASK),
    ):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert not re.search(r"https?:|\*", policy)
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_only_files_of_the_page_are_given_out(client):
    for name in (
        "serve.html",
        "report.html",
        "../__init__.py",
        "..%2f__init__.py",
        "%2e%2e/cli.py",
    ):
        assert client.get(f"/static/{name}").status_code == 404, name


def test_the_page_names_no_other_address(client):
    page = client.get("/").text
    found = [page, *(client.get(path).text for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', page))]
    assert len(found) == 7
    addresses = {address for text in found for address in re.findall(r"https?://[^\s\"'`)]+", text)}
    assert addresses <= {"http://www.w3.org/2000/svg"}


def test_what_comes_from_the_folder_is_escaped(served, tmp_path):
    import shutil

    from starlette.testclient import TestClient

    from hdiff.serve.app import create_app
    from hdiff.serve.served_run import ServedRun

    folder = shutil.copytree(served, tmp_path / "run")
    recipe = (folder / "recipe.yaml").read_text(encoding="utf-8")
    (folder / "recipe.yaml").write_text(
        re.sub(
            r"^name: .*$", "name: '</title><script>alert(1)</script>{{ 7*7 }}'", recipe, flags=re.MULTILINE
        )
    )
    page = TestClient(create_app(ServedRun.load(folder)), base_url="http://localhost").get("/").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;{{ 7*7 }}" in page


def test_one_model_call_at_a_time_and_the_others_wait():
    from hdiff.serve.app import Turn

    running: list[int] = []
    most: list[int] = []

    def call() -> dict[str, int]:
        import time

        running.append(1)
        most.append(len(running))
        time.sleep(0.05)
        running.pop()
        return {}

    async def all_at_once() -> list[float]:
        turn, waited = Turn(), []

        async def one() -> None:
            waited.append((await turn.take(call))["waited"])

        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(one)
        return waited

    waited = anyio.run(all_at_once)
    assert max(most) == 1
    assert len(most) == 4
    assert max(waited) > 0.1


def test_too_many_waiting_are_sent_away():
    from starlette.exceptions import HTTPException

    from hdiff.serve.app import MOST_WAITING, Turn

    refused: list[str] = []

    def call() -> dict[str, int]:
        import time

        time.sleep(0.01)
        return {}

    async def all_at_once() -> None:
        turn = Turn()

        async def one() -> None:
            try:
                await turn.take(call)
            except HTTPException as error:
                refused.append(error.detail)

        async with anyio.create_task_group() as group:
            for _ in range(MOST_WAITING + 3):
                group.start_soon(one)

    anyio.run(all_at_once)
    assert len(refused) == 2
    assert "try again" in refused[0]


def test_a_failure_of_ours_is_one_sentence(served, monkeypatch):
    from starlette.testclient import TestClient

    import hdiff.serve.app as application
    from hdiff.serve.served_run import ServedRun

    def broken(request, run):
        raise RuntimeError("secret details")

    monkeypatch.setattr(application, "corrupt_sentence", broken)
    app = application.create_app(ServedRun.load(served))
    client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
    answer = client.post("/api/corrupt", json=ASK)
    assert answer.status_code == 500
    assert "internal error, RuntimeError" in answer.json()["error"]
    assert "secret" not in answer.text
