"""create_app: the page and its three questions, corrupt, restore and control, one model call at a time."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from hdiff.errors import UserError
from hdiff.serve.page import assets, page
from hdiff.serve.requests import MOST_BYTES, Body, ControlRequest, CorruptRequest, RestoreRequest, parse_body
from hdiff.serve.restoration import control, restore
from hdiff.serve.security import Guard
from hdiff.serve.served_run import ServedRun
from hdiff.serve.states import corrupt_sentence

MOST_WAITING = 16
"""Requests that may wait for the model."""

Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(run: ServedRun, *, names: Collection[str] = ()) -> Starlette:
    """The web application of one model; `names` are asked for besides `localhost` and addresses."""
    html = page(run)
    files = assets()
    turn = Turn()

    async def index(request: Request) -> Response:
        return HTMLResponse(html)

    async def asset(request: Request) -> Response:
        entry = files.get(request.path_params["name"])
        if entry is None:
            raise HTTPException(404)
        content, media_type = entry
        return Response(content, media_type=media_type)

    def question(kind: type[Body], answer: Callable[[Body, ServedRun], dict[str, Any]]) -> Endpoint:
        async def ask(request: Request) -> Response:
            body = parse_body(kind, await _content(request))
            return JSONResponse(await turn.take(partial(answer, body, run)))

        return ask

    return Starlette(
        routes=[
            Route("/", index),
            Route("/static/{name}", asset),
            Route("/api/corrupt", question(CorruptRequest, corrupt_sentence), methods=["POST"]),
            Route("/api/restore", question(RestoreRequest, restore), methods=["POST"]),
            Route("/api/control", question(ControlRequest, control), methods=["POST"]),
        ],
        middleware=[Middleware(Guard, names=names)],
        exception_handlers={UserError: _refused, HTTPException: _http_error, Exception: _internal_error},
    )


class Turn:
    """The model is used by one request at a time, the others wait."""

    def __init__(self) -> None:
        self._lock = anyio.Lock()

    async def take(self, call: Callable[[], dict[str, Any]]) -> Mapping[str, Any]:
        """Waits for the model and calls it in a thread of its own.

        Args:
            call: Uses the model.

        Returns:
            What it gives, with `waited` (seconds).

        Raises:
            HTTPException: If too many are waiting.
        """
        if self._lock.statistics().tasks_waiting >= MOST_WAITING:
            raise HTTPException(503, f"{MOST_WAITING} requests wait for the model; try again in a moment")
        begun = time.perf_counter()
        async with self._lock:
            waited = time.perf_counter() - begun
            # A server that is told to end does not wait for the model.
            answer = await anyio.to_thread.run_sync(call, abandon_on_cancel=True)
        return {**answer, "waited": waited}


async def _content(request: Request) -> bytes:
    # A form of another site can send text without asking first; JSON it cannot.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "send JSON, with content-type: application/json")
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MOST_BYTES:
            raise HTTPException(413, f"the request has more than {MOST_BYTES:,} bytes; shorten the text")
    return bytes(content)


async def _refused(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": " ".join(str(error).split())}, status_code=400)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for it"
    return JSONResponse({"error": error.detail}, status_code=error.status_code, headers=error.headers)


async def _internal_error(request: Request, error: Exception) -> Response:
    sentence = f"internal error, {type(error).__name__}; the terminal of hdiff serve shows more"
    return JSONResponse({"error": sentence}, status_code=500)
