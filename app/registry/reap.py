"""Deleting containers that nobody needs any more: on an operator's word, or on a schedule."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

import structlog

from app.config.registry import ReapSettings
from app.domain.containers import Container, Ending
from app.domain.deployments import Deployment
from app.domain.errors import FaultKind, UpstreamFault
from app.domain.identity import MASTER_KEY_ID
from app.domain.ports import ContainerStore, CreationStore, Observations, StoreUnavailable
from app.domain.stores import AuditLog, Deed, KeyStore
from app.registry.condemned import Condemned, Criteria, condemn, why_revoked
from app.registry.listing import listed
from app.registry.notes import Notes
from app.registry.ownership import Ownerships
from app.registry.upstream import delete

LIMIT: Final = 1000
"""How many containers are deleted at one go, unless less is asked for."""
AT_ONCE: Final = 4
"""How many deletions are under way at a time."""
DELETE_SECONDS: Final = 30.0
MAX_FAILURES: Final = 5
"""After so many, a deployment is left in peace until the next time."""
LOOK_SECONDS: Final = 30.0
"""How often a process looks whether the schedule has come round, at most."""
SCHEDULED: Final = Deed("gateway", "container.reap")
_PAGE: Final = 200
_CLOCKS_DIFFER: Final = timedelta(minutes=2)
"""How far an upstream's clock may be behind."""


class Outcome(StrEnum):
    """What became of a condemned container."""

    WOULD_DELETE = "would_delete"
    """It was only asked for, not done."""
    DELETED = "deleted"
    GONE = "gone"
    """Its upstream did not know it any more."""
    KEPT = "kept"
    """It changed meanwhile: used, adopted, or deleted by somebody else."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaped:
    """A condemned container, what became of it, and of a failure the reason in words that hold no address."""

    condemned: Condemned
    outcome: Outcome
    trouble: str | None = None


@dataclass(slots=True)
class Harvest:
    """What a reaping came to: containers newest first, whether more fit, and deployments whose list did not answer."""

    reaped: list[Reaped]
    has_more: bool
    unlisted: dict[str, str]
    """By the deployment's name, why."""

    def count(self, outcome: Outcome) -> int:
        """How many containers came to this."""
        return sum(each.outcome is outcome for each in self.reaped)


@dataclass(slots=True)
class _Round:
    """What one reaping has found out so far."""

    wanted: Criteria
    now: datetime
    limit: int
    deed: Deed
    revoked: dict[str, str] = field(default_factory=dict)
    """What became of keys, by their id."""
    asked: set[str] = field(default_factory=lambda: {MASTER_KEY_ID})
    unlisted: dict[str, str] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)


