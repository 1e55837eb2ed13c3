"""Lists of containers: an owner's from the registry, everybody's from the upstreams."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from app.domain.containers import Container, kept_text
from app.domain.errors import ErrorCode, GatewayError
from app.domain.exchange import Exchange
from app.domain.identity import Principal
from app.domain.ports import ContainerQuery, ContainerStore, StoreUnavailable, UnknownCursor
from app.gateway.forward import Forwarder
from app.gateway.merge import MergedLists
from app.gateway.paging import Asked, page_text, unknown_cursor
from app.gateway.place import Placer
from app.gateway.relay import Reply
from app.registry.sweep import Sweeps
from quaymaster.operations import CONTAINERS_LIST

_INLINE_BYTES: Final = 64 * 1024
"""Documents of so much together are written where they stand (100 µs); more, in a worker thread."""


class Lists:
    """Answers `containers.list`.

    A principal that sees its own gets them from the registry, wherever they live, at a cost that does not depend on how
    many others there are; what the registry knows is renewed behind its back. One that sees all gets what the
    provider's deployments list.
    """

    def __init__(self, placer: Placer, forwarder: Forwarder, store: ContainerStore, sweeps: Sweeps) -> None:
        self._placer = placer
        self._forwarder = forwarder
        self._store = store
        self._sweeps = sweeps
        self._merged = MergedLists(forwarder)

    async def page(self, exchange: Exchange, principal: Principal, provider: str) -> Reply:
        """One page. Raises GatewayError."""
        if not principal.sees_all:
            return await self._own(exchange, principal, provider)
        named = self._placer.named(exchange, principal)
        behind = [named] if named is not None else self._placer.of_provider(provider)
        if len(behind) == 1:
            return await self._forwarder.forward(exchange, CONTAINERS_LIST, behind[0])
        return await self._merged.page(exchange, behind)

    async def _own(self, exchange: Exchange, principal: Principal, provider: str) -> Reply:
        asked = Asked.of(exchange.upstream_query)
        deployments: frozenset[str] | None = None
        if exchange.provider_is_named:
            deployments = frozenset(deployment.name for deployment in self._placer.of_provider(provider))
        if asked.after is not None and "\0" in asked.after:  # not every database takes that for a question
            raise unknown_cursor(asked.after)
        self._sweeps.start(deployments)
        try:
            containers, has_more = await self._store.page(
                ContainerQuery(
                    owner=principal.owner,
                    identities=principal.identities,
                    deployments=deployments,
                    name=kept_text(asked.name),
                    after=asked.after,
                    limit=asked.limit,
                    descending=asked.descending,
                )
            )
        except UnknownCursor:
            raise unknown_cursor(asked.after or "") from None
        except StoreUnavailable as outage:
            raise GatewayError(
                ErrorCode.STORE_UNAVAILABLE, "The registry of containers did not answer.", retry_after_seconds=1
            ) from outage
        now = datetime.now(UTC)
        if sum(len(container.document) for container in containers) <= _INLINE_BYTES:
            text = own_page(containers, has_more, now)
        else:
            text = await asyncio.to_thread(own_page, containers, has_more, now)
        return Reply.own(exchange, 200, text)


def own_page(containers: Sequence[Container], has_more: bool, now: datetime) -> bytes:
    """A page of the registry's containers, as JSON."""
    ids = [container.container_id for container in containers]
    return page_text([document_at(container, now) for container in containers], ids, has_more=has_more)


def document_at(container: Container, now: datetime) -> bytes:
    """A container as its upstream wrote it, brought up to what is known by now, and with `expires_at`."""
    document: dict[str, Any] = orjson.loads(container.document) if container.document else _essentials(container)
    status = container.status_at(now)
    if status and document.get("status") != status:
        document["status"] = status
    if container.last_active_at is not None:
        active_at = int(container.last_active_at.timestamp())
        said = document.get("last_active_at")
        if not isinstance(said, int | float) or said < active_at:
            document["last_active_at"] = active_at
    if "expires_at" not in document and container.expires_at is not None:
        document["expires_at"] = int(container.expires_at.timestamp())
    return orjson.dumps(document)


def _essentials(container: Container) -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": container.container_id,
        "object": "container",
        "name": container.name,
        "created_at": int(container.created_at.timestamp()),
        "status": container.status,
    }
    if container.expires_after_minutes is not None:
        document["expires_after"] = {"anchor": "last_active_at", "minutes": container.expires_after_minutes}
    if container.memory_limit is not None:
        document["memory_limit"] = container.memory_limit
    return document
