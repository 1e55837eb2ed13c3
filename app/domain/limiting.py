"""How many requests an account may make: rates and parallel slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

MINUTE_SECONDS: Final = 60.0


class Rate(StrEnum):
    """What is counted."""

    REQUESTS = "requests"
    """`rpm_limit`"""
    PARALLEL = "parallel"
    """`max_parallel_requests`"""
    CREATES = "creates"
    """`max_creates_per_minute`"""


@dataclass(frozen=True, slots=True)
class Ask:
    """One counter that has to have room."""

    account: str
    """Its name: "key:…", "user:…", "team:…"."""
    rate: Rate
    limit: int
    shadow: bool = False
    """Count, and let through all the same."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The counter that has no room."""

    ask: Ask
    retry_after_seconds: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of asking. With a refusal nothing was counted and no slot is held."""

    refusal: Refusal | None
    limit: int | None
    """Of the request rate with the least left; None where no rate is limited."""
    remaining: int
    reset_seconds: float
    overrun: tuple[Ask, ...] = ()
    """Those in shadow that had no room."""
    is_fallback: bool = False
    """Whether this process judged alone, as the shared store did not answer in time."""


class Limiter(Protocol):
    """Counts requests. A minute begins with its first request; parallel slots are leases that end by themselves."""

    async def admit(self, asks: Sequence[Ask], lease_id: str) -> Verdict:
        """Count one request against all of these, or against none. Never raises for an outage of a shared store."""
        ...

    def release(self, asks: Sequence[Ask], lease_id: str) -> None:
        """Give the parallel slots back; at once, in the background where that takes a round trip."""
        ...

    async def aclose(self) -> None:
        """Close what is open."""
        ...
