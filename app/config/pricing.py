"""What containers cost: a section of the settings."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from app.config.deployments import Section
from app.domain.money import to_nanousd
from app.domain.spending import Price

SESSION_MINUTES: Final = 20


def _as_written(value: object) -> object:
    """YAML reads 0.03 as a float; the decimal is what was meant."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Usd = Annotated[Decimal, BeforeValidator(_as_written), Field(ge=0, le=1_000_000)]


class TariffSettings(Section):
    """Prices that came into force together."""

    since: date
    """The day, in UTC, from which on containers that are made have these prices, for all their life."""
    provider: str | None = None
    """Whose prices they are; without it, those of every provider that has none of its own."""
    policy: Literal["per_minute", "per_session"] = "per_minute"
    """per_minute: for each minute that has begun. per_session: for each session that has begun."""
    minimum_minutes: Annotated[int, Field(ge=0, le=10_000)] = 5
    """per_minute: the least that is paid for."""
    session_minutes: Annotated[int, Field(ge=0, le=10_000_000)] = SESSION_MINUTES
    """per_session: how long a session is; 0 for one that lasts as long as the container."""
    usd: Annotated[dict[str, Usd], Field(min_length=1)]
    """Dollars for each minute or session, by memory tier."""

    @field_validator("since", mode="before")
    @classmethod
    def _a_day(cls, value: Any) -> Any:
        return value.date() if isinstance(value, datetime) else value

    @model_validator(mode="after")
    def _names_are_tiers(self) -> Self:
        for tier in self.usd:
            if not tier or tier != tier.strip().lower():
                raise ValueError(f'"{tier}" is no memory tier: expected one such as 1g')
        return self

    @property
    def since_at(self) -> datetime:
        """The moment when it comes into force."""
        return datetime.combine(self.since, time(), UTC)

    @property
    def prices(self) -> dict[str, Price]:
        """By memory tier."""
        by_minute = self.policy == "per_minute"
        return {
            tier: Price(
                nanousd_per_unit=to_nanousd(usd),
                unit_minutes=1 if by_minute else self.session_minutes or None,
                minimum_minutes=self.minimum_minutes if by_minute else 0,
            )
            for tier, usd in self.usd.items()
        }


def _table(*rows: dict[str, Any]) -> tuple[TariffSettings, ...]:
    return tuple(TariffSettings(**row) for row in rows)


_SESSION: Final = {"1g": "0.03", "4g": "0.12", "16g": "0.48", "64g": "1.92"}
_MINUTE: Final = {"1g": "0.0015", "4g": "0.006", "16g": "0.024", "64g": "0.096"}

PUBLISHED: Final = _table(
    {"since": date(2025, 3, 11), "policy": "per_session", "session_minutes": 0, "usd": _SESSION},
    {"since": date(2026, 3, 31), "policy": "per_session", "usd": _SESSION},
    {"since": date(2026, 6, 2), "policy": "per_minute", "usd": _MINUTE},
    {"since": date(2025, 3, 11), "provider": "azure", "policy": "per_session", "usd": {"1g": "0.033"}},
)
"""OpenAI's prices (https://platform.openai.com/docs/pricing, built-in tools, containers): once for each container at
first, for each session of 20 minutes from 2026-03-31, by the minute from 2026-06-02. Azure has published one for 1g."""


class PricingSettings(Section):
    """What containers cost."""

    tariffs: tuple[TariffSettings, ...] = PUBLISHED
    """Every price with the day when it came into force. Default: what OpenAI and Azure have published."""

    @field_validator("tariffs")
    @classmethod
    def _there_is_one_for_all(cls, tariffs: tuple[TariffSettings, ...]) -> tuple[TariffSettings, ...]:
        if not any(tariff.provider is None for tariff in tariffs):
            raise ValueError("there must be one without provider, for all that have none of their own")
        return tariffs
