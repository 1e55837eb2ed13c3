"""Who may use the admin routes."""

from __future__ import annotations

from fastapi import Request

from app.domain.errors import ErrorCode, GatewayError
from app.domain.identity import Principal


async def require_admin(request: Request) -> None:
    """Let the master key in. Raises GatewayError OPERATION_NOT_ALLOWED for every other key."""
    principal: Principal = request.state.principal
    if not principal.is_master:
        raise GatewayError(
            ErrorCode.OPERATION_NOT_ALLOWED, "This key may not use the admin routes: only the master key may."
        )
