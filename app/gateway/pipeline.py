"""The path of a request. Read this file first.

The edge (`app/api`) has already found out who is asking (`authenticate`) and which of the nine operations it is. What
happens then is the body of `Gateway.handle`, from top to bottom. What always happens, once, when the answer has been
sent or could not be, is `settle`, called by the outermost layer (`app/api/middleware.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from app.domain.deployments import Deployment
from app.domain.errors import UpstreamFault
from app.domain.exchange import Exchange
from app.domain.identity import Principal
from app.gateway.authorize import authorize
from app.gateway.forward import explained, forward
from app.gateway.place import place
from app.gateway.relay import Reply, relay
from app.gateway.resolve import Resolver
from app.hooks.runner import HookRunner
from quaymaster.operations import Operation


class Gateway:
    """The data plane. `deployments` maps provider names to where they lead."""

    def __init__(self, deployments: Mapping[str, Deployment], resolver: Resolver, hooks: HookRunner) -> None:
        self._deployments = deployments
        self._resolver = resolver
        self._hooks = hooks

    async def handle(self, exchange: Exchange, principal: Principal, operation: Operation) -> Reply:
        """From an authenticated request to the reply that goes down, whose holder must close it.

        Raises GatewayError for an answer of the gateway's own, ClientGone where the client left in the middle.
        """
        if self._hooks.request:
            await self._hooks.request(exchange)

        authorize(principal, operation)
        provider = await self._resolver.resolve(exchange, operation)
        deployment = exchange.deployment = place(provider, self._deployments)
        upstream = await forward(exchange, operation, deployment, self._hooks)
        try:
            reply = await relay(exchange, operation, upstream)
            if self._hooks.response:
                await self._hooks.response(exchange)
        except UpstreamFault as fault:
            await upstream.aclose()
            raise explained(fault, operation, deployment) from fault
        except BaseException:
            await upstream.aclose()
            raise
        return reply
