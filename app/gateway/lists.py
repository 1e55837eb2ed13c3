"""Lists of containers: an owner's from the registry, everybody's from the upstreams."""

from __future__ import annotations

from app.domain.exchange import Exchange
from app.domain.identity import Principal
from app.gateway.forward import Forwarder
from app.gateway.place import Placer
from app.gateway.relay import Reply
from quaymaster.operations import CONTAINERS_LIST


class Lists:
    """Answers `containers.list`."""

    def __init__(self, placer: Placer, forwarder: Forwarder) -> None:
        self._placer = placer
        self._forwarder = forwarder

    async def page(self, exchange: Exchange, principal: Principal, provider: str) -> Reply:
        """One page. Raises GatewayError."""
        return await self._forwarder.forward(exchange, CONTAINERS_LIST, self._placer.of_provider(provider)[0])
