"""What answers on their way down tell about containers, written down behind them.

Taking an answer in is a few dictionary entries: whatever takes longer is done in `flush`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from math import inf
from typing import Any, Final, TypeVar

import orjson
import structlog

from app.domain.containers import Ending, Sighting
from app.domain.exchange import Exchange
from app.domain.ports import ContainerStore, Observations, SeenFile, StoreUnavailable
from quaymaster.operations import (
    CONTAINERS_DELETE,
    CONTAINERS_RETRIEVE,
    FILES_CREATE,
    FILES_DELETE,
    FILES_LIST,
    FILES_RETRIEVE,
    Operation,
)

K = TypeVar("K")
V = TypeVar("V")

FLUSH_SECONDS: Final = 1.0
"""How often to write down what waits."""
MAX_NOTES: Final = 10_000
"""How many notes of one kind wait at most; one more, and the oldest is dropped."""
MAX_TEXT_BYTES: Final = 64 * 1024
"""What an answer of more says is left to the next sweep."""
MAX_WAITING_BYTES: Final = 16 * 1024 * 1024
"""How much of what answers said may wait."""
USED_SECONDS: Final = 5.0
"""How often it is written down at most that a container is in use."""
SLOW_SECONDS: Final = 1.0
"""A list of files that took longer may lack what was made meanwhile."""
_BATCH: Final = 1000
"""How many notes of one kind are written in one transaction."""
_INLINE_NOTES: Final = 20
"""More than that are prepared in a worker thread."""

_FileKey = tuple[str, str]
"""Container id and file id."""


@dataclass(slots=True)
class _Waiting:
    """Notes that are to be written down, by container or file. Times are unix seconds."""

    active: dict[str, float] = field(default_factory=dict)
    said: dict[str, tuple[dict[str, Any], float]] = field(default_factory=dict)
    files: dict[_FileKey, tuple[object, float]] = field(default_factory=dict)
    """How many bytes they have, as it was said, or `_REMOVED`."""
    listed: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    """Lists of files, as they were answered, and when they were asked for."""
    absent: dict[str, float] = field(default_factory=dict)
    """Containers that their upstream says it does not know."""
    ended: dict[str, tuple[Ending, datetime]] = field(default_factory=dict)
    text_bytes: int = 0


class Notes:
    """Collects what answers tell, and writes it down together. `clock` gives unix seconds.

    Of each container the last word counts. While the database is down notes wait on, as many as there is room for.
    """

    def __init__(self, store: ContainerStore, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._waiting = _Waiting()
        self._dropped = 0
        self._written: dict[str, tuple[float, object]] = {}  # when a container was, and with which status
        self._log = structlog.get_logger()

    def answered(self, exchange: Exchange, operation: Operation, status: int) -> None:
        """Take in an upstream's answer about a registered container."""
        container_id = exchange.container_id
        if container_id is None:
            return
        if status < 300:
            now, waiting, said = self._clock(), self._waiting, exchange.response_object
            self._note(waiting.active, container_id, now)
            if operation is CONTAINERS_RETRIEVE:
                if said is not None and self._has_room(exchange):
                    self._note(waiting.said, container_id, (said, now))
            elif operation is FILES_LIST:
                if _is_first_page(exchange.upstream_query) and self._has_room(exchange):
                    self._list(container_id, exchange, now)
            elif exchange.file_id is not None:
                if operation is FILES_DELETE:
                    self._note(waiting.files, (container_id, exchange.file_id), (_REMOVED, now))
                elif operation in _FILE_OPERATIONS and said is not None:
                    self._note(waiting.files, (container_id, exchange.file_id), (said.get("bytes"), now))
        elif status == 404 and operation in _CONTAINER_OPERATIONS:
            self._note(self._waiting.absent, container_id, self._clock())

    def ended(self, container_id: str, ending: Ending, at: datetime) -> None:
        """Write down later that a deletion was asked for, and the container is no more."""
        self._note(self._waiting.ended, container_id, (ending, at))

    async def flush(self, *, final: bool = False) -> None:
        """Write down what waits. Raises StoreUnavailable; then all of it waits on.

        That a container is in use is written every 5 seconds, or where this is the last time, when what cannot be
        written is lost, and logged.
        """
        if self._dropped:
            self._log.warning("notes_dropped", notes=self._dropped)
            self._dropped = 0
        taken, self._waiting = self._waiting, _Waiting()
        now = self._clock()
        try:
            if not final:
                self._postpone(taken, now)
            await self._write(taken)
        except StoreUnavailable as outage:
            if final:
                self._log.warning(
                    "notes_lost", containers=len(taken.active | taken.absent | taken.ended), trouble=str(outage)
                )
                return
            self._put_back(taken)
            raise
        except BaseException:
            self._put_back(taken)
            raise
        for container_id in taken.active:
            self._written[container_id] = (now, _status(taken.said.get(container_id)))

    # Taking in.

    def _note(self, notes: dict[K, V], key: K, note: V) -> None:
        notes[key] = note
        if len(notes) > MAX_NOTES:
            del notes[next(iter(notes))]
            self._dropped += 1

    def _has_room(self, exchange: Exchange) -> bool:
        text, waiting = exchange.response_json, self._waiting
        if text is None or len(text) > MAX_TEXT_BYTES:
            return False
        size = waiting.text_bytes + len(text)
        if size > MAX_WAITING_BYTES:
            return False
        waiting.text_bytes = size
        return True

    def _list(self, container_id: str, exchange: Exchange, now: float) -> None:
        if exchange.response_json is not None and now - exchange.started_at_unix <= SLOW_SECONDS:
            self._note(self._waiting.listed, container_id, (exchange.response_json, exchange.started_at_unix))

    # Writing down.

    def _postpone(self, taken: _Waiting, now: float) -> None:
        """Let wait on what was written a moment ago and has only been used since."""
        self._written = {name: it for name, it in self._written.items() if now - it[0] < USED_SECONDS}
        for container_id, (_, status) in self._written.items():
            if container_id in taken.active and _status(taken.said.get(container_id)) in (None, status):
                self._waiting.active[container_id] = taken.active.pop(container_id)
                if container_id in taken.said:
                    self._waiting.said[container_id] = taken.said.pop(container_id)

    def _put_back(self, taken: _Waiting) -> None:
        newer = self._waiting
        newer.active = self._merged(taken.active, newer.active)
        newer.said = self._merged(taken.said, newer.said)
        newer.files = self._merged(taken.files, newer.files)
        newer.listed = self._merged(taken.listed, newer.listed)
        newer.absent = self._merged(taken.absent, newer.absent)
        newer.ended = self._merged(taken.ended, newer.ended)
        newer.text_bytes += taken.text_bytes

    def _merged(self, older: dict[K, V], newer: dict[K, V]) -> dict[K, V]:
        merged = {key: note for key, note in older.items() if key not in newer} | newer
        excess = len(merged) - MAX_NOTES
        if excess > 0:
            self._dropped += excess
            merged = dict(islice(merged.items(), excess, None))
        return merged

    async def _write(self, taken: _Waiting) -> None:
        small = len(taken.said) + len(taken.files) + len(taken.listed) <= _INLINE_NOTES
        for seen in _observations(taken) if small else await asyncio.to_thread(lambda: list(_observations(taken))):
            await self._store.observe(seen)
        for container_id, at in taken.absent.items():
            if at > max(taken.active.get(container_id, -inf), self._waiting.active.get(container_id, -inf)):
                await self._end_absent(container_id, at)
        for container_id, (ending, ended_at) in taken.ended.items():
            await self._store.end(container_id, ending, ended_at, asked=True)

    async def _end_absent(self, container_id: str, at: float) -> None:
        """An upstream does not know a container: it is gone, unless it merely expired, of which lists go on to tell."""
        record = await self._store.record(container_id)
        if record is not None and record.container.status_at(_time(at)) not in _OVER:
            await self._store.end(container_id, Ending.GONE, _time(at))


