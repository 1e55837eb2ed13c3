"""Durations as people write them: `30s`, `15m`, `12h`, `30d`, `2w`, `1mo`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

UNITS: Final = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
    "mo": timedelta(days=30),
}
"""A month is 30 days: a key must not live longer because it was made in January."""

LONGEST: Final = timedelta(days=36_500)

_DURATION: Final = re.compile(r"([0-9]{1,12})(s|m|h|d|w|mo)")


def parse_duration(text: str) -> timedelta:
    """Read a whole number and a unit; more than nothing, and at most 100 years.

    Raises ValueError with a message for whoever wrote it.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("expected a whole number and a unit (s, m, h, d, w or mo), such as 30s, 12h or 30d")
    count, unit = int(match[1]), UNITS[match[2]]
    if count == 0:
        raise ValueError("expected a duration longer than nothing")
    if count > LONGEST // unit:
        raise ValueError(f"expected at most 100 years ({LONGEST.days}d)")
    return count * unit
