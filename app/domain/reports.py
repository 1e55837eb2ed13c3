"""Questions to the ledger: what was spent, by whom, for what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from app.domain.spending import Entry


class Grouping(StrEnum):
    """What the lines of a report stand for."""

    KEY = "key"
    USER = "user"
    TEAM = "team"
    TAG = "tag"
    """An entry with two tags counts for both; one without any for none, which is a line of its own."""
    TIER = "tier"
    """The memory that was paid for."""
    DEPLOYMENT = "deployment"
    DAY = "day"
    """Of UTC, as "2026-11-21"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryFilter:
    """Which entries are asked for: those that fit everything that is said."""

    key_id: str | None = None
    user_id: str | None = None
    team_id: str | None = None
    tag: str | None = None
    container_id: str | None = None
    request_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    """The first moment that is no longer asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportLine:
    """What was spent in one group."""

    group: tuple[str | None, ...]
    """One value for each grouping; None for entries that have none."""
    spent_nanousd: int
    containers: int
    """How many containers it was spent for."""


class SpendReports(Protocol):
    """Reads the ledger. Every method may raise StoreUnavailable."""

    async def entries(
        self, wanted: EntryFilter, *, after: int | None, limit: int, descending: bool
    ) -> tuple[list[Entry], bool]:
        """One page of entries in the order of their numbers, from the one behind `after`, and whether more follow."""
        ...

    async def report(
        self, wanted: EntryFilter, groupings: Sequence[Grouping], *, limit: int
    ) -> tuple[list[ReportLine], bool]:
        """What was spent, a line for each group, and whether there are more lines.

        By the day where that is the first grouping; else the dearest first.
        """
        ...
