"""What containers cost, and what is held and spent for them. Amounts are nano-USD, times are aware datetimes in UTC.

A container's life on the books:

    begin: reserve the price of its whole life ─▶ complete: settle the minimum ─▶ used: reserve for a longer life
      │                                                                            │
      └▶ not made: release everything                deleted or expired: settle what it cost, release the rest

`docs/adr/0013-the-ledger.md` says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from app.domain.accounts import Account

MINUTE: Final = timedelta(minutes=1)
DEFAULT_MINUTES: Final = 20
"""How long a container lives unused where nobody says otherwise."""
DEFAULT_MEMORY: Final = "1g"


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a container costs: so much for each unit of time that has begun."""

    nanousd_per_unit: int
    unit_minutes: int | None = 1
    """1 for a price by the minute, 20 for one by the session; None is once for the whole life."""
    minimum_minutes: int = 0
    """The least that is paid for."""

    def units(self, minutes: int) -> int:
        """How many units a life of so many minutes costs; at least one."""
        if self.unit_minutes is None:
            return 1
        return max(1, -(-max(minutes, self.minimum_minutes) // self.unit_minutes))

    def cost(self, minutes: int) -> int:
        """What a life of so many minutes costs, in nano-USD."""
        return self.units(minutes) * self.nanousd_per_unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A container that is about to be made, as the ledger sees it. Its hold has the creation's id."""

    accounts: tuple[Account, ...]
    """Who pays: the key, its user, its team; all have room, or none is charged."""
    provider: str
    deployment: str
    memory_limit: str
    """The tier that is paid for."""
    memory_gb: int
    price: Price
    minutes: int
    """How long it lives unused."""
    tags: tuple[str, ...]
    request_id: str
    started_at: datetime


class EntryKind(StrEnum):
    """What an entry of the ledger does."""

    RESERVE = "reserve"
    """Hold money for what a container may cost."""
    SETTLE = "settle"
    """Spend what was held."""
    RELEASE = "release"
    """Give back what was held and not spent."""
    ADJUST = "adjust"
    """Spend or give back what was not held: an operator's correction, or a container found after its hold went."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the ledger. Nothing ever changes or removes one.

    For each of its accounts, the sum of `reserved_nanousd` over all entries is what is reserved now, and that of
    `spent_nanousd` what was ever spent.
    """

    number: int
    at: datetime
    kind: EntryKind
    hold_id: str
    container_id: str | None
    key_id: str
    user_id: str | None
    team_id: str | None
    tags: tuple[str, ...]
    provider: str
    deployment: str
    memory_limit: str
    reserved_nanousd: int
    spent_nanousd: int
    request_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Where an account stands."""

    account: str
    spent_nanousd: int = 0
    """In the window that is under way."""
    total_spent_nanousd: int = 0
    reserved_nanousd: int = 0
    containers: int = 0
    """Those that are alive, or are being made."""
    memory_gb: int = 0
    reset_at: datetime | None = None
    """When the window ends; None where there is none, or nothing was counted in it yet."""


class Shortage(StrEnum):
    """What an account has no room for."""

    BUDGET = "budget"
    CONTAINERS = "containers"
    MEMORY = "memory"


class NoRoom(Exception):
    """An account has no room for one more container. Nothing was written."""

    def __init__(self, account: Account, shortage: Shortage, balance: Balance, needed_nanousd: int) -> None:
        super().__init__(f"{account.name} has no room ({shortage})")
        self.account = account
        self.shortage = shortage
        self.balance = balance
        self.needed_nanousd = needed_nanousd


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """An account that has gone past a limit without being refused: its soft budget, or any limit of a shadow's."""

    account: Account
    shortage: Shortage
    is_soft: bool
    balance: Balance
    """Afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """What a use of a container did to its hold."""

    covered_until: datetime
    """Until when it may live, and is held for."""
    free_until: datetime
    """Uses until then cost nothing more: after the last of them it would live until `covered_until`."""
    reserved_nanousd: int
    """What was reserved for it just now."""


class Ledger(Protocol):
    """The book of holds. `CreationStore.begin`, `complete` and `fail` and `ContainerStore.end` write in it too.

    Every method may raise StoreUnavailable.
    """

    async def extend(self, container_id: str, used_at: datetime) -> Extension | None:
        """Commit that a container was used and lives longer; reserves what that may cost, whether there is room or not.

        None where nothing is held for it. What is extended already is not extended again.
        """
        ...

    async def close_expired(self, now: datetime, limit: int = 500) -> int:
        """Settle up to so many holds whose containers have expired; returns how many those were."""
        ...

    async def balances(self, accounts: Sequence[str], now: datetime) -> dict[str, Balance]:
        """By account name; an account that nothing was ever counted for has zeros."""
        ...

    async def set_window(self, account: str, reset_at: datetime | None, *, afresh: bool = False) -> None:
        """Let an account's window end at this time, or never. `afresh` forgets what was spent in it until now."""
        ...

    async def verify(self) -> list[str]:
        """What does not agree: one line for each balance or hold that is not the sum of its entries."""
        ...
