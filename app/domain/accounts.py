"""Who is counted, and how much each may: keys, users and teams, with budgets, quotas and rates.

A virtual key, its user and its team are three accounts. What the key does counts for all three, and is done only where
all three have room.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class AccountKind(StrEnum):
    """What an account is of. The order, key, user, team, is the order in which they are asked and locked."""

    KEY = "key"
    USER = "user"
    TEAM = "team"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much an account may. None is no limit; 0 is nothing at all."""

    max_budget_nanousd: int | None = None
    """What may be spent and reserved in one window before creates are refused."""
    soft_budget_nanousd: int | None = None
    """What may be spent and reserved in one window before the hook `soft_budget_crossed` is called."""
    budget_duration: str | None = None
    """The window: "30s", "30d" and the like, or "day", "week", "month" by the calendar; None for all time."""
    budget_timezone: str = "UTC"
    """Where the calendar's days begin at midnight: a name of the IANA database."""
    rpm_limit: int | None = None
    """Requests in a minute."""
    max_parallel_requests: int | None = None
    """Requests at the same time."""
    max_containers: int | None = None
    """Containers alive at the same time."""
    max_memory_gb: int | None = None
    """Their memory together, in GB."""
    max_creates_per_minute: int | None = None
    max_upload_bytes_per_day: int | None = None
    """A day is one of UTC."""
    max_download_bytes_per_day: int | None = None
    allowed_memory_limits: tuple[str, ...] | None = None
    """The values of `memory_limit` that may be asked for; "1g" stands for none."""
    max_file_bytes: int | None = None
    """The largest single upload."""
    shadow: bool = False
    """Count and report what would be refused, and refuse nothing."""


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Something that is counted."""

    kind: AccountKind
    id: str
    limits: Limits = NO_LIMITS
    alias: str | None = None

    @property
    def name(self) -> str:
        """The name with its kind: "key:…", "user:…", "team:…"."""
        return f"{self.kind.value}:{self.id}"
