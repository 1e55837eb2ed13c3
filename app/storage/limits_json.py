"""How the limits of an account are kept."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import JSON, Dialect, TypeDecorator

from app.domain.accounts import NO_LIMITS, Limits


class LimitsJson(TypeDecorator[Limits]):
    """An account's limits, as an object of those that are set."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Limits | None, dialect: Dialect) -> dict[str, Any] | None:
        """Leave out what is not set."""
        if value is None:
            return None
        return {name: set_ for name, set_ in asdict(value).items() if set_ != getattr(NO_LIMITS, name)}

    def process_result_value(self, value: dict[str, Any] | None, dialect: Dialect) -> Limits | None:
        """Put it together again."""
        if value is None:
            return None
        tiers = value.get("allowed_memory_limits")
        return Limits(**value | ({} if tiers is None else {"allowed_memory_limits": tuple(tiers)}))
