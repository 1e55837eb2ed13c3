"""When a budget starts anew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.windows import CALENDAR, check_window, window_end

NOW = datetime(2026, 11, 21, 15, 30, tzinfo=UTC)  # a Saturday


@pytest.mark.parametrize(
    ("duration", "timezone", "end"),
    [
        ("30s", "UTC", NOW + timedelta(seconds=30)),
        ("30d", "UTC", NOW + timedelta(days=30)),
        ("day", "UTC", datetime(2026, 11, 22, tzinfo=UTC)),
        ("week", "UTC", datetime(2026, 11, 23, tzinfo=UTC)),
        ("month", "UTC", datetime(2026, 12, 1, tzinfo=UTC)),
        ("day", "Asia/Tokyo", datetime(2026, 11, 22, 15, tzinfo=UTC)),
        ("day", "America/New_York", datetime(2026, 11, 22, 5, tzinfo=UTC)),
        ("month", "Europe/Berlin", datetime(2026, 11, 30, 23, tzinfo=UTC)),
    ],
)
def test_windows_end(duration: str, timezone: str, end: datetime) -> None:
    assert window_end(duration, timezone, NOW) == end


def test_a_day_has_23_hours_where_the_clocks_go_forward() -> None:
    begins = window_end("day", "Europe/Berlin", datetime(2026, 3, 28, 12, tzinfo=UTC))
    assert window_end("day", "Europe/Berlin", begins) - begins == timedelta(hours=23)


@pytest.mark.parametrize("duration", ["", "1", "year", "0d", "30 d", "-1d", "Day"])
def test_what_is_no_window_is_refused(duration: str) -> None:
    with pytest.raises(ValueError, match="day, week, month"):
        check_window(duration)


@pytest.mark.parametrize("timezone", ["Mars/Olympus", "", "../etc/passwd", "x" * 300, "Europe"])
def test_what_is_no_time_zone_is_refused(timezone: str) -> None:
    with pytest.raises(ValueError, match="is no time zone"):
        check_window("day", timezone)


@given(
    st.sampled_from([*CALENDAR, "1s", "30m", "12h", "7d", "1mo"]),
    st.sampled_from(["UTC", "Asia/Tokyo", "America/New_York", "Europe/Berlin", "Pacific/Chatham", "Africa/Cairo"]),
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
)
def test_a_window_ends_later_and_by_the_calendar_at_midnight(duration: str, timezone: str, now: datetime) -> None:
    end = window_end(duration, timezone, now)
    assert now < end <= now + timedelta(days=32)
    if duration in CALENDAR:
        there = end.astimezone(ZoneInfo(timezone))
        before = (end - timedelta(microseconds=1)).astimezone(ZoneInfo(timezone))
        assert there.date() > before.date()
        assert {"day": True, "week": there.weekday() == 0, "month": there.day == 1}[duration]
