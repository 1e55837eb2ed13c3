"""The windows that budgets are counted in: pure, the time is passed in."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from app.domain.durations import parse_duration

CALENDAR: Final = ("day", "week", "month")


def check_window(duration: str, timezone: str = "UTC") -> None:
    """Raises ValueError, with a message for whoever wrote it, where this names no window."""
    if duration not in CALENDAR:
        try:
            parse_duration(duration)
        except ValueError as error:
            raise ValueError(f"{error}; or one of day, week, month") from None
    try:
        ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"'{timezone[:64]}' is no time zone; expected a name such as Europe/Berlin") from None


def window_end(duration: str, timezone: str, now: datetime) -> datetime:
    """When a window ends that is under way, or begins, at `now`: always later than `now`, which is aware.

    A duration counts from `now`; a calendar's window ends at the midnight there that begins the next day, Monday or
    first of the month.
    """
    if duration not in CALENDAR:
        return now + parse_duration(duration)
    zone = ZoneInfo(timezone)
    today = now.astimezone(zone).date()
    match duration:
        case "day":
            first = today + timedelta(days=1)
        case "week":
            first = today + timedelta(days=7 - today.weekday())
        case _:
            first = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
    return datetime.combine(first, time(), zone).astimezone(now.tzinfo)
