"""What a container costs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.pricing import PUBLISHED, PricingSettings
from app.domain.money import to_nanousd
from app.domain.spending import Price
from app.main import prices_of
from app.pricing.table import Prices, Tariff, gigabytes

TODAY = datetime(2026, 11, 21, tzinfo=UTC)
PUBLISHED_PRICES = prices_of(PricingSettings())


def usd(amount: str) -> int:
    return to_nanousd(amount)


@pytest.mark.parametrize(
    ("tier", "minute", "session"),
    [("1g", "0.0015", "0.03"), ("4g", "0.006", "0.12"), ("16g", "0.024", "0.48"), ("64g", "0.096", "1.92")],
)
def test_openai_is_paid_by_the_minute_now_by_the_session_in_spring_and_once_before(
    tier: str, minute: str, session: str
) -> None:
    now = PUBLISHED_PRICES.price("openai", tier, TODAY)
    assert [now.cost(minutes) for minutes in (0, 1, 5, 6, 20)] == [usd(minute) * n for n in (5, 5, 5, 6, 20)]
    assert now.cost(20) == usd(session)
    spring = PUBLISHED_PRICES.price("openai", tier, datetime(2026, 3, 31, tzinfo=UTC))
    assert [spring.cost(minutes) for minutes in (0, 1, 20, 21, 40, 41)] == [
        usd(session) * n for n in (1, 1, 1, 2, 2, 3)
    ]
    before = PUBLISHED_PRICES.price("openai", tier, datetime(2026, 3, 30, 23, 59, 59, tzinfo=UTC))
    assert [before.cost(minutes) for minutes in (0, 20, 10_000)] == [usd(session)] * 3


def test_a_price_comes_into_force_at_midnight() -> None:
    changes = datetime(2026, 6, 2, tzinfo=UTC)
    assert PUBLISHED_PRICES.price("openai", "1g", changes).unit_minutes == 1
    assert PUBLISHED_PRICES.price("openai", "1g", changes - timedelta(microseconds=1)).unit_minutes == 20


def test_a_provider_has_prices_of_its_own_where_it_has_them() -> None:
    assert PUBLISHED_PRICES.price("azure", "1g", TODAY).cost(1) == usd("0.033")
    assert PUBLISHED_PRICES.price("azure", None, TODAY).cost(1) == usd("0.033")
    assert PUBLISHED_PRICES.price("azure", "4g", TODAY) == PUBLISHED_PRICES.price("openai", "4g", TODAY)
    assert PUBLISHED_PRICES.price("oci", "1g", TODAY) == PUBLISHED_PRICES.price("openai", None, TODAY)


def test_a_tier_that_nobody_knows_costs_what_the_dearest_does() -> None:
    assert PUBLISHED_PRICES.price("openai", "128g", TODAY) == PUBLISHED_PRICES.price("openai", "64g", TODAY)


def test_before_the_first_price_there_was_the_first() -> None:
    assert PUBLISHED_PRICES.price("openai", "1g", datetime(2001, 1, 1, tzinfo=UTC)).cost(1) == usd("0.03")


def test_there_is_a_price_for_every_provider() -> None:
    with pytest.raises(ValueError, match="no tariff for all"):
        Prices([Tariff(since=TODAY, provider="azure", prices={"1g": Price(nanousd_per_unit=1)})])
    assert any(tariff.provider is None for tariff in PUBLISHED)


@pytest.mark.parametrize(
    ("tier", "expected"),
    [
        (None, 1),
        ("1g", 1),
        ("64G", 64),
        ("512m", 1),
        ("1536m", 2),
        ("2t", 2048),
        ("16gb", 16),
        ("plenty", 1),
        ("0g", 1),
    ],
)
def test_the_memory_of_a_tier(tier: str | None, expected: int) -> None:
    assert gigabytes(tier) == expected


PRICES = st.builds(
    Price,
    nanousd_per_unit=st.integers(0, 10**12),
    unit_minutes=st.none() | st.integers(1, 10_000),
    minimum_minutes=st.integers(0, 10_000),
)


@given(PRICES, st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_longer_life_never_costs_less_and_one_minute_at_most_one_unit_more(
    price: Price, first: int, more: int
) -> None:
    assert price.cost(first) <= price.cost(first + more)
    assert 0 <= price.cost(first + 1) - price.cost(first) <= price.nanousd_per_unit
    assert price.cost(first) % max(price.nanousd_per_unit, 1) == 0
    assert price.cost(0) == price.cost(price.minimum_minutes) or price.unit_minutes is None
