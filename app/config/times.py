"""Lengths of time as people write them: 90, "90s", "15m", "12h", "30d"."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BeforeValidator, Field

from app.domain.durations import LONGEST, parse_duration

_DAY_SECONDS: Final = 86_400


def parse_seconds(value: object) -> object:
    """The seconds that a text with a unit stands for; numbers, also as text, are left as they are.

    Raises ValueError for any other text.
    """
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        pass
    try:
        return parse_duration(value.strip()).total_seconds()
    except ValueError:
        raise ValueError('must be a number of seconds, or a time such as "30s", "15m", "12h" or "30d"') from None


Seconds = Annotated[float, BeforeValidator(parse_seconds), Field(gt=0, le=_DAY_SECONDS)]
"""How long something may take: more than nothing, at most a day."""
SecondsOrZero = Annotated[float, BeforeValidator(parse_seconds), Field(ge=0, le=_DAY_SECONDS)]
"""The same, or no time at all: 0."""
Age = Annotated[float, BeforeValidator(parse_seconds), Field(gt=0, le=LONGEST.total_seconds())]
"""How old something may become, in seconds: at most 100 years."""
