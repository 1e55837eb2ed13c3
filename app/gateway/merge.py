"""One list out of several: the pages of a provider's deployments, merged in order of creation."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from app.domain.deployments import Deployment
from app.domain.errors import ErrorCode, GatewayError
from app.domain.exchange import Exchange
from app.gateway import jsontext
from app.gateway.forward import Forwarder
from app.gateway.paging import MAX_ITEMS, Asked, page_text, unknown_cursor
from app.gateway.relay import Reply
from quaymaster.operations import CONTAINERS_LIST

_REMEMBERED: Final = 1000
"""Of how many pages it is remembered where they ended."""
_INLINE_BYTES: Final = 64 * 1024

_Key = tuple[str, bool, tuple[tuple[str, str], ...], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Item:
    """A container in a deployment's list: its JSON as it came, with what is added to every list."""

    container_id: str
    created_at: float
    text: bytes


@dataclass(frozen=True, slots=True)
class _End:
    """Where a page ended."""

    created_at: float
    """When its last container was made."""
    taken: frozenset[str]
    """Those that were made in the same second and shown already."""
    shown: tuple[str | None, ...]
    """The last one that was shown of each deployment."""


@dataclass(slots=True)
class _Source:
    """One deployment's list, as far as it has been read."""

    deployment: Deployment
    place: int
    shown: str | None = None
    """The id of the last container that was taken from it."""
    read: str | None = None
    """The id of the last container that was read."""
    has_more: bool = True
    items: deque[_Item] = field(default_factory=deque)

    def take(self) -> _Item:
        item = self.items.popleft()
        self.shown = item.container_id
        return item


class _Refused(Exception):
    """A deployment answered with an error, which becomes the answer to the whole list."""

    def __init__(self, part: Exchange, reply: Reply) -> None:
        super().__init__(reply.status)
        self.part = part
        self.reply = reply


class MergedLists:
    """Answers `containers.list` for several deployments as if they were one.

    A page that follows one which this process has served goes on where that ended in each deployment. Any other `after`
    is looked for from the beginning. Where one deployment fails, so does the list: it must not look whole.
    """

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder
        self._ends: OrderedDict[_Key, _End] = OrderedDict()

    async def page(self, exchange: Exchange, deployments: Sequence[Deployment]) -> Reply:
        """One page of all of them. Raises GatewayError."""
        asked = Asked.of(exchange.upstream_query)
        end = None if asked.after is None else self._ends.get(_key(asked, asked.after, deployments))
        try:
            try:
                return await self._page(exchange, asked, deployments, end)
            except _Refused as refused:
                if end is None or refused.reply.status not in (400, 404):
                    raise
                # What was shown last there is no more; the others may still know where the page ended.
                return await self._page(exchange, asked, deployments, None)
        except _Refused as refused:
            exchange.deployment = refused.part.deployment
            exchange.upstream_request_id = refused.part.upstream_request_id
            exchange.response_json = refused.part.response_json
            return refused.reply

    async def _page(
        self, exchange: Exchange, asked: Asked, deployments: Sequence[Deployment], end: _End | None
    ) -> Reply:
        merge = _Merge(self._forwarder, exchange, asked, deployments, end)
        if asked.after is not None and end is None:
            await merge.skip_to(asked.after)
        items = await merge.next_items(asked.limit)
        ids = [item.container_id for item in items]
        if items:
            self._ends[_key(asked, ids[-1], deployments)] = merge.end(items[-1])
            if len(self._ends) > _REMEMBERED:
                self._ends.popitem(last=False)
        return Reply.own(exchange, 200, page_text([item.text for item in items], ids, has_more=merge.has_more))


