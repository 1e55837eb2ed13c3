"""An upstream of which only the list and the deletion of containers matter: it has those that a test puts there.

    async with Yard() as yard:
        yard.put("cntr_1", created_at=1_785_585_600)
        deployment = Deployment(..., upstream=WireUpstream(origin=yard.origin, ...))
    assert yard.asked == ["GET /v1/containers", "DELETE /v1/containers/cntr_1"]

Every other request is a 500, so that none goes unnoticed.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote

from tests.fakes.scripted import Peer, Received, ScriptedUpstream, reply

JSON = (b"content-type", b"application/json")


class Yard:
    """See the module. `statuses` has what a deletion answers instead of 200, `list_status` the same for the list."""

    def __init__(self) -> None:
        self.containers: dict[str, dict[str, Any]] = {}
        self.statuses: dict[str, int] = {}
        self.list_status = 200
        self.pages_forever = False
        self.asked: list[str] = []
        self.before_answer: Callable[[str], Awaitable[None]] | None = None
        self._upstream = ScriptedUpstream(self._serve)

    async def __aenter__(self) -> Yard:
        await self._upstream.__aenter__()
        self.origin = self._upstream.origin
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._upstream.__aexit__(kind, error, trace)

    def put(self, container_id: str, created_at: float, **fields: Any) -> None:
        """A container, running unless it is said otherwise."""
        self.containers[container_id] = {
            "id": container_id,
            "object": "container",
            "name": "crate",
            "created_at": int(created_at),
            "status": "running",
            "last_active_at": int(created_at),
        } | fields

    @property
    def deletions(self) -> list[str]:
        """The ids that were to be deleted, in the order they came."""
        return [unquote(line.rpartition("/")[2]) for line in self.asked if line.startswith("DELETE")]

    async def _serve(self, peer: Peer) -> None:
        while True:
            request = await peer.request()
            line = f"{request.method.decode()} {request.target.decode().partition('?')[0]}"
            self.asked.append(line)
            if self.before_answer is not None:
                await self.before_answer(line)
            await peer.send(self._answer(request))

    def _answer(self, request: Received) -> bytes:
        path, _, query = request.target.decode().partition("?")
        if request.method == b"GET" and path == "/v1/containers":
            if self.list_status != 200:
                return reply(self.list_status, b"{}", JSON)
            return reply(200, json.dumps(self._page(parse_qs(query))).encode(), JSON)
        container_id = unquote(path.removeprefix("/v1/containers/"))
        if request.method != b"DELETE" or "/" in container_id:
            return reply(500, b"{}", JSON)
        status = self.statuses.get(container_id, 200 if container_id in self.containers else 404)
        if status == 200:
            del self.containers[container_id]
        return reply(status, b"{}", JSON)

    def _page(self, query: dict[str, list[str]]) -> dict[str, Any]:
        newest_first = sorted(self.containers.values(), key=lambda each: each["created_at"], reverse=True)
        ids = [each["id"] for each in newest_first]
        begin = 0 if self.pages_forever or "after" not in query else ids.index(query["after"][0]) + 1
        end = begin + int(query["limit"][0])
        return {"object": "list", "data": newest_first[begin:end], "has_more": self.pages_forever or end < len(ids)}
