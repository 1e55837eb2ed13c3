"""The path of a request. Read this file first.

The edge (`app/api/data_plane.py`) has found out who is asking (`authenticate`: else 401) and which of the nine
operations it is. What happens then is the body of `Gateway.handle`, from top to bottom, a file for each phase:

1. `admit` counts the request against the rates of the key, its user and its team, and takes its parallel slots (429).
   It comes first so that what is refused below counts too: whoever hammers at a closed door has a limit.
2. `authorize`: may this key do this operation (403), on this container? Somebody else's is a 404, as one that does not
   exist. Containers that a JSON body names are looked at as soon as it is read, in 3.
3. `resolve` finds the provider, in header, query or body, and takes that out of what goes upstream (400).
4. `place` finds the deployment. A container lives where it was made, and is asked for nowhere else, however ill that
   deployment is; only a new one goes where all is well, and elsewhere if that cannot be reached (503 where none is).
5. `forward` sends the request and waits for the head of the answer. Reads and deletions are tried again; what makes
   something, only where no byte of it went out. An upstream's own error is passed on; no answer is a 502 or 504.
6. `relay`, called by `forward`, makes an answer the reply: JSON is read whole and completed, a file is left to stream
   while the edge sends it, as an upload does on its way up.
7. `record` tells the registry and the ledger what the answer means. Only a deletion, and a use that prolongs what must
   be paid for, are committed before the answer goes down.

Last comes `settle`, once, whatever happened and also after a refusal: slots are given back, metrics, the request log.
The edge calls it when the last byte is sent or cannot be.

`create` and `lists` do 4 to 7 in their own way. A create reserves the most that the container may cost within every
budget (429), and commits its intent before the upstream hears of it, the container before the answer; its
`Idempotency-Key` gives an earlier answer again. A list of one's own comes from the registry, and goes nowhere.

A phase that mostly need not wait says what it can at once, which spares a coroutine, and gives something to await where
it cannot. Refusals are GatewayErrors, which the edge answers in OpenAI's shape.
"""

from __future__ import annotations

from collections.abc import Awaitable

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
            await self._gate.check_references(principal, exchange)

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
            except BaseException:  # the client left, too
                self._recorder.unanswered(exchange, operation)
                raise
            if committing := self._recorder.record(exchange, operation, reply.status):
                await _holding(reply, committing)

        if self._hooks.response:
            await _holding(reply, self._hooks.response(exchange))
        return reply


async def _holding(reply: Reply, work: Awaitable[None]) -> None:
    """Wait for what comes before the reply goes down; it is let go of where that ends otherwise."""
    try:
        await work
    except BaseException:
        await reply.aclose()
        raise
