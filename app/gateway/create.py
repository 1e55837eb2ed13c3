"""Making containers: the intent is written down first, the container before its answer goes down."""

from __future__ import annotations

from app.domain.exchange import Exchange
from app.domain.identity import Principal
from app.gateway.forward import Forwarder
from app.gateway.place import Placer
from app.gateway.relay import Reply
from quaymaster.operations import CONTAINERS_CREATE


class Creates:
    """Answers `containers.create`."""

    def __init__(self, placer: Placer, forwarder: Forwarder) -> None:
        self._placer = placer
        self._forwarder = forwarder

    async def create(self, exchange: Exchange, principal: Principal, provider: str) -> Reply:
        """Make a container. Raises GatewayError."""
        deployment = self._placer.named(exchange, principal) or self._placer.choose(provider)
        return await self._forwarder.forward(exchange, CONTAINERS_CREATE, deployment)
