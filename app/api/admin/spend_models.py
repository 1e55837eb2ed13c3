"""What the spend routes take and give."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from app.api.admin.fields import KeyName, Text
from app.domain.reports import Grouping

MAX_ID = 2**63 - 1
"""The largest number that databases count to."""
SYNONYMS = {"api_key": "key", "customer": "user", "memory_limit": "tier"}


def _moment(value: object) -> object:
    """A day is its first moment in UTC; a time without a zone is meant in UTC."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    try:
        if len(text) == 10:
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # in UTC it may be before the first year, or after the last
        raise ValueError("expected a day such as 2026-11-21, or a time such as 2026-11-21T12:00:00Z") from None


def _last_moment(value: object) -> object:
    """A day ends when the next one begins."""
    moment = _moment(value)
    is_day = isinstance(value, str) and len(value.strip()) == 10
    if not is_day or not isinstance(moment, datetime):
        return moment
    return moment + timedelta(days=1) if moment.date() < date.max else datetime.max.replace(tzinfo=UTC)


def _groupings(value: object) -> object:
    if not isinstance(value, str):
        return value
    names = [name.strip() for name in value.split(",")]
    return [SYNONYMS.get(name, name) for name in names]


def _different(groupings: list[Grouping]) -> list[Grouping]:
    if len(set(groupings)) < len(groupings):
        raise ValueError("each grouping may stand here once")
    return groupings


class SpendFilter(BaseModel):
    """Which entries of the ledger: those that fit everything that is said."""

    model_config = ConfigDict(extra="forbid")

    key: KeyName | None = Field(None, description="The key, its id or its alias")
    api_key: KeyName | None = Field(None, description="The same as key")
    user_id: Text | None = None
    internal_user_id: Text | None = Field(None, description="The same as user_id")
    team_id: Text | None = None
    tag: Text | None = None
    container_id: Text | None = None
    request_id: Text | None = None
    start_date: Annotated[datetime, BeforeValidator(_moment)] | None = Field(
        None, description="A day, or a time; UTC where it names no zone"
    )
    end_date: Annotated[datetime, BeforeValidator(_last_moment)] | None = Field(
        None, description="A day, which is still asked for, or the first time that is not"
    )


class ListSpend(SpendFilter):
    """GET /spend/logs."""

    after: Annotated[int, Field(ge=0, le=MAX_ID)] | None = Field(
        None, description="The id of the entry right before the page"
    )
    limit: int = Field(100, ge=1, le=1000)
    order: Literal["asc", "desc"] = "desc"


class ReportSpend(SpendFilter):
    """GET /spend/report."""

    group_by: Annotated[
        list[Grouping], BeforeValidator(_groupings), Field(min_length=1, max_length=3), AfterValidator(_different)
    ] = Field([Grouping.TEAM], description="key, user, team, tag, tier, deployment or day; up to three with commas")
    format: Literal["json", "csv"] = "json"
    limit: int = Field(10_000, ge=1, le=10_000)


class EntryView(BaseModel):
    """A line of the ledger. Amounts are in dollars."""

    id: int
    at: datetime
    kind: str = Field(description="reserve, settle, release or adjust")
    spend: float = Field(description="What it spent")
    reserved: float = Field(description="What it added to what is reserved, or took from it")
    container_id: str | None
    key_id: str
    user_id: str | None
    team_id: str | None
    tags: list[str]
    provider: str
    deployment: str
    memory_limit: str
    request_id: str | None = Field(
        description="The request that caused it; where time did, the one that made the container"
    )


class EntryPage(BaseModel):
    """A page of the ledger."""

    object: Literal["list"] = "list"
    data: list[EntryView]
    first_id: int | None
    last_id: int | None
    has_more: bool


class Report(BaseModel):
    """What was spent: a line for each group, with the group's names, `spend` in dollars and `containers`."""

    group_by: list[str]
    data: list[dict[str, Any]]
    has_more: bool
