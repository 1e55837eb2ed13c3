"""What became of creates whose answer nobody saw: after a crash, a timeout, a broken connection.

One look at the list of each deployment concerned tells. Nothing is ever retrieved one by one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import structlog

from app.domain.containers import Answer, Container, Creation, Sighting
from app.domain.deployments import Deployment
from app.domain.errors import UpstreamFault
from app.domain.ports import ContainerStore, ContainerTaken, CreationStore
from app.registry.creations import SKEW, Match, match
from app.registry.upstream import list_page

RECONCILE_SECONDS: Final = 5.0
"""How often to look for creations that nobody answers for any more."""
LIST_SECONDS: Final = 30.0
"""How long all the pages of a deployment's list may take."""

_TURN: Final = "reconcile"
_TURN_SECONDS: Final = 0.8 * RECONCILE_SECONDS  # chores are not punctual to the millisecond

log = structlog.get_logger()


class Reconciler:
    """Ends creations whose lease ran out: gives their owners what was made, and closes those of which nothing came."""

    def __init__(
        self,
        deployments: Mapping[str, Deployment],
        containers: ContainerStore,
        creations: CreationStore,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._deployments = deployments
        self._containers = containers
        self._creations = creations
        self._clock = clock
        self._unreadable: set[str] = set()

    async def reconcile(self) -> None:
        """Do what there is to do; without anything, that costs one question. Raises StoreUnavailable."""
        if not await self._over() or not await self._containers.take_turn(_TURN, _TURN_SECONDS):
            return
        over = await self._over()  # as they are now: whoever had the turn before may have ended them
        names = {creation.deployment for creation in over}
        ends = await asyncio.gather(
            *(self._look(name, [it for it in over if it.deployment == name]) for name in sorted(names)),
            return_exceptions=True,
        )
        for end in ends:
            if end is not None:
                raise end

    async def _over(self) -> list[Creation]:
        """The creations that nobody answers for any more. Raises StoreUnavailable."""
        return [it for it in await self._creations.pending() if it.lease_until <= self._clock()]

    async def _look(self, name: str, over: Sequence[Creation]) -> None:
        """Match the creations of one deployment with its list; where that cannot be read they stay as they are."""
        deployment = self._deployments.get(name)
        try:
            if deployment is None:
                raise LookupError("it is not configured")
            async with asyncio.timeout(LIST_SECONDS):
                listed = await self._listed(deployment, over)
        except (UpstreamFault, TimeoutError, LookupError) as reason:
            if name not in self._unreadable:
                self._unreadable.add(name)
                log.warning("creations_not_reconciled", deployment=name, pending=len(over), reason=str(reason))
            return
        self._unreadable.discard(name)
        # The order matters. Whoever made what is in the list, and has not registered it when the last question is
        # answered, is pending when the first one is.
        pending = await self._creations.pending()
        registered = await self._containers.registered([sighting.container_id for sighting in listed])
        now = self._clock()
        possible = [it for it in pending if it.deployment == name or it.lease_until > now]
        unknown = [sighting for sighting in listed if sighting.container_id not in registered]
        await self._end(name, await asyncio.to_thread(match, possible, unknown, now))

    async def _listed(self, deployment: Deployment, over: Sequence[Creation]) -> list[Sighting]:
        """The containers that could be meant, by name and age. Raises UpstreamFault."""
        since = min(creation.started_at for creation in over) - SKEW
        names = {creation.name for creation in over}
        found: dict[str, Sighting] = {}
        after: str | None = None
        while True:
            page = await list_page(deployment, after=after)
            now = self._clock()
            sightings = [it for it in (Sighting.of(said, now) for said in page.items) if it is not None]
            found.update((it.container_id, it) for it in sightings if it.name in names and it.created_at >= since)
            before, after = after, page.items[-1]["id"] if page.items else None
            is_last = not page.has_more or after in (None, before)  # or it always shows the same page
            if is_last or any(sighting.created_at < since for sighting in sightings):
                return list(found.values())

    async def _end(self, deployment: str, found: Match) -> None:
        """Write down what became of each. Raises StoreUnavailable; what is left is done the next time."""
        for creation, sighting in found.made:
            container = Container.of(sighting, owner=creation.owner, deployment=deployment, key_id=creation.key_id)
            said = Answer(status=200, content_type="application/json", body=sighting.document)
            try:
                await self._creations.complete(creation.creation_id, container, creation.answer or said)
            except ContainerTaken:  # registered in this very moment
                continue
            log.info("container_reconciled", **_named(creation), container_id=sighting.container_id)
        for sighting in found.unclear:
            await self._containers.adopt(Container.of(sighting, owner=None, deployment=deployment))
            log.warning("container_unowned", container_id=sighting.container_id, deployment=deployment)
        for creation in found.closed:
            await self._creations.fail(creation.creation_id, creation.answer)
            log.info("creation_closed", **_named(creation))


def _named(creation: Creation) -> dict[str, str]:
    return {"creation_id": creation.creation_id, "owner": creation.owner, "deployment": creation.deployment}