def _observations(taken: _Waiting) -> Iterator[Observations]:
    """Everything that was seen, a batch at a time."""
    said = (Sighting.of(said, _time(at)) for name, (said, at) in taken.said.items() if said.get("id") == name)
    sightings = [sighting for sighting in said if sighting is not None]
    active = [(container_id, _time(at)) for container_id, at in taken.active.items()]
    answered = {container_id: _files_in(container_id, text) for container_id, (text, _) in taken.listed.items()}
    listings = {container_id: files for container_id, files in answered.items() if files is not None}
    seen: list[SeenFile] = []
    removed: list[_FileKey] = []
    for key, (size, at) in taken.files.items():
        listing = listings.get(key[0])
        if listing is not None:  # what came after the question is put on top of the answer
            if at >= taken.listed[key[0]][1]:
                listing.pop(key[1], None) if size is _REMOVED else listing.update({key[1]: _file(*key, size)})
        elif size is _REMOVED:
            removed.append(key)
        else:
            seen.append(_file(*key, size))
    listed = [(name, list(files.values())) for name, files in listings.items()]
    most = max(len(sightings), len(active), len(seen), len(removed), len(listed))
    for start in range(0, most, _BATCH):
        batch = slice(start, start + _BATCH)
        yield Observations(
            sightings=sightings[batch],
            active=dict(active[batch]),
            files_seen=seen[batch],
            files_removed=removed[batch],
            files_listed=dict(listed[batch]),
        )


def _files_in(container_id: str, text: bytes) -> dict[str, SeenFile] | None:
    """Every file of a container, by id; None where a list does not say that it is complete."""
    try:
        page = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    data = page.get("data") if isinstance(page, dict) else None
    if not isinstance(data, list) or page.get("has_more") is not False:
        return None
    items = [item for item in data if isinstance(item, dict) and isinstance(item.get("id"), str)]
    return {item["id"]: _file(container_id, item["id"], item.get("bytes")) for item in items}


def _file(container_id: str, file_id: str, size: object) -> SeenFile:
    return SeenFile(container_id=container_id, file_id=file_id, bytes=size if type(size) is int else None)


def _status(said: tuple[dict[str, Any], float] | None) -> object:
    return None if said is None else said[0].get("status")


def _time(unix_seconds: float) -> datetime:
    return datetime.fromtimestamp(unix_seconds, UTC)


def _is_first_page(query: str) -> bool:
    return "after" not in query and "%" not in query


_REMOVED: Final = object()
_OVER: Final = frozenset({"expired", *(ending.value for ending in Ending)})
_CONTAINER_OPERATIONS: Final = frozenset({CONTAINERS_RETRIEVE, CONTAINERS_DELETE})
_FILE_OPERATIONS: Final = frozenset({FILES_CREATE, FILES_RETRIEVE})
