"""An upstream that keeps containers and lists them as OpenAI does: in order of creation, a page at a time.

It is an `Upstream` itself, for tests that need no socket, and a script for `ScriptedUpstream`, for those that do:

    listing = Listing()
    listing.add(30, name="crate")
    async with ScriptedUpstream(listing.serve) as upstream:
        ...
    assert listing.asked == ["GET /v1/containers?limit=20"]
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl, unquote
from uuid import uuid4

from app.domain.deployments import Deployment
from app.domain.ports import OutgoingBody, RawHeaders
from tests.fakes.scripted import Peer, reply

NOW = 1_800_000_000
"""When containers are made, in unix seconds, unless a test says otherwise."""
JSON: RawHeaders = [(b"content-type", b"application/json")]


class Answered:
    """An `UpstreamReply` that is all there."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.headers = [*JSON]
        self.closed = False
        self._body = body

    async def read(self) -> bytes:
        body, self._body = self._body, b""
        return body

    def at_hand(self) -> bytes:
        self.closed = True
        body, self._body = self._body, b""
        return body

    async def aclose(self) -> None:
        self.closed = True


class Listing:
    """The containers of one deployment, by id. `clock` is what it takes for the time, in unix seconds."""

    def __init__(self, clock: Callable[[], float] = lambda: NOW) -> None:
        self.containers: dict[str, dict[str, Any]] = {}
        self.hidden: set[str] = set()
        """Containers that exist, and that lists do not show."""
        self.made_seconds_ago = 0
        """How old containers are that requests make."""
        self.asked: list[str] = []
        self.was_asked = asyncio.Event()
        self.page: Callable[[dict[str, str]], tuple[int, bytes]] = self._page
        """What a list answers, by its query: status and body."""
        self.failing: Callable[[str], bytes | None] = lambda target: None
        """A body to fail with, by the request's target; None to go on."""
        self.released = asyncio.Event()
        self.released.set()
        self.replies: list[Answered] = []
        self._clock = clock
        self._order: list[dict[str, Any]] | None = None

    def add(self, count: int = 1, **fields: Any) -> list[str]:
        """Make containers; their ids, in the order they were made in."""
        return [self._make(fields) for _ in range(count)]

    def remove(self, container_ids: Iterable[str]) -> None:
        """Delete containers, as somebody else would."""
        for container_id in container_ids:
            del self.containers[container_id]
        self._order = None

    def deployment(self, name: str) -> Deployment:
        """A deployment that reaches it without a socket."""
        return Deployment(name, "openai", self, "/v1", "", [(b"authorization", b"Bearer sk-upstream")])

    async def send(self, method: bytes, target: bytes, headers: RawHeaders, body: OutgoingBody = None) -> Answered:
        """As an `Upstream`."""
        sent = body if isinstance(body, bytes) else b""
        answered = Answered(*await self._answer(method.decode(), target.decode(), sent))
        self.replies.append(answered)
        return answered

    async def aclose(self) -> None:
        """As an `Upstream`."""

    async def serve(self, peer: Peer) -> None:
        """As a script."""
        while True:
            request = await peer.request()
            status, body = await self._answer(request.method.decode(), request.target.decode(), bytes(request.body))
            await peer.send(reply(status, body, *JSON))

    async def _answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        self.asked.append(f"{method} {target}")
        self.was_asked.set()
        await self.released.wait()
        if (failure := self.failing(target)) is not None:
            return 500, failure
        path, _, query = target.partition("?")
        segments = [unquote(segment) for segment in path.split("/")[3:]]
        if not segments:
            return self.page(dict(parse_qsl(query))) if method == "GET" else self._created(body)
        found = self.containers.get(segments[0])
        if found is None:
            return 404, _error(f"Container with id '{segments[0]}' not found.")
        if segments[1:]:
            file = {"id": f"cfile_{uuid4().hex}", "object": "container.file", "container_id": found["id"], "bytes": 4}
            return 200, json.dumps(file).encode()
        if method == "DELETE":
            self.remove([found["id"]])
            return 200, json.dumps({"id": found["id"], "object": "container.deleted", "deleted": True}).encode()
        found["last_active_at"] = int(self._clock())
        return 200, json.dumps(found).encode()

    def _created(self, body: bytes) -> tuple[int, bytes]:
        made_at = int(self._clock()) - self.made_seconds_ago
        made = self._make({"name": json.loads(body)["name"], "created_at": made_at, "last_active_at": made_at})
        return 200, json.dumps(self.containers[made]).encode()

    def _page(self, query: dict[str, str]) -> tuple[int, bytes]:
        if self._order is None:  # Python's sort keeps the order of those made in the same second
            self._order = sorted(self.containers.values(), key=lambda said: said["created_at"])
        listed = [said for said in self._order if said["id"] not in self.hidden]
        listed = [said for said in listed if "name" not in query or said["name"] == query["name"]]
        if query.get("order", "desc") == "desc":
            listed.reverse()
        start = 0
        if "after" in query:
            ids = [said["id"] for said in listed]
            if query["after"] not in ids:
                return 400, _error(f"Invalid 'after': no item with id '{query['after']}'.")
            start = ids.index(query["after"]) + 1
        limit = int(query.get("limit", "20"))
        items = listed[start : start + limit]
        page = {
            "object": "list",
            "data": items,
            "first_id": items[0]["id"] if items else None,
            "last_id": items[-1]["id"] if items else None,
            "has_more": len(listed) > start + limit,
        }
        return 200, json.dumps(page).encode()

    def _make(self, fields: dict[str, Any]) -> str:
        now = int(self._clock())
        said = {
            "id": f"cntr_{uuid4().hex}",
            "object": "container",
            "name": "crate",
            "created_at": now,
            "status": "running",
            "last_active_at": fields.get("created_at", now),
            "expires_after": {"anchor": "last_active_at", "minutes": 20},
            "memory_limit": "1g",
        } | fields
        self.containers[said["id"]] = said
        self._order = None
        return str(said["id"])


def _error(message: str) -> bytes:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return json.dumps({"error": error}).encode()
