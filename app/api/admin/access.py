"""Who may use the admin routes, and what is written down of it."""

from __future__ import annotations

from fastapi import Request

from app.domain.errors import ErrorCode, GatewayError
from app.domain.exchange import Exchange
from app.domain.identity import Principal, Role
from app.domain.stores import Deed

_LOOKING = frozenset({"GET", "HEAD"})


async def require_admin(request: Request) -> None:
    """Let the master key and admins in, and viewers to look. Raises GatewayError OPERATION_NOT_ALLOWED."""
    principal: Principal = request.state.principal
    if principal.role is Role.ADMIN or (principal.role is Role.VIEWER and request.method in _LOOKING):
        return
    if principal.role is Role.VIEWER:
        raise GatewayError(
            ErrorCode.OPERATION_NOT_ALLOWED, "This key's role is viewer: it may look, and change nothing."
        )
    raise GatewayError(
        ErrorCode.OPERATION_NOT_ALLOWED,
        "This key may not use the admin routes: the master key may, and keys whose role is admin or viewer.",
    )


def deed_of(request: Request, action: str) -> Deed:
    """Who does this, for the audit log."""
    principal: Principal = request.state.principal
    exchange: Exchange = request.state.exchange
    return Deed(principal.key_id, action, exchange.request_id)
