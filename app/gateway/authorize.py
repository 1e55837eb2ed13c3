"""Phase 1: may this principal do this operation?"""

from __future__ import annotations

from app.domain.errors import ErrorCode, GatewayError
from app.domain.identity import Principal
from quaymaster.operations import Operation


def authorize(principal: Principal, operation: Operation) -> None:
    """Raises GatewayError OPERATION_NOT_ALLOWED where the key lacks the operation."""
    if operation not in principal.allowed_operations:
        raise GatewayError(
            ErrorCode.OPERATION_NOT_ALLOWED,
            f"This key may not do {operation.name}: its allowed_operations do not include it.",
        )
