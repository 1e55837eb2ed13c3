"""Phase 4: which deployment. Where the container lives, or where a new one should."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from app.domain.containers import Ownership
from app.domain.deployments import Deployment
from app.domain.errors import ErrorCode, GatewayError, UpstreamFault
from app.domain.exchange import Exchange
from app.domain.identity import Principal
from app.domain.ids import encode_id
from app.routing.selection import Selector
from app.routing.track import Track
from quaymaster.operations import CONTAINERS_RETRIEVE

HEADER: Final = b"x-quaymaster-deployment"
_LOCATED: Final = 10_000
"""How many unregistered containers' whereabouts are remembered."""


class Placer:
    """Knows every deployment. `providers` maps the names clients choose by to the deployments behind them."""

    def __init__(
        self, providers: Mapping[str, Sequence[Deployment]], tracks: Mapping[str, Track], selector: Selector
    ) -> None:
        self._providers = providers
        self._by_name = {deployment.name: deployment for behind in providers.values() for deployment in behind}
        self._tracks = tracks
        self._selector = selector
        self._located: OrderedDict[str, Deployment] = OrderedDict()

    def home(self, ownership: Ownership) -> Deployment:
        """Where a registered container lives. Raises GatewayError where that is not configured any more."""
        deployment = self._by_name.get(ownership.deployment)
        if deployment is None:
            raise GatewayError(
                ErrorCode.NO_HEALTHY_DEPLOYMENT,
                f"This container lives in the deployment '{ownership.deployment}', which is not configured here.",
                should_retry=False,
            )
        return deployment

    def named(self, exchange: Exchange, principal: Principal) -> Deployment | None:
        """The deployment that the client asks for by name; None where it asks for none.

        Raises GatewayError OPERATION_NOT_ALLOWED where its key may not, INVALID_VALUE where there is none.
        """
        name = next((value.decode("latin-1") for field, value in exchange.headers if field == HEADER), None)
        if name is None:
            return None
        if not principal.may_choose(name):
            raise GatewayError(
                ErrorCode.OPERATION_NOT_ALLOWED,
                "This key may not choose that deployment: its allowed_deployments do not include it.",
                param=HEADER.decode(),
            )
        deployment = self._by_name.get(name)
        if deployment is None:
            raise GatewayError(
                ErrorCode.INVALID_VALUE,
                f"Unknown deployment. Configured here: {', '.join(sorted(self._by_name))}.",
                param=HEADER.decode(),
            )
        return deployment

    def choose(self, provider: str, *, tried: Collection[str] = ()) -> Deployment:
        """Where a new container should go. Raises GatewayError NO_HEALTHY_DEPLOYMENT where none is well."""
        behind = self._providers[provider]
        now = time.monotonic()
        tracks = [self._tracks[deployment.name] for deployment in behind]
        track = self._selector.choose(tracks, now, without=tried)
        if track is None:
            wait = min((track.circuit.seconds_left(now) for track in tracks), default=0.0)
            raise GatewayError(
                ErrorCode.NO_HEALTHY_DEPLOYMENT,
                f"No deployment of '{provider}' can take a new container now: {', '.join(_whys(tracks, now))}.",
                retry_after_seconds=max(1.0, wait),
            )
        return self._by_name[track.name]

    def of_provider(self, provider: str) -> Sequence[Deployment]:
        """Every deployment of a provider."""
        return self._providers[provider]

    async def search(self, exchange: Exchange, principal: Principal, provider: str) -> Deployment:
        """Where a container lives that was never registered: asked of each deployment, and remembered.

        Raises GatewayError as `named` does.
        """
        behind = self._providers[provider]
        container_id = exchange.container_id
        if (named := self.named(exchange, principal)) is not None:
            return named
        if len(behind) == 1 or container_id is None:
            return behind[0]
        located = self._located.get(container_id)
        if located is not None and located in behind:
            self._located.move_to_end(container_id)
            return located
        for deployment in behind:
            if await _has(deployment, container_id):
                self._located[container_id] = deployment
                if len(self._located) > _LOCATED:
                    self._located.popitem(last=False)
                return deployment
        return behind[0]


def _whys(tracks: Sequence[Track], now: float) -> list[str]:
    return [f"{track.name} ({track.circuit.reason or track.circuit.state(now)})" for track in tracks]


async def _has(deployment: Deployment, container_id: str) -> bool:
    path = CONTAINERS_RETRIEVE.path.replace("{container_id}", encode_id(container_id))
    headers = [(b"accept", b"application/json"), *deployment.constant_headers]
    try:
        reply = await deployment.upstream.send(b"GET", deployment.target(path, ""), headers)
        try:
            while await reply.read():
                pass
        finally:
            await reply.aclose()
    except UpstreamFault:
        return False
    return reply.status == 200
