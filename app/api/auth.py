"""Who is asking: settled ahead of everything that reads a body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.errors import CREDENTIAL_HELP
from app.domain.addresses import Network, client_address, is_allowed
from app.domain.errors import ErrorCode, GatewayError
from app.domain.exchange import Exchange
from app.domain.identity import Principal
from app.domain.ports import RawHeaders
from app.gateway.authenticate import Authenticator

PUBLIC_PATHS: Final = frozenset(
    {
        "/docs",
        "/health/liveliness",
        "/health/liveness",
        "/health/readiness",
        "/metrics",
        "/openapi.json",
    }
)
"""What answers without a credential: probes, metrics (which hold no ids and no keys) and the API's own description."""

_KEY_HEADERS: Final = frozenset({b"api-key", b"x-api-key"})


class Callers:
    """Finds out who is asking. `trusted_proxies` are those whose X-Forwarded-For is believed."""

    def __init__(self, authenticator: Authenticator, trusted_proxies: Sequence[Network] = ()) -> None:
        self._authenticator = authenticator
        self._trusted_proxies = trusted_proxies

    def known(self, exchange: Exchange, peer: tuple[str, int] | None) -> Principal | None:
        """The same as `identify`, where that can be told without waiting; None says nothing yet."""
        principal = self._authenticator.cached(credential_in(exchange.headers))
        if principal is not None:
            self._let_in(exchange, principal, peer)
        return principal

    async def identify(self, exchange: Exchange, peer: tuple[str, int] | None) -> Principal:
        """Set the exchange's principal. `peer` is the other end of the connection, where it is known.

        Raises GatewayError as `Authenticator.authenticate` does, and OPERATION_NOT_ALLOWED where the key may not be
        used from where the request comes from.
        """
        principal = await self._authenticator.authenticate(credential_in(exchange.headers))
        self._let_in(exchange, principal, peer)
        return principal

    def _let_in(self, exchange: Exchange, principal: Principal, peer: tuple[str, int] | None) -> None:
        exchange.principal = principal
        if not principal.allowed_networks:
            return
        forwarded = [value.decode("latin-1") for name, value in exchange.headers if name == b"x-forwarded-for"]
        address = client_address(None if peer is None else peer[0], forwarded, self._trusted_proxies)
        if not is_allowed(address, principal.allowed_networks):
            raise GatewayError(ErrorCode.OPERATION_NOT_ALLOWED, "This key may not be used from this address.")


class VirtualKeyAuth:
    """The middleware before FastAPI: answers 401 where nobody can say who is asking, before a byte of body is read."""

    def __init__(self, app: ASGIApp, callers: Callers) -> None:
        self.app = app
        self._callers = callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Set `principal` on the exchange and in the scope's state."""
        if scope["type"] == "http" and scope["path"] not in PUBLIC_PATHS:
            exchange, peer = scope["state"]["exchange"], scope.get("client")
            principal = self._callers.known(exchange, peer) or await self._callers.identify(exchange, peer)
            scope["state"]["principal"] = principal
        await self.app(scope, receive, send)


def credential_in(headers: RawHeaders) -> bytes:
    """The one credential of a request. Raises GatewayError where there is none, or more than one and they differ."""
    found: bytes | None = None
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = value.partition(b" ")
            if scheme.lower() != b"bearer":
                raise GatewayError(
                    ErrorCode.INVALID_API_KEY, f"The Authorization header is not a bearer key. {CREDENTIAL_HELP}"
                )
        elif name in _KEY_HEADERS:
            token = value
        else:
            continue
        token = token.strip()
        if found is not None and token != found:
            raise GatewayError(ErrorCode.INVALID_API_KEY, f"The request has more than one key. {CREDENTIAL_HELP}")
        found = token
    if not found:
        raise GatewayError(ErrorCode.INVALID_API_KEY, f"The request has no key. {CREDENTIAL_HELP}")
    return found
