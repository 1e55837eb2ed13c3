"""Answers that do not arrive: who made a container and was cut off will ask again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

import structlog

from app.domain.containers import Creation
from app.domain.ports import CreationStore, StoreUnavailable
from app.tasks import Tasks

T = TypeVar("T")

_MARK_SECONDS: Final = 30.0

log = structlog.get_logger()


class Making:
    """A create that this process has to do with, and whether its client is still there."""

    __slots__ = ("begun_at", "creation", "lost", "over")

    def __init__(self, creation: Creation, begun_at: float | None = None) -> None:
        self.creation = creation
        self.begun_at = begun_at
        """In monotonic seconds, once its intent is committed."""
        self.lost = False
        self.over = asyncio.Event()


class Losses:
    """Writes down whose answer was lost, in the background. A retry waits until its own loss is written down."""

    def __init__(self, creations: CreationStore, tasks: Tasks) -> None:
        self._creations = creations
        self._tasks = tasks
        self._marks: dict[bytes, asyncio.Task[None]] = {}

    def lost(self, making: Making) -> None:
        """The client did not get the answer, or may not have got it."""
        making.lost = True
        if making.begun_at is not None:
            self._mark(making.creation)

    def begun(self, making: Making) -> None:
        """The intent is committed: from now on a loss can be written down, also one of before."""
        making.begun_at = time.monotonic()
        if making.lost:
            self._mark(making.creation)

    async def written_down(self, creation: Creation) -> None:
        """Wait until every loss of the same request that is known is in the database, or cannot be."""
        if (mark := self._marks.get(_request(creation))) is not None:
            await asyncio.wait([mark])

    def _mark(self, creation: Creation) -> None:
        request = _request(creation)

        async def mark(earlier: asyncio.Task[None] | None) -> None:
            try:
                if earlier is not None:
                    await asyncio.wait([earlier])
                await insist(lambda: self._creations.set_lost(creation.creation_id), _MARK_SECONDS)
            except StoreUnavailable:
                log.warning("loss_not_recorded", creation_id=creation.creation_id)
            finally:
                if self._marks.get(request) is asyncio.current_task():
                    del self._marks[request]

        self._marks[request] = self._tasks.spawn(mark(self._marks.get(request)), f"lost {creation.creation_id}")


def _request(creation: Creation) -> bytes:
    """What tells a request from others, whoever sends it."""
    return creation.key_id.encode() + creation.fingerprint


async def insist(act: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Do it, and again while the database does not answer. Raises StoreUnavailable when the time is over."""
    wait = 0.1
    try:
        async with asyncio.timeout(seconds):
            while True:
                with suppress(StoreUnavailable):
                    return await act()
                await asyncio.sleep(wait)
                wait = min(2 * wait, 1.0)
    except TimeoutError:
        raise StoreUnavailable("the database did not answer (out of time)") from None