class Reaper:
    """Finds and deletes. `deployments` are by name, `clock` gives unix seconds."""

    def __init__(
        self,
        store: ContainerStore,
        creations: CreationStore,
        keys: KeyStore,
        *,
        deployments: Mapping[str, Deployment],
        ownerships: Ownerships,
        notes: Notes,
        audit: AuditLog,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._creations = creations
        self._keys = keys
        self._deployments = deployments
        self._ownerships = ownerships
        self._notes = notes
        self._audit = audit
        self._clock = clock
        self._log = structlog.get_logger()

    async def reap(
        self, wanted: Criteria, *, dry_run: bool = True, limit: int = LIMIT, deed: Deed = SCHEDULED
    ) -> Harvest:
        """Delete at most `limit` running containers that fit, or only say which those are.

        Each that is to be deleted is written down in the audit log before its upstream is asked.

        What was said of idleness is asked of the upstreams' own lists first: others may use a container there. Raises
        StoreUnavailable before anything was deleted; later troubles are in the harvest. Raises ValueError for criteria
        that say nothing or contradict themselves.
        """
        if not wanted.says_something or wanted.contradicts_itself:
            raise ValueError("these criteria would delete everything, or nothing")
        round_ = _Round(wanted, datetime.fromtimestamp(self._clock(), UTC), limit, deed)
        condemned = await (self._unknown(round_) if wanted.unknown else self._registered(round_))
        chosen = condemned[:limit]
        if dry_run:
            reaped = [Reaped(condemned=each, outcome=Outcome.WOULD_DELETE) for each in chosen]
        else:
            reaped = await self._delete_all(chosen, round_)
        return Harvest(reaped, len(condemned) > limit, round_.unlisted)

    async def scheduled(self, schedule: ReapSettings) -> None:
        """Reap by each criterion of the schedule, where it is this process's turn, and log what came of it.

        Raises StoreUnavailable.
        """
        if schedule.every_seconds is None or not await self._store.take_turn("reap", schedule.every_seconds):
            return
        dry_run = schedule.dry_run
        harvests = [await self.reap(wanted, dry_run=dry_run) for wanted in _each_criterion(schedule)]
        for each in (each for harvest in harvests if dry_run for each in harvest.reaped):
            self._tell(each)
        counts = Counter(each.outcome for harvest in harvests for each in harvest.reaped)
        self._log.info(
            "containers_reaped",
            dry_run=dry_run,
            **{outcome.value: counts[outcome] for outcome in Outcome},
            has_more=any(harvest.has_more for harvest in harvests),
            unlisted=sorted({name for harvest in harvests for name in harvest.unlisted}),
        )

    # Finding.

    async def _registered(self, round_: _Round) -> list[Condemned]:
        """Those that the registry knows, one more than the limit where there are more."""
        found = await self._look_up(round_)
        if found and round_.wanted.idle_for is not None:
            await self._freshen([each.container for each in found], round_)
            found = [each for each in await self._look_up(round_) if each.container.deployment not in round_.unlisted]
        return found

    async def _look_up(self, round_: _Round) -> list[Condemned]:
        found: dict[str, Condemned] = {}
        offset = 0
        while len(found) <= round_.limit:
            records, _ = await self._store.records(
                round_.wanted.as_filter(round_.now), now=round_.now, offset=offset, limit=_PAGE
            )
            for record in records:
                judged = await self._judge(record.container, round_)
                if judged is not None:
                    found[judged.container.container_id] = judged
            offset += len(records)
            if len(records) < _PAGE:
                break
        return list(found.values())[: round_.limit + 1]

    async def _unknown(self, round_: _Round) -> list[Condemned]:
        """Those that only the deployments' lists know, one more than the limit where there are more."""
        name = round_.wanted.deployment
        asked = [each for each in self._deployments.values() if name in {None, each.name}]
        pages = await asyncio.gather(*(self._unknown_in(deployment, round_) for deployment in asked))
        found = {each.container.container_id: each for page in pages for each in page}
        newest_first = sorted(found.values(), key=lambda each: each.container.created_at, reverse=True)
        return newest_first[: round_.limit + 1]

    async def _unknown_in(self, deployment: Deployment, round_: _Round) -> list[Condemned]:
        found: list[Condemned] = []
        pages = listed(deployment)
        try:
            async for page in pages:
                seen = [Container.of(sighting, owner=None, deployment=deployment.name) for sighting in page]
                judged = [one for each in seen if (one := condemn(each, round_.wanted, round_.now)) is not None]
                found += await self._never_registered(judged, deployment)
                if len(found) > round_.limit:
                    break
        except UpstreamFault as fault:
            round_.unlisted[deployment.name] = fault.detail
        finally:
            await pages.aclose()
        return found

    async def _never_registered(self, judged: list[Condemned], deployment: Deployment) -> list[Condemned]:
        """Less those that are registered, or may be any moment: made since the oldest create that is still under way.

        Creations are read before registrations, so that one which is completed in between is not missed by both.
        """
        if not judged:
            return []
        pending = await self._creations.pending(deployment.name)
        oldest = min((creation.started_at for creation in pending), default=None)
        if oldest is not None:
            judged = [each for each in judged if each.container.created_at < oldest - _CLOCKS_DIFFER]
        known = await self._store.registered([each.container.container_id for each in judged])
        return [each for each in judged if each.container.container_id not in known]

    async def _freshen(self, containers: Sequence[Container], round_: _Round) -> None:
        """Take in what the lists say, back to the oldest of these containers.

        Where a deployment is not configured any more, nothing can be known.
        """
        oldest: dict[str, datetime] = {}
        for each in containers:
            oldest[each.deployment] = min(each.created_at, oldest.get(each.deployment, each.created_at))

        async def take_in(name: str) -> None:
            if name not in self._deployments:
                round_.unlisted[name] = "it is not configured here"
                return
            pages = listed(self._deployments[name])
            try:
                async for page in pages:
                    await self._store.observe(Observations(sightings=page))
                    if page and page[-1].created_at < oldest[name]:
                        break
            except UpstreamFault as fault:
                round_.unlisted[name] = fault.detail
            finally:
                await pages.aclose()

        await asyncio.gather(*map(take_in, oldest))

    async def _judge(self, container: Container, round_: _Round) -> Condemned | None:
        key_id = container.key_id
        if round_.wanted.revoked_keys and key_id is not None and key_id not in round_.asked:
            became = why_revoked(await self._keys.holder(key_id), round_.now)
            round_.asked.add(key_id)
            if became is not None:
                round_.revoked[key_id] = became
        return condemn(container, round_.wanted, round_.now, round_.revoked)

    # Deleting.

    async def _delete_all(self, condemned: Sequence[Condemned], round_: _Round) -> list[Reaped]:
        reaped: dict[int, Reaped] = {}
        left: Iterator[tuple[int, Condemned]] = iter(enumerate(condemned))

        async def work() -> None:
            for number, each in left:
                reaped[number] = await self._delete(each, round_)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(condemned))):
                group.create_task(work())
        return [reaped[number] for number in range(len(condemned))]

    async def _delete(self, condemned: Condemned, round_: _Round) -> Reaped:
        """Delete one, unless it changed since it was condemned."""
        try:
            if not await self._is_as_it_was(condemned, round_):
                return Reaped(condemned=condemned, outcome=Outcome.KEPT)
            await self._audit_deletion(condemned, round_.deed)
            ending = await self._delete_upstream(condemned.container, round_.failures)
        except StoreUnavailable:
            return _failed(condemned, "not tried: the registry did not answer")
        except UpstreamFault as fault:
            return _failed(condemned, fault.detail)
        return await self._over(condemned, ending)

    async def _audit_deletion(self, condemned: Condemned, deed: Deed) -> None:
        container = condemned.container
        before = {"owner": container.owner, "deployment": container.deployment, "name": container.name}
        await self._audit.append(deed, f"container:{container.container_id}", before, {"reason": condemned.reason})

    async def _delete_upstream(self, container: Container, failures: Counter[str]) -> Ending:
        """Raises UpstreamFault where it may still be there."""
        deployment = self._deployments.get(container.deployment)
        if deployment is None:
            raise UpstreamFault(FaultKind.UNREACHABLE, "its deployment is not configured here", request_sent=False)
        if failures[deployment.name] >= MAX_FAILURES:
            detail = f"not tried: its deployment failed {MAX_FAILURES} times"
            raise UpstreamFault(FaultKind.UNREACHABLE, detail, request_sent=False)
        try:
            async with asyncio.timeout(DELETE_SECONDS):
                status = await delete(deployment, container.container_id)
            if status >= 300 and status != 404:
                raise UpstreamFault(FaultKind.PROTOCOL, f"its deployment answered {status}", request_sent=True)
        except UpstreamFault:
            failures[deployment.name] += 1
            raise
        except TimeoutError:
            failures[deployment.name] += 1
            raise UpstreamFault(FaultKind.TIMEOUT, "its deployment took too long", request_sent=True) from None
        return Ending.GONE if status == 404 else Ending.DELETED

    async def _is_as_it_was(self, condemned: Condemned, round_: _Round) -> bool:
        record = await self._store.record(condemned.container.container_id)
        if round_.wanted.unknown:
            return record is None
        return record is not None and await self._judge(record.container, round_) is not None

    async def _over(self, condemned: Condemned, ending: Ending) -> Reaped:
        """Write down that a container is no more; later, where the database does not answer now."""
        container_id, at = condemned.container.container_id, datetime.fromtimestamp(self._clock(), UTC)
        try:
            await self._store.end(container_id, ending, at, asked=True)
        except StoreUnavailable:
            self._notes.ended(container_id, ending, at)
        finally:
            if ending is Ending.DELETED:
                self._ownerships.deleted(container_id)
        reaped = Reaped(condemned=condemned, outcome=Outcome(ending.value))
        self._tell(reaped)
        return reaped

    def _tell(self, reaped: Reaped) -> None:
        container = reaped.condemned.container
        self._log.info(
            "container_reaped",
            container_id=container.container_id,
            owner=container.owner,
            deployment=container.deployment,
            reason=reaped.condemned.reason,
            outcome=reaped.outcome.value,
        )


def _each_criterion(schedule: ReapSettings) -> Iterator[Criteria]:
    if schedule.older_than_seconds is not None:
        yield Criteria(older_than=timedelta(seconds=schedule.older_than_seconds))
    if schedule.idle_seconds is not None:
        yield Criteria(idle_for=timedelta(seconds=schedule.idle_seconds))
    if schedule.revoked_keys:
        yield Criteria(revoked_keys=True)
    if schedule.unknown:
        yield Criteria(unknown=True)


def _failed(condemned: Condemned, trouble: str) -> Reaped:
    return Reaped(condemned=condemned, outcome=Outcome.FAILED, trouble=trouble)
