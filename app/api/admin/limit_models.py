"""What keys, teams and users may be limited to, and how they stand: the fields that their routes have in common."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.api.admin.fields import Text, Wish
from app.domain.accounts import NO_LIMITS, Limits
from app.domain.money import to_nanousd, to_usd
from app.domain.spending import Balance
from app.domain.windows import check_window
from app.pricing.table import tier_of

MAX_COUNT: Final = 10**9
MAX_BYTES: Final = 2**53


def _read_usd(amount: object) -> int:
    if isinstance(amount, bool) or not isinstance(amount, int | float):
        raise PydanticCustomError("float_type", "Input should be a valid number")
    return to_nanousd(amount)


def _window(duration: str) -> str:
    check_window(duration)
    return duration


def _time_zone(name: str) -> str:
    check_window("day", name)
    return name


Usd = Annotated[
    int, BeforeValidator(_read_usd), WithJsonSchema({"type": "number", "minimum": 0, "examples": [0.03, 10]})
]
"""Dollars in JSON, nano-USD here."""
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Bytes = Annotated[int, Field(ge=0, le=MAX_BYTES)]
Tier = Annotated[Text, AfterValidator(tier_of)]


class LimitFields(Wish):
    """How much a key, a team or a user may. A field that is absent stays as it is; null takes its limit away."""

    max_budget: Usd | None = Field(None, description="USD in one window; then creates are refused")
    soft_budget: Usd | None = Field(None, description="USD in one window; then the hook soft_budget_crossed is called")
    budget_duration: Annotated[str, AfterValidator(_window)] | None = Field(
        None, description="The window: 30s, 12h, 30d, …, or day, week, month by the calendar; null is all time"
    )
    budget_timezone: Annotated[str, AfterValidator(_time_zone)] | None = Field(
        None, description="Where the calendar's days begin, such as Europe/Berlin; null for UTC"
    )
    rpm_limit: Count | None = Field(None, description="Requests in a minute")
    max_parallel_requests: Count | None = Field(None, description="Requests at the same time")
    max_containers: Count | None = Field(None, description="Containers alive at the same time")
    max_memory_gb: Count | None = Field(None, description="Their memory together, in GB")
    max_creates_per_minute: Count | None = None
    max_upload_bytes_per_day: Bytes | None = Field(None, description="A day is one of UTC")
    max_download_bytes_per_day: Bytes | None = None
    allowed_memory_limits: Annotated[list[Tier], Field(max_length=100)] | None = Field(
        None, description="Values of memory_limit that may be asked for; 1g stands for none"
    )
    max_file_bytes: Bytes | None = Field(None, description="The largest single upload")
    shadow: bool | None = Field(None, description="Count and report what would be refused, and refuse nothing")
    spend: Literal[0] | None = Field(None, description="0 forgets what was spent in this window; total_spend stays")


_MONEY: Final = ("max_budget", "soft_budget")
_SAME: Final = tuple(
    name for name in LimitFields.model_fields if name not in {*_MONEY, "allowed_memory_limits", "spend"}
)


def limits_with(limits: Limits, wanted: LimitFields) -> Limits:
    """The limits with the given fields set; a null brings a field's default back."""
    values: dict[str, Any] = {name: (name, getattr(wanted, name)) for name in _SAME}
    values |= {name: (f"{name}_nanousd", getattr(wanted, name)) for name in _MONEY}
    tiers = wanted.allowed_memory_limits
    values["allowed_memory_limits"] = ("allowed_memory_limits", None if tiers is None else tuple(tiers))
    given = dict(values[name] for name in values if name in wanted.model_fields_set)
    return replace(
        limits, **{name: getattr(NO_LIMITS, name) if value is None else value for name, value in given.items()}
    )


class Standing(BaseModel):
    """What may be spent, and what was. Money is USD."""

    spend: float = Field(description="In the window that is under way")
    total_spend: float = Field(description="Ever")
    reserved: float = Field(description="Held for containers that are alive")
    remaining: float | None = Field(description="What is left of max_budget; null where there is none")
    max_budget: float | None
    soft_budget: float | None
    budget_duration: str | None
    budget_timezone: str
    budget_reset_at: datetime | None = Field(description="When the window ends")
    rpm_limit: int | None
    max_parallel_requests: int | None
    max_containers: int | None
    max_memory_gb: int | None
    max_creates_per_minute: int | None
    max_upload_bytes_per_day: int | None
    max_download_bytes_per_day: int | None
    allowed_memory_limits: list[str] | None
    max_file_bytes: int | None
    shadow: bool
    containers: int = Field(description="Alive, or being made")
    memory_gb: int = Field(description="Their memory together")


def standing_of(limits: Limits, balance: Balance) -> dict[str, Any]:
    """The fields of a `Standing`."""
    most, soft, tiers = limits.max_budget_nanousd, limits.soft_budget_nanousd, limits.allowed_memory_limits
    left = None if most is None else max(0, most - balance.spent_nanousd - balance.reserved_nanousd)
    return {name: getattr(limits, name) for name in _SAME} | {
        "spend": to_usd(balance.spent_nanousd),
        "total_spend": to_usd(balance.total_spent_nanousd),
        "reserved": to_usd(balance.reserved_nanousd),
        "remaining": None if left is None else to_usd(left),
        "max_budget": None if most is None else to_usd(most),
        "soft_budget": None if soft is None else to_usd(soft),
        "budget_reset_at": balance.reset_at,
        "allowed_memory_limits": None if tiers is None else list(tiers),
        "containers": balance.containers,
        "memory_gb": balance.memory_gb,
    }
