"""What an admin route answers when something it needs does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.domain.errors import ErrorCode, GatewayError
from app.domain.ports import StoreUnavailable


@contextmanager
def store_answers(what: str) -> Iterator[None]:
    """Raises GatewayError STORE_UNAVAILABLE where this database is silent."""
    try:
        yield
    except StoreUnavailable as outage:
        raise GatewayError(ErrorCode.STORE_UNAVAILABLE, f"{what} did not answer.", retry_after_seconds=1) from outage
