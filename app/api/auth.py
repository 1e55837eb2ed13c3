"""The virtual-key middleware: pure ASGI, ahead of everything that reads a body."""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.errors import CREDENTIAL_HELP
from app.domain.errors import ErrorCode, GatewayError
from app.domain.exchange import Exchange
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


class VirtualKeyAuth:
    """Finds out who is asking, and answers 401 where that cannot be said."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self.app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Set `principal` on the exchange and in the scope's state."""
        if scope["type"] == "http" and scope["path"] not in PUBLIC_PATHS:
            exchange: Exchange = scope["state"]["exchange"]
            credential = credential_in(exchange.headers)
            principal = self._authenticator.cached(credential) or await self._authenticator.authenticate(credential)
            exchange.principal = scope["state"]["principal"] = principal
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
