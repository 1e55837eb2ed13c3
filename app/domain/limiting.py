"""How many requests an account may make: rates and parallel slots."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from app.domain.accounts import Account

MINUTE_SECONDS: Final = 60.0
TEND_SECONDS: Final = 0.5


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
    counter: str = field(init=False, compare=False)
    """What it is counted under."""
    is_parallel: bool = field(init=False, compare=False)
    is_told: bool = field(init=False, compare=False)
    """Whether clients are told how it stands: a rate of requests, in earnest."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "counter", f"{self.rate.value}:{self.account}")
        object.__setattr__(self, "is_parallel", self.rate is Rate.PARALLEL)
        object.__setattr__(self, "is_told", self.rate is Rate.REQUESTS and not self.shadow)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The counter that has no room; of several, the one that has none for the longest."""

    ask: Ask
    retry_after_seconds: float
    is_outage: bool = False
    """Whether nobody could tell if there is room."""


class Verdict(NamedTuple):
    """What came of asking. With a refusal nothing was counted and no slot is held."""

    refusal: Refusal | None
    limit: int | None
    """Of the request rate with the least left, those in shadow aside; None where no rate is limited."""
    remaining: int
    reset_seconds: float
    overrun: tuple[Ask, ...] = ()
    """Those in shadow that had no room."""
    is_fallback: bool = False
    """Whether this process judged alone, as the shared store did not answer in time."""


class Limiter(Protocol):
    """Counts requests. A minute begins with its first request; parallel slots are leases that end by themselves."""

    def admit(self, asks: Sequence[Ask], lease_id: str) -> Verdict | Awaitable[Verdict]:
        """Count one request against all of these, or against none: at once, or awaited where that takes a round trip.

        The lease is this request's own. Never raises for an outage of a shared store.
        """
        ...

    def release(self, lease_id: str) -> None:
        """Give the parallel slots back; at once, in the background where that takes a round trip.

        What is not held is no error.
        """
        ...

    async def tend(self) -> None:
        """What is to be done every TEND_SECONDS: keep leases alive, forget what is over. Never raises."""
        ...

    async def aclose(self) -> None:
        """Close what is open."""
        ...


@dataclass(frozen=True, slots=True)
class Allowance:
    """The limits of a principal's accounts, sorted by what has to look at them: worked out once, for all requests."""

    asks: tuple[Ask, ...] = ()
    """For every request."""
    create_asks: tuple[Ask, ...] = ()
    """For a create: the same, and those of creates."""
    has_slots: bool = False
    """Whether a request takes parallel slots."""
    upload_days: tuple[Account, ...] = ()
    """Those whose uploads are counted by the day."""
    download_days: tuple[Account, ...] = ()
    file_sizes: tuple[Account, ...] = ()
    """Those with a largest file, the smallest first."""
    memory_limits: tuple[Account, ...] = ()
    """Those that may have containers of some tiers only."""

    @classmethod
    def of(cls, accounts: Iterable[Account]) -> Allowance:
        """What these accounts together may; NOT_LIMITED where nothing limits them."""
        asks: list[Ask] = []
        creates: list[Ask] = []
        accounts = tuple(accounts)
        for account in accounts:
            name, limits = account.name, account.limits
            for into, rate, limit in (
                (asks, Rate.REQUESTS, limits.rpm_limit),
                (asks, Rate.PARALLEL, limits.max_parallel_requests),
                (creates, Rate.CREATES, limits.max_creates_per_minute),
            ):
                if limit is not None:
                    into.append(Ask(name, rate, limit, limits.shadow))
        sized = [(size, account) for account in accounts if (size := account.limits.max_file_bytes) is not None]
        found = cls(
            asks=tuple(asks),
            create_asks=(*asks, *creates),
            has_slots=any(ask.is_parallel for ask in asks),
            upload_days=tuple(one for one in accounts if one.limits.max_upload_bytes_per_day is not None),
            download_days=tuple(one for one in accounts if one.limits.max_download_bytes_per_day is not None),
            file_sizes=tuple(account for _, account in sorted(sized, key=lambda pair: pair[0])),
            memory_limits=tuple(one for one in accounts if one.limits.allowed_memory_limits is not None),
        )
        return NOT_LIMITED if found == NOT_LIMITED else found


NOT_LIMITED: Final = Allowance()


@dataclass(frozen=True, slots=True)
class Moved:
    """Bytes of files that went up and came down."""

    uploaded: int = 0
    downloaded: int = 0


class ByteBook(Protocol):
    """What accounts moved on each day of UTC. Its methods may raise StoreUnavailable."""

    async def add(self, day: date, moved: Mapping[str, Moved]) -> dict[str, Moved]:
        """Add to what these accounts moved on a day (nothing at all only asks); returns what that makes of each."""
        ...

    async def forget(self, before: date) -> None:
        """Remove the days before this one."""
        ...
