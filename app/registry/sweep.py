"""Keeping the registry fresh: what it knows of each deployment's containers, renewed from that deployment's own list.

A list that is asked for starts the sweep and does not wait for it. A sweep reads list pages, and no container by
itself: a retrieve would keep it alive, and billed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any, Final

import structlog

from app.domain.containers import Sighting
from app.domain.deployments import Deployment
from app.domain.errors import UpstreamFault
from app.domain.ports import ContainerStore, Observations, StoreUnavailable
from app.registry.upstream import list_page
from app.tasks import Tasks

LAG_SECONDS: Final = 60.0
"""A container that an upstream's list lacks may be too new for it: until then that says nothing."""
LOOK_BACK_SECONDS: Final = 24 * 3600.0
"""How long ago the first sweep of a process supposes the one before it to have been."""
MAX_PAGES: Final = 1000
PAGE_SECONDS: Final = 30.0
"""The longest that one page may take."""
_ASK_AGAIN_SECONDS: Final = 1.0
"""How soon to look again whether it is this process's turn, where another had it last."""
_INLINE_ITEMS: Final = 20
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _State:
    """What this process knows of the sweeps of one deployment."""

    deployment: Deployment
    next_at: float = -inf
    """When to sweep again, in the clock's seconds."""
    running: bool = False
    failing: bool = False
    swept_at: datetime | None = None


class Sweeps:
    """The sweeps of every deployment: at most one every `refresh_seconds`, shared by all who ask, in all processes.

    `clock` gives unix seconds.
    """

    def __init__(
        self,
        store: ContainerStore,
        deployments: Iterable[Deployment],
        tasks: Tasks,
        *,
        refresh_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._states = {deployment.name: _State(deployment) for deployment in deployments}
        self._tasks = tasks
        self._refresh_seconds = refresh_seconds
        self._clock = clock
        self._log = structlog.get_logger()

    def start(self, names: Collection[str] | None = None) -> None:
        """Begin in the background what is due of these deployments; None for all. Never waits."""
        now = self._clock()
        for name, state in self._states.items():
            if now >= state.next_at and not state.running and (names is None or name in names):
                state.running = True
                self._tasks.spawn(self._take_turn(state), f"sweep of {name}")

    async def _take_turn(self, state: _State) -> None:
        name = state.deployment.name
        trouble: str | None = None
        try:
            if await self._store.take_turn(f"sweep:{name}", self._refresh_seconds):
                state.next_at = self._clock() + self._refresh_seconds
                await self._sweep(state)
            else:
                state.next_at = self._clock() + min(_ASK_AGAIN_SECONDS, self._refresh_seconds)
        except UpstreamFault as fault:
            trouble = fault.detail
        except TimeoutError:
            trouble = "its list took too long"
        except StoreUnavailable as outage:
            trouble = str(outage)
            state.next_at = self._clock() + self._refresh_seconds
        finally:
            state.running = False
        if trouble is not None and not state.failing:  # of failures in a row, the first
            self._log.warning("sweep_failed", deployment=name, trouble=trouble)
        state.failing = trouble is not None

    async def _sweep(self, state: _State) -> None:
        """Walk a deployment's list, newest first, as far as anything there may be alive, and take in what it says.

        What was alive when it was swept the last time may be so still, also where it should have expired by what passed
        through here: others may use it at the upstream itself. Raises UpstreamFault and StoreUnavailable; then nothing
        is ended.
        """
        name = state.deployment.name
        began_at = datetime.fromtimestamp(self._clock(), UTC)
        since = state.swept_at or began_at - timedelta(seconds=LOOK_BACK_SECONDS)
        oldest = await self._store.oldest_alive(name, since)
        if oldest is not None:
            reached = await self._walk(state.deployment, oldest)
            settled_at = began_at - timedelta(seconds=LAG_SECONDS)
            if reached <= settled_at:
                await self._store.end_unseen(name, seen_before=began_at, created=(reached, settled_at))
        state.swept_at = began_at

    async def _walk(self, deployment: Deployment, oldest: datetime) -> datetime:
        """Take in every page back to `oldest`. Returns since when everything that is listed has been seen."""
        cursors: set[str] = set()
        after: str | None = None
        previous: datetime | None = None
        in_order = True
        for _ in range(MAX_PAGES):
            asked_at = datetime.fromtimestamp(self._clock(), UTC)  # whatever happens from here on is news to the page
            async with asyncio.timeout(PAGE_SECONDS):
                page = await list_page(deployment, after=after)
            sightings = await _sightings(page.items, asked_at)
            await self._store.observe(Observations(sightings=sightings))
            for sighting in sightings:
                in_order = in_order and (previous is None or sighting.created_at <= previous)
                previous = sighting.created_at
            if not page.has_more:
                return _BEGINNING
            if not sightings or (in_order and previous is not None and previous < oldest):
                break
            after = sightings[-1].container_id
            if after in cursors:  # it would go round for ever
                break
            cursors.add(after)
        # Of the second that the last one was made in, more may follow; and of an unordered list, anything.
        return (
            previous + timedelta(seconds=1) if in_order and previous is not None else datetime.max.replace(tzinfo=UTC)
        )


async def _sightings(items: list[dict[str, Any]], seen_at: datetime) -> list[Sighting]:
    def read() -> list[Sighting]:
        found = (Sighting.of(item, seen_at) for item in items)
        return [sighting for sighting in found if sighting is not None]

    return read() if len(items) <= _INLINE_ITEMS else await asyncio.to_thread(read)
