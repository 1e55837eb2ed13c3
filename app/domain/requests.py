"""One request as the request log keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol


class RequestRow(NamedTuple):
    """What happened, without secrets. No text holds NUL or half of a surrogate pair."""

    at: str
    """When it was over: UTC, `2026-11-21 15:24:36.123456`."""
    request_id: str
    operation: str | None
    """One of the nine."""
    method: str
    path: str | None
    """Where it is none of the nine; never the query."""
    container_id: str | None
    file_id: str | None
    provider: str | None
    deployment: str | None
    attempts: int
    status: int | None
    """What the client was told; None where it was told nothing."""
    error_code: str | None
    error_detail: str | None
    outcome: str | None
    duration_ms: float
    overhead_ms: float
    upstream_ms: float
    bytes_in: int
    bytes_out: int
    cost_nanousd: int
    upstream_request_id: str | None
    key_id: str | None
    key_alias: str | None
    owner: str | None
    user_id: str | None
    team_id: str | None
    tags: str
    """A JSON array."""
    request: str | None
    """The redacted body as JSON, or the size and SHA-256 of a file."""
    response: str | None


class RequestStore(Protocol):
    """Keeps rows of the request log. Each method may raise StoreUnavailable."""

    def add(self, rows: Sequence[RequestRow]) -> None:
        """Commit rows; those that are there already, by their request id, stay as they are.

        For a thread, which it blocks; never for the event loop.
        """
        ...

    async def purge(self, before: datetime, limit: int) -> int:
        """Forget so many rows, at most, of requests that were over before a time; how many went."""
        ...
