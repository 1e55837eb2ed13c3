"""The price table: which price a container has that is made at a time, by provider and memory tier."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from app.domain.spending import DEFAULT_MEMORY, Price

MAX_MEMORY_GB: Final = 1_000_000
_gigabytes = re.compile(r"([0-9]{1,7})\s*(m|g|t)i?b?", re.IGNORECASE).fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """Prices that came into force together."""

    since: datetime
    """From when on containers that are made have these prices. Aware."""
    prices: Mapping[str, Price]
    """By memory tier, such as "1g"; at least one."""
    provider: str | None = None
    """Whose they are; None for every provider that has no tariff of its own."""


class Prices:
    """All tariffs. Whoever asks for a tier that no tariff names pays for the dearest: what is not known is not free."""

    def __init__(self, tariffs: Sequence[Tariff]) -> None:
        if not any(tariff.provider is None for tariff in tariffs):
            raise ValueError("there is no tariff for all providers")
        self._tariffs = sorted(tariffs, key=lambda tariff: (tariff.provider is not None, tariff.since), reverse=True)

    def price(self, provider: str, memory_limit: str | None, at: datetime) -> Price:
        """The price of a container that is made at this time, for all its life.

        The provider's own tariffs come first, the newest that is in force and names the tier; then those for all. One
        that is made before the first tariff has the prices of the first.
        """
        tier = tier_of(memory_limit)
        mine = [tariff for tariff in self._tariffs if tariff.provider in (provider, None)]
        in_force = [tariff for tariff in mine if tariff.since <= at] or mine[-1:]
        for tariff in in_force:
            if tier in tariff.prices:
                return tariff.prices[tier]
        return max(in_force[0].prices.values(), key=lambda price: price.cost(20))


def tier_of(memory_limit: str | None) -> str:
    """The tier that is paid for: OpenAI makes the smallest where none is asked for."""
    return DEFAULT_MEMORY if memory_limit is None else memory_limit.strip().lower()


def gigabytes(memory_limit: str | None) -> int:
    """The memory of a tier in GB, rounded up; 1 for what does not say it."""
    match = _gigabytes(tier_of(memory_limit))
    if match is None:
        return 1
    count, unit = int(match[1]), match[2].lower()
    whole = {"m": -(-count // 1024), "g": count, "t": count * 1024}[unit]
    return min(max(whole, 1), MAX_MEMORY_GB)
