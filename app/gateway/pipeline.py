"""The path of a request. Read this file first.

The edge (`app/api`) has already found out who is asking (`authenticate`) and which of the nine operations it is. What
happens then is the body of `Gateway.handle`, from top to bottom. A phase that mostly need not wait is first asked what
it can say at once, which spares a coroutine, and waited for where that is nothing. What always happens, once, when the
answer has been sent or could not be, is `settle`, called by whoever calls `handle` (`app/api/data_plane.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from app.domain.errors import ClientGone
from app.domain.exchange import Exchange
from app.domain.identity import Principal
from app.gateway.admit import Admission
from app.gateway.authorize import Gate, authorize
from app.gateway.create import Creates
from app.gateway.forward import Forwarder
from app.gateway.lists import Lists
from app.gateway.place import Placer
from app.gateway.record import Recorder
from app.gateway.relay import Reply
from app.gateway.resolve import Resolver
from app.hooks.runner import HookRunner
from quaymaster.operations import CONTAINERS_CREATE, CONTAINERS_LIST, Operation


class Gateway:
    """The data plane: the phases, in order."""

    def __init__(
        self,
        hooks: HookRunner,
        admission: Admission,
        gate: Gate,
        resolver: Resolver,
        *,
        creates: Creates,
        lists: Lists,
        placer: Placer,
        forwarder: Forwarder,
        recorder: Recorder,
    ) -> None:
        self._hooks = hooks
        self._admission = admission
        self._gate = gate
        self._resolver = resolver
        self._creates = creates
        self._lists = lists
        self._placer = placer
        self._forwarder = forwarder
        self._recorder = recorder

    async def handle(self, exchange: Exchange, principal: Principal, operation: Operation) -> Reply:
        """From an authenticated request to the reply that goes down, whose holder must close it.

        Raises GatewayError for an answer of the gateway's own, ClientGone where the client left in the middle.
        """
        if self._hooks.request:
            await self._hooks.request(exchange)

        if admitting := self._admission.admit(exchange, principal, operation):
            await admitting
        authorize(principal, operation)
        if exchange.container_id is not None:
            exchange.ownership = self._gate.cached(principal, exchange.container_id) or await self._gate.container(
                principal, operation, exchange.container_id
            )
        provider = self._resolver.at_once(exchange, operation) or await self._resolver.resolve(exchange, operation)
        if exchange.request_json is not None:
            await self._gate.references(principal, exchange)

        if operation is CONTAINERS_CREATE:
            self._admission.check_tier(exchange, principal)
            reply = await self._creates.create(exchange, principal, provider)
        elif operation is CONTAINERS_LIST:
            reply = await self._lists.page(exchange, principal, provider)
        else:
            deployment = (
                self._placer.home(exchange.ownership)
                if exchange.ownership is not None
                else await self._placer.search(exchange, principal, provider)
            )
            try:
                reply = await self._forwarder.forward(exchange, operation, deployment)
            except (ClientGone, asyncio.CancelledError):
                self._recorder.abandoned(exchange, operation)
                raise
            if committing := self._recorder.record(exchange, operation, reply.status):
                await _before(reply, committing)

        if self._hooks.response:
            await _before(reply, self._hooks.response(exchange))
        return reply


async def _before(reply: Reply, work: Awaitable[None]) -> None:
    """Wait for what comes before the reply goes down; it is let go of where that ends otherwise."""
    try:
        await work
    except BaseException:
        await reply.aclose()
        raise
