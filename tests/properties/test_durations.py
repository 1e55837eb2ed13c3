from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.durations import LONGEST, UNITS, parse_duration


@given(st.sampled_from(sorted(UNITS)), st.data())
def test_what_is_written_is_what_is_meant(unit: str, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, LONGEST // UNITS[unit]))
    assert parse_duration(f"{count}{unit}") == count * UNITS[unit]
    assert parse_duration(f"0{count}{unit}") == count * UNITS[unit]


@given(st.sampled_from(sorted(UNITS)), st.data())
def test_more_than_a_hundred_years_is_refused(unit: str, data: st.DataObject) -> None:
    count = data.draw(st.integers(LONGEST // UNITS[unit] + 1, 10**400))
    with pytest.raises(ValueError, match="expected"):
        parse_duration(f"{count}{unit}")


@given(st.text() | st.from_regex(r"[0-9]+[a-z]{1,2}", fullmatch=True))
def test_nothing_but_a_clear_refusal_is_raised(text: str) -> None:
    with suppress(ValueError):
        assert timedelta(0) < parse_duration(text) <= LONGEST


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("15m", 900), ("12h", 43_200), ("30d", 2_592_000), ("2w", 1_209_600), ("1mo", 2_592_000)],
)
def test_the_documented_ones(text: str, seconds: int) -> None:
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "30",
        "s",
        "1.5h",
        "-1",
        "-1d",
        "+1d",
        "1 d",
        " 1d",
        "1d\n",
        "1D",
        "1y",
        "٣d",
        "0s",
        "0d",
        "1h30m",
        "9" * 5000 + "d",
    ],
)
def test_the_rest_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_duration(text)