class _Merge:
    """The lists of several deployments, read as far as is needed."""

    def __init__(
        self,
        forwarder: Forwarder,
        exchange: Exchange,
        asked: Asked,
        deployments: Sequence[Deployment],
        end: _End | None,
    ) -> None:
        self._forwarder = forwarder
        self._exchange = exchange
        self._asked = asked
        self._end = end
        self._page_items = asked.limit if asked.after is None or end is not None else MAX_ITEMS
        shown = end.shown if end is not None else (None,) * len(deployments)
        self._sources = [
            _Source(deployment, place, last, last)
            for place, (deployment, last) in enumerate(zip(deployments, shown, strict=True))
        ]
        self._taken: set[str] = set() if end is None else set(end.taken)
        self._taken_at = None if end is None else end.created_at

    @property
    def has_more(self) -> bool:
        return any(source.items or source.has_more for source in self._sources)

    def end(self, last: _Item) -> _End:
        return _End(last.created_at, frozenset(self._taken), tuple(source.shown for source in self._sources))

    async def skip_to(self, after: str) -> None:
        """Read until this container has come by. Raises GatewayError where it is in none of the lists."""
        while item := await self._next():
            if item.container_id == after:
                return
        raise unknown_cursor(after)

    async def next_items(self, count: int) -> list[_Item]:
        """The next ones, each once also where two deployments list it."""
        found: list[_Item] = []
        while len(found) < count and (item := await self._next()) is not None:
            found.append(item)
        return found

    async def _next(self) -> _Item | None:
        empty = [source for source in self._sources if not source.items and source.has_more]
        if empty:
            await _together(self._fill(source) for source in empty)
        full = [source for source in self._sources if source.items]
        if not full:
            return None
        sign = -1 if self._asked.descending else 1
        item = min(full, key=lambda source: (sign * source.items[0].created_at, -sign * source.place)).take()
        if item.created_at != self._taken_at:  # the same container was made at the same time, wherever it is listed
            self._taken.clear()
            self._taken_at = item.created_at
        self._taken.add(item.container_id)
        for source in full:
            self._drop_taken(source)
        return item

    def _drop_taken(self, source: _Source) -> None:
        while source.items and source.items[0].container_id in self._taken:
            source.take()

    async def _fill(self, source: _Source) -> None:
        """Read pages of a deployment's list until there is a container that was not taken yet, or no more."""
        while not source.items and source.has_more:
            items, source.has_more = await self._ask(source)
            if items and items[-1].container_id == source.read:
                raise _broken(source.deployment, "its list does not go on")
            source.has_more = source.has_more and bool(items)
            source.items.extend(items)
            source.read = items[-1].container_id if items else source.read
            self._drop_late(source)
            self._drop_taken(source)

    def _drop_late(self, source: _Source) -> None:
        """Newest first, what was made since the page before belongs to the pages before."""
        end = self._end
        if end is not None and self._asked.descending and source.shown is None:
            while source.items and source.items[0].created_at > end.created_at:
                source.items.popleft()

    async def _ask(self, source: _Source) -> tuple[list[_Item], bool]:
        """A page of a deployment's list, and whether more follow. Raises _Refused and GatewayError."""
        query = self._asked.page(source.read, self._page_items)
        part = replace(self._exchange, upstream_query=query, attempts=[], response_json=None)
        try:
            reply = await self._forwarder.forward(part, CONTAINERS_LIST, source.deployment)
        finally:
            self._exchange.attempts += part.attempts
        await reply.aclose()
        text = reply.whole
        if reply.status != 200 and text is not None:
            raise _Refused(part, reply)
        if text is None:
            raise _broken(source.deployment, "a page of its list is too large")
        try:
            return _read(text) if len(text) <= _INLINE_BYTES else await asyncio.to_thread(_read, text)
        except (ValueError, LookupError, TypeError, RecursionError):
            raise _broken(source.deployment, "its list is not one") from None


def _read(text: bytes) -> tuple[list[_Item], bool]:
    page = orjson.loads(text)
    if not isinstance(page["data"], list):
        raise TypeError("its data is no list")
    items: list[_Item] = []
    for said, it in jsontext.list_items(text):
        if isinstance(said, dict) and isinstance(said.get("id"), str):
            items.append(_Item(said["id"], _created_at(said, items), it))
    return items, page["has_more"] is True


def _created_at(said: dict[str, Any], before: Sequence[_Item]) -> float:
    at = said.get("created_at")
    if isinstance(at, int | float):
        return float(at)
    return before[-1].created_at if before else 0.0


def _key(asked: Asked, last: str, deployments: Sequence[Deployment]) -> _Key:
    return last, asked.descending, asked.rest, tuple(deployment.name for deployment in deployments)


def _broken(deployment: Deployment, how: str) -> GatewayError:
    return GatewayError(
        ErrorCode.UPSTREAM_PROTOCOL_ERROR, f"The deployment '{deployment.name}' cannot be listed: {how}."
    )


async def _together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all of it at the same time; where one fails, stop the others and raise what it raised."""
    tasks = [asyncio.create_task(it) for it in work]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
