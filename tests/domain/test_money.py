"""Dollars and nano-USD."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.money import MAX_NANOUSD, to_nanousd, to_usd, usd_text


@pytest.mark.parametrize(
    ("usd", "nanousd"),
    [(0, 0), (1, 10**9), (0.1, 10**8), ("0.0015", 1_500_000), (Decimal("0.0000000001"), 1), (0.1 + 0.2, 300_000_001)],
)
def test_dollars_become_nano_usd_and_a_part_of_one_is_rounded_up(usd: float | str | Decimal, nanousd: int) -> None:
    assert to_nanousd(usd) == nanousd


@pytest.mark.parametrize("usd", [-1, "-0.01", "NaN", "Infinity", "one", "", 10**9 + 1, float("inf")])
def test_what_is_no_amount_is_refused(usd: float | str) -> None:
    with pytest.raises(ValueError, match="expected an amount"):
        to_nanousd(usd)


@pytest.mark.parametrize(
    ("nanousd", "text"),
    [(0, "0"), (1, "0.000000001"), (7_500_000, "0.0075"), (10**9, "1"), (-30_000_000, "-0.03"), (10**18, "1000000000")],
)
def test_an_amount_is_written_in_digits_exactly(nanousd: int, text: str) -> None:
    assert usd_text(nanousd) == text


@given(st.integers(0, MAX_NANOUSD))
def test_text_loses_nothing(nanousd: int) -> None:
    assert to_nanousd(usd_text(nanousd)) == nanousd


@given(st.integers(0, 10**15))
def test_a_float_loses_nothing_up_to_a_million_dollars(nanousd: int) -> None:
    assert to_nanousd(to_usd(nanousd)) == nanousd
