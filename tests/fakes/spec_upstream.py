"""An upstream that serves OpenAI's published specification of the containers API, and remembers every request.

Each of the nine operations answers an object that the specification's schemas allow, with the ids that were asked for,
whatever they are: `container_id`, `limit=0` and `minutes: 0` are as good as real values. A path that the specification
does not have is a 404. A body that cannot be what the operation takes is a 400 that says why, so that one which was
damaged on its way here does not pass unseen.

    with spec_upstream() as upstream:
        client = OpenAI(base_url=f"{upstream.origin}/v1", api_key="any")
        client.containers.create(name="name")
        assert upstream.requests[0].target == b"/v1/containers"
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from tests.fakes.multipart import form_parts
from tests.fakes.scripted import Peer, Received, ScriptedUpstream, reply

CONTENT = b"name,berth\nEver Given,7\n"
"""What every file of this upstream holds."""


@dataclass
class SpecUpstream:
    """The running fake: its origin, and every request it had, in the order they came."""

    origin: str
    requests: list[Received]


@contextmanager
def spec_upstream() -> Iterator[SpecUpstream]:
    """Serve until the context ends, in an event loop of its own, in a thread of its own."""
    started: Future[tuple[SpecUpstream, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        over = asyncio.Event()
        async with ScriptedUpstream(_serve) as upstream:
            running = SpecUpstream(upstream.origin, upstream.requests)
            started.set_result((running, asyncio.get_running_loop(), over))
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    upstream, loop, over = started.result(10)
    try:
        yield upstream
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()


async def _serve(peer: Peer) -> None:
    while True:
        await peer.send(answer(await peer.request()))


def answer(request: Received) -> bytes:
    """The response that the specification promises for a request."""
    path = request.target.decode().partition("?")[0]
    for pattern, handlers in _ROUTES.items():
        if (found := pattern.fullmatch(path)) is not None:
            if (handler := handlers.get(request.method)) is None:
                return _error(405, "Method not allowed.")
            return handler(request, *(unquote(segment) for segment in found.groups()))
    return _error(404, f"Invalid URL ({request.method.decode()} {path})")


def _create(request: Received) -> bytes:
    body = _object(request)
    if body is None or not isinstance(body.get("name"), str):
        return _error(400, "The body must be a JSON object with a name.")
    return _json(_container(f"cntr_{secrets.token_hex(24)}") | {"name": body["name"]})


def _create_file(request: Received, container_id: str) -> bytes:
    content_type = request.header(b"content-type") or b""
    if content_type.startswith(b"multipart/"):
        try:
            form_parts(content_type, bytes(request.body))
        except ValueError as error:
            return _error(400, f"The form cannot be read: {error}.")
    elif _object(request) is None:
        return _error(400, "The body is neither a form nor a JSON object.")
    return _json(_file(container_id, "cfile_1"))


def _container(container_id: str) -> dict[str, Any]:
    return {
        "id": container_id,
        "object": "container",
        "created_at": 1_747_857_508,
        "status": "running",
        "last_active_at": 1_747_857_508,
        "expires_after": {"anchor": "last_active_at", "minutes": 20},
        "memory_limit": "1g",
        "network_policy": {"type": "disabled"},
        "name": "My Container",
    }


def _file(container_id: str, file_id: str) -> dict[str, Any]:
    return {
        "id": file_id,
        "object": "container.file",
        "created_at": 1_747_848_842,
        "bytes": len(CONTENT),
        "container_id": container_id,
        "path": "/mnt/data/88e12fa445d32636f190a0b33daed6cb-berths.csv",
        "source": "user",
    }


def _page(item: dict[str, Any]) -> bytes:
    return _json({"object": "list", "data": [item], "first_id": item["id"], "last_id": item["id"], "has_more": False})


def _deleted(identifier: str, kind: str) -> bytes:
    return _json({"id": identifier, "object": f"{kind}.deleted", "deleted": True})


def _object(request: Received) -> dict[str, Any] | None:
    """The JSON object in a body, None where there is none."""
    try:
        value = json.loads(bytes(request.body))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _json(value: dict[str, Any]) -> bytes:
    return reply(200, json.dumps(value).encode(), (b"content-type", b"application/json"))


def _error(status: int, message: str) -> bytes:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return reply(status, json.dumps({"error": error}).encode(), (b"content-type", b"application/json"))


Handler = Callable[..., bytes]

_ROUTES: dict[re.Pattern[str], dict[bytes, Handler]] = {
    re.compile(f"(?:/openai)?/v1{path}".replace("ID", "([^/]+)")): handlers
    for path, handlers in (
        ("/containers", {b"POST": _create, b"GET": lambda _: _page(_container("cntr_1"))}),
        (
            "/containers/ID",
            {b"GET": lambda _, id: _json(_container(id)), b"DELETE": lambda _, id: _deleted(id, "container")},
        ),
        ("/containers/ID/files", {b"POST": _create_file, b"GET": lambda _, id: _page(_file(id, "cfile_1"))}),
        (
            "/containers/ID/files/ID",
            {
                b"GET": lambda _, container_id, file_id: _json(_file(container_id, file_id)),
                b"DELETE": lambda _, container_id, file_id: _deleted(file_id, "container.file"),
            },
        ),
        (
            "/containers/ID/files/ID/content",
            {b"GET": lambda _, container_id, file_id: reply(200, CONTENT, (b"content-type", b"application/binary"))},
        ),
    )
}
"""The nine operations; `/v1` is OpenAI's base path, `/openai/v1` is Azure's."""
