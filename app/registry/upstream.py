"""What the gateway asks of upstreams by itself: their list pages, and a deletion. Never a single container."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from app.domain.deployments import Deployment
from app.domain.errors import FaultKind, UpstreamFault
from app.domain.ids import encode_id
from app.domain.ports import Piece, UpstreamReply
from quaymaster.operations import CONTAINERS_DELETE, CONTAINERS_LIST, Operation

PAGE_ITEMS: Final = 100
MAX_PAGE_BYTES: Final = 16 * 1024 * 1024
_INLINE_BYTES: Final = 64 * 1024
"""A page up to here is parsed where it stands; a larger one, in a worker thread."""


@dataclass(frozen=True, slots=True)
class ListedPage:
    """One page of an upstream's list: its container objects as they were said, and whether more follow."""

    items: list[dict[str, Any]]
    has_more: bool


async def list_page(
    deployment: Deployment, *, after: str | None = None, limit: int = PAGE_ITEMS, descending: bool = True
) -> ListedPage:
    """One page of everything that lives in a deployment.

    Raises UpstreamFault where there is no answer, and where the answer is no list.
    """
    query = {"limit": str(limit), "order": "desc" if descending else "asc"}
    if after is not None:
        query["after"] = after
    reply = await _ask(deployment, CONTAINERS_LIST, CONTAINERS_LIST.path, urlencode(query))
    try:
        text = await _whole(reply)
    finally:
        await reply.aclose()
    if reply.status != 200:
        raise UpstreamFault(FaultKind.PROTOCOL, f"its list answered {reply.status}", request_sent=True)
    return _page(text, limit) if len(text) <= _INLINE_BYTES else await asyncio.to_thread(_page, text, limit)


def _page(text: bytes, limit: int) -> ListedPage:
    try:
        page = orjson.loads(text)
    except orjson.JSONDecodeError:
        page = None
    data = page.get("data") if isinstance(page, dict) else None
    if not isinstance(data, list):
        raise UpstreamFault(FaultKind.PROTOCOL, "its list is not one", request_sent=True)
    items = [item for item in data if isinstance(item, dict) and isinstance(item.get("id"), str)]
    has_more = page.get("has_more")
    return ListedPage(items, has_more if isinstance(has_more, bool) else len(data) >= limit)


async def delete(deployment: Deployment, container_id: str) -> int:
    """Delete a container; the status that was answered. Raises UpstreamFault."""
    path = CONTAINERS_DELETE.path.replace("{container_id}", encode_id(container_id))
    reply = await _ask(deployment, CONTAINERS_DELETE, path)
    try:
        await _whole(reply)
    finally:
        await reply.aclose()
    return reply.status


async def _ask(deployment: Deployment, operation: Operation, path: str, query: str = "") -> UpstreamReply:
    headers = [(b"accept", b"application/json"), *deployment.constant_headers]
    return await deployment.upstream.send(operation.method.encode(), deployment.target(path, query), headers)


async def _whole(reply: UpstreamReply) -> bytes:
    pieces: list[Piece] = []
    size = 0
    while piece := await reply.read():
        pieces.append(piece)
        size += len(piece)
        if size > MAX_PAGE_BYTES:
            raise UpstreamFault(FaultKind.PROTOCOL, "its answer is too large", request_sent=True)
    return b"".join(pieces)
