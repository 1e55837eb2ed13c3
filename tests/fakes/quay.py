"""An upstream that makes containers and lists them, and may be held back, or made to fail, when it has made one.

quay = Quay()
async with ScriptedUpstream(quay) as upstream: ...
assert len(quay.made) == 1
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

from tests.fakes.scripted import Peer, Received, reply

JSON = (b"content-type", b"application/json")
Instead = Callable[[Peer, bytes], Awaitable[None]]
"""What to do with the answer to a create instead of sending it."""


class Quay:
    """A script for `ScriptedUpstream`, and what it has made, oldest first.

    `creating` is set when a create has come in, and `may_answer` holds answers back. Each create takes the next of
    `instead`; where there is none, it is answered. `lists` counts how often it was asked for a list; `before_list` is
    done first.
    """

    def __init__(self) -> None:
        self.made: list[dict[str, Any]] = []
        self.creating = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.instead: deque[Instead] = deque()
        self.list_status = 200
        self.before_list: Callable[[], Awaitable[None]] | None = None
        self.lists = 0

    async def __call__(self, peer: Peer) -> None:
        while True:
            request = await peer.request()
            if request.method == b"POST":
                await self._create(peer, request)
            else:
                self.lists += 1
                if self.before_list is not None:
                    await self.before_list()
                await peer.send(reply(self.list_status, self._page(request), JSON))

    def make(self, name: str, created_at: float | None = None, **fields: Any) -> dict[str, Any]:
        """Make a container, whoever wants it."""
        now = int(time.time() if created_at is None else created_at)
        container = {
            "id": f"cntr_{uuid4().hex}{uuid4().hex[:16]}",
            "object": "container",
            "name": name,
            "created_at": now,
            "status": "running",
            "last_active_at": now,
            "expires_after": {"anchor": "last_active_at", "minutes": 20},
            "memory_limit": "1g",
            **fields,
        }
        self.made.append(container)
        return container

    async def _create(self, peer: Peer, request: Received) -> None:
        asked = json.loads(request.body)
        made = self.make(asked["name"], memory_limit=asked.get("memory_limit", "1g"))
        instead = self.instead.popleft() if self.instead else None
        self.creating.set()
        await self.may_answer.wait()
        answer = reply(200, json.dumps(made).encode(), JSON)
        await (peer.send(answer) if instead is None else instead(peer, answer))

    def _page(self, request: Received) -> bytes:
        query = parse_qs(request.target.decode().partition("?")[2])
        newest = sorted(self.made, key=lambda it: (it["created_at"], it["id"]), reverse=True)
        start = next((at + 1 for at, it in enumerate(newest) if [it["id"]] == query.get("after")), 0)
        limit = int(query.get("limit", ["20"])[0])
        return json.dumps(
            {"object": "list", "data": newest[start : start + limit], "has_more": start + limit < len(newest)}
        ).encode()


def answering(status: int, body: bytes = b'{"error":{"message":"no"}}') -> Instead:
    """Answer this instead."""

    async def instead(peer: Peer, _answer: bytes) -> None:
        await peer.send(reply(status, body, JSON))

    return instead


async def resetting(peer: Peer, _answer: bytes) -> None:
    """Break the connection instead."""
    peer.reset()


async def keeping_silent(peer: Peer, _answer: bytes) -> None:
    """Say nothing until the client leaves."""
    await peer.gone()
