"""Making containers: the intent is committed before the upstream hears of it, the container before its answer.

    place ─▶ begin ─▶ forward ─▶ made: complete      not made: fail      nobody knows: give up, for reconciliation
               │
               └─▶ it is an earlier one once more: what that was answered

`docs/adr/0011-idempotent-creates.md` says why.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Collection
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import orjson
import structlog

from app.domain.containers import Answer, Container, Creation, Ownership, Sighting, kept_text
from app.domain.deployments import Deployment
from app.domain.errors import ClientGone, ErrorCode, GatewayError, UpstreamFault
from app.domain.exchange import Exchange, Outcome
from app.domain.identity import Principal
from app.domain.ports import ContainerStore, ContainerTaken, CreationStore, StoreUnavailable
from app.domain.spending import NoRoom, Order
from app.gateway.costs import Costs
from app.gateway.forward import Elsewhere, Forwarder
from app.gateway.idempotency import (
    MAX_KEPT_BYTES,
    answer_of,
    fingerprint,
    idempotency_key,
    is_retry,
    replayed,
    was_used,
)
from app.gateway.losses import Losses, Making, insist
from app.gateway.place import Placer
from app.gateway.relay import Reply
from app.registry.ownership import Ownerships
from app.tasks import Tasks
from quaymaster.operations import CONTAINERS_CREATE

LEASE_SECONDS: Final = 40.0
"""How long a process answers for a create without saying so again: what a crash leaves is looked for after that."""
SAME_KEY: Final = timedelta(hours=24)
"""How long an idempotency key stands for its request."""
LOST: Final = timedelta(minutes=10)
"""How long a retry finds the create whose answer was lost."""
RECORD_SECONDS: Final = 5.0
"""How long a container that was made waits for the database to take it."""
POLL_SECONDS: Final = 0.5

_MENDABLE: Final = frozenset({401, 402, 403, 408, 409, 425, 429})
"""Refusals that may be over the next time: they are not kept."""

log = structlog.get_logger()


class Creates:
    """Answers `containers.create`. `renew` is to be called every third of `lease_seconds`."""

    def __init__(
        self,
        placer: Placer,
        forwarder: Forwarder,
        *,
        containers: ContainerStore,
        creations: CreationStore,
        ownerships: Ownerships,
        costs: Costs,
        tasks: Tasks,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._placer = placer
        self._forwarder = forwarder
        self._containers = containers
        self._creations = creations
        self._ownerships = ownerships
        self._costs = costs
        self._lease = timedelta(seconds=lease_seconds)
        self._making: dict[str, Making] = {}
        self._losses = Losses(creations, tasks)

    async def create(self, exchange: Exchange, principal: Principal, provider: str) -> Reply:
        """Make a container, or answer as before where the request is an earlier one once more.

        Raises GatewayError, ClientGone.
        """
        key = idempotency_key(exchange.headers)
        named = self._placer.named(exchange, principal)
        asked = await fingerprint(exchange, provider, named)
        is_again = key is None and is_retry(exchange.headers)
        while True:
            deployment = named or self._placer.choose(provider)
            making = Making(self._intent(exchange, principal, deployment, asked, key))
            order = self._costs.order(exchange, principal, deployment, making.creation.started_at)
            earlier = await self._begin(exchange, making, order, is_again=is_again)
            if earlier is None:
                elsewhere = None if named else partial(self._elsewhere, making.creation, provider)
                return await self._make(exchange, principal, making, deployment, elsewhere)
            if key is not None:
                return await self._same_key(exchange, making.creation, earlier)
            if (reply := await self._lost_once(exchange, earlier)) is not None:
                return reply

    async def renew(self) -> None:
        """Go on answering for the creates that take their time. Raises StoreUnavailable."""
        before = time.monotonic() - self._lease.total_seconds() / 3
        long = [name for name, it in self._making.items() if it.begun_at is not None and it.begun_at <= before]
        if long:
            await self._creations.renew(long, _now() + self._lease)

    def _intent(
        self, exchange: Exchange, principal: Principal, deployment: Deployment, asked: bytes, key: str | None
    ) -> Creation:
        said: dict[str, Any] = exchange.request_json or {}
        now = _now()
        return Creation(
            creation_id=_new_id(),
            owner=principal.owner,
            key_id=principal.key_id,
            deployment=deployment.name,
            name=kept_text(said.get("name")) or "",
            fingerprint=asked,
            started_at=now,
            lease_until=now + self._lease,
            memory_limit=kept_text(said.get("memory_limit")),
            idempotency_key=key,
        )

    async def _begin(self, exchange: Exchange, making: Making, order: Order, *, is_again: bool) -> Creation | None:
        """Commit the intent and what it may cost, or find the earlier create.

        Raises GatewayError BUDGET_EXCEEDED, STORE_UNAVAILABLE.
        """
        creation = making.creation
        if creation.idempotency_key is None:
            exchange.on_lost = partial(self._losses.lost, making)
            if exchange.outcome is Outcome.CLIENT_GONE:  # before anybody could have told
                exchange.on_lost()
        if is_again:
            await self._losses.written_down(creation)
        now = _now()
        try:
            begun = await self._creations.begin(
                creation, order, same_key_since=now - SAME_KEY, lost_since=now - LOST if is_again else None
            )
        except NoRoom as short:
            exchange.on_lost = None
            raise self._costs.refused(short, now) from None
        except StoreUnavailable as outage:
            exchange.on_lost = None
            raise _no_registry("nothing was made") from outage
        if isinstance(begun, Creation):
            return begun
        self._losses.begun(making)
        if begun:
            await self._costs.crossed(exchange, begun)
        return None

    async def _make(
        self,
        exchange: Exchange,
        principal: Principal,
        making: Making,
        deployment: Deployment,
        elsewhere: Elsewhere | None,
    ) -> Reply:
        """Have it made, and write down what came of it. A cancellation leaves the intent as it is."""
        creation = making.creation
        self._making[creation.creation_id] = making
        try:
            try:
                reply = await self._forwarder.forward(exchange, CONTAINERS_CREATE, deployment, elsewhere)
            except GatewayError as error:
                fault = error.__cause__
                if isinstance(fault, UpstreamFault) and fault.request_sent:
                    await self._note(creation, self._creations.give_up(creation.creation_id, _now()))
                else:
                    await self._failed(exchange, creation)
                raise
            try:
                await self._answered(exchange, principal, making, reply)
            except BaseException:
                await reply.aclose()
                raise
            return reply
        finally:
            del self._making[creation.creation_id]
            making.over.set()

    async def _answered(self, exchange: Exchange, principal: Principal, making: Making, reply: Reply) -> None:
        """Write down what the upstream's answer means. Raises GatewayError where a container cannot be registered."""
        creation, status = making.creation, reply.status
        answer = answer_of(reply)
        if status < 300:
            sighting = _made(exchange, reply)
            if sighting is not None:
                said = Answer(status=200, content_type="application/json", body=sighting.document)
                await self._register(exchange, principal, making, sighting, answer or said)
            else:
                log.warning("container_not_readable", request_id=exchange.request_id, deployment=creation.deployment)
                await self._note(creation, self._creations.give_up(creation.creation_id, _now()))
        elif status >= 500:
            exchange.on_lost = None  # a retry makes a new one whether this has arrived or not
            kept = answer if creation.idempotency_key is not None else None
            await self._note(creation, self._creations.give_up(creation.creation_id, _now(), kept))
        else:
            await self._failed(exchange, creation, None if status in _MENDABLE or status < 400 else answer)

    async def _failed(self, exchange: Exchange, creation: Creation, answer: Answer | None = None) -> None:
        """Write down that nothing was made; without an answer, the same request may come again as if it were new."""
        exchange.on_lost = None
        await self._note(creation, self._creations.fail(creation.creation_id, answer))

    async def _register(
        self, exchange: Exchange, principal: Principal, making: Making, sighting: Sighting, answer: Answer
    ) -> None:
        """Commit the container. Raises GatewayError CONTAINER_TAKEN, STORE_UNAVAILABLE."""
        creation, home = making.creation, exchange.attempts[-1].deployment.name
        container = Container.of(sighting, owner=principal.owner, deployment=home, key_id=principal.key_id)
        exchange.container_id = container.container_id
        try:
            exchange.cost_nanousd = await insist(
                lambda: self._creations.complete(creation.creation_id, container, answer), RECORD_SECONDS
            )
        except ContainerTaken:
            log.error(
                "container_taken",
                request_id=exchange.request_id,
                container_id=container.container_id,
                deployment=container.deployment,
            )
            await self._failed(exchange, creation)
            raise GatewayError(
                ErrorCode.CONTAINER_TAKEN,
                f"The deployment '{container.deployment}' answered with a container that is somebody else's.",
                should_retry=False,
            ) from None
        except StoreUnavailable as outage:
            self._losses.lost(making)
            raise _no_registry("the container was made and will be in the list when the database is back") from outage
        exchange.ownership = Ownership(
            container_id=container.container_id, owner=container.owner, deployment=container.deployment
        )
        self._ownerships.remember(exchange.ownership)

    async def _elsewhere(self, creation: Creation, provider: str, tried: Collection[str]) -> Deployment | None:
        """Where else to send it, committed; None for nowhere. Raises GatewayError STORE_UNAVAILABLE."""
        try:
            other = self._placer.choose(provider, tried=tried)
        except GatewayError:
            return None
        try:
            await self._creations.move(creation.creation_id, other.name)
        except StoreUnavailable as outage:
            raise _no_registry("nothing was made") from outage
        return other

    # The same request once more.

    async def _same_key(self, exchange: Exchange, creation: Creation, earlier: Creation) -> Reply:
        """The answer of the create that has the same idempotency key. Raises GatewayError."""
        if earlier.fingerprint != creation.fingerprint:
            raise GatewayError(
                ErrorCode.IDEMPOTENCY_KEY_REUSED,
                "This Idempotency-Key was used for another request: send a new key with a new request.",
                param="Idempotency-Key",
            )
        reply = self._replay(exchange, earlier)
        if reply is None:
            raise GatewayError(
                ErrorCode.IDEMPOTENCY_KEY_IN_USE,
                "The first request with this Idempotency-Key is not over yet.",
                retry_after_seconds=1,
                should_retry=True,
            )
        return reply

    async def _lost_once(self, exchange: Exchange, lost: Creation) -> Reply | None:
        """What a create whose answer was lost was answered, waiting for its end; None where there is nothing to answer.

        Raises GatewayError STORE_UNAVAILABLE, ClientGone.
        """
        making = Making(lost, time.monotonic())
        exchange.on_lost = partial(self._losses.lost, making)
        current: Creation | None = lost
        try:
            while current is not None and not await self._was_used(current):
                if (reply := self._replay(exchange, current)) is not None:
                    return reply
                if making.lost or exchange.outcome is Outcome.CLIENT_GONE:
                    raise ClientGone
                await self._end_of(lost.creation_id)
                current = await self._creations.get(lost.creation_id)
        except StoreUnavailable as outage:
            self._losses.lost(making)
            raise _no_registry("nothing more was made") from outage
        except asyncio.CancelledError:
            self._losses.lost(making)
            raise
        return None

    async def _was_used(self, creation: Creation) -> bool:
        """Whether what it made was used or deleted since: whoever did that got the answer. Raises StoreUnavailable."""
        if creation.container_id is None or creation.answer is None:
            return False
        record = await self._containers.record(creation.container_id)
        return record is not None and was_used(record.container, creation.answer)

    def _replay(self, exchange: Exchange, earlier: Creation) -> Reply | None:
        """The earlier answer; None where there is none yet."""
        if earlier.answer is None:
            return None
        if earlier.container_id is not None:
            exchange.container_id = earlier.container_id
            exchange.ownership = Ownership(
                container_id=earlier.container_id, owner=earlier.owner, deployment=earlier.deployment
            )
            with suppress(GatewayError):  # its deployment may have gone from the configuration since
                exchange.deployment = self._placer.home(exchange.ownership)
        return replayed(exchange, earlier.answer)

    async def _end_of(self, creation_id: str) -> None:
        """Wait until a create is over, or for as long as one has to before looking again."""
        making = self._making.get(creation_id)
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await (asyncio.Event() if making is None else making.over).wait()
        except TimeoutError:
            return

    async def _note(self, creation: Creation, noting: Awaitable[None]) -> None:
        """Write down how it ended; where the database does not answer, its lease will run out, and it is looked for."""
        try:
            await noting
        except StoreUnavailable:
            log.warning("creation_left_pending", creation_id=creation.creation_id)


def _made(exchange: Exchange, reply: Reply) -> Sighting | None:
    """The container in a good answer, if it can be read."""
    said: Any = exchange.response_object
    if said is None and reply.whole is not None and len(reply.whole) <= MAX_KEPT_BYTES:
        try:
            said = orjson.loads(reply.whole)
        except orjson.JSONDecodeError:
            return None
    return Sighting.of(said, _now())


def _new_id() -> str:
    """A millisecond, and 80 bits that nobody else has.

    It grows with time, so that three indexes grow at their end: with ids in any order a create takes 120 µs more.
    """
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def _no_registry(consequence: str) -> GatewayError:
    return GatewayError(
        ErrorCode.STORE_UNAVAILABLE, f"The registry's database did not answer: {consequence}.", retry_after_seconds=1
    )


def _now() -> datetime:
    return datetime.now(UTC)
