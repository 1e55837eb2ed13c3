"""Whether and when to try again: OpenAI's rules, as a state machine without I/O.

Tried again are connection errors, timeouts, and the statuses 408, 409, 429 and 500 and above. `x-should-retry: true` or
`false` overrules the status. The wait is what the server asks for: `retry-after-ms`, else `retry-after` (seconds, or a
date); where that is more than two minutes, it is the end. Else it is 0.5 seconds, doubled with each attempt up to 8,
less up to a quarter by chance.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from math import isnan
from typing import Final

FIRST_WAIT_SECONDS: Final = 0.5
MAX_WAIT_SECONDS: Final = 8.0
MAX_TOLD_WAIT_SECONDS: Final = 120.0
"""A server that asks for more is not asked again."""

_ALSO_RETRIED: Final = frozenset({408, 409, 429})


class Attempts:
    """One request's attempts. `number` is that of the attempt that is under way, from 0.

    `can_repeat` says whether the body can be sent once more.
    """

    def __init__(
        self,
        max_retries: int,
        can_repeat: Callable[[], bool] = lambda: True,
        *,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.number = 0
        self._max_retries = max_retries
        self._can_repeat = can_repeat
        self._chance = chance
        self._clock = clock

    def after_failure(self) -> float | None:
        """No answer came: how many seconds to wait before the next attempt, None to give up."""
        return self._next({})

    def after_status(self, status: int, headers: Mapping[str, str]) -> float | None:
        """An answer that is no success came: how many seconds to wait, None to give up. Names are in lower case."""
        wish = headers.get("x-should-retry", "").strip().lower()
        again = wish == "true" if wish in {"true", "false"} else status in _ALSO_RETRIED or status >= 500
        return self._next(headers) if again else None

    def _next(self, headers: Mapping[str, str]) -> float | None:
        told = self._told_seconds(headers)
        if self.number >= self._max_retries or told > MAX_TOLD_WAIT_SECONDS or not self._can_repeat():
            return None
        backoff = min(FIRST_WAIT_SECONDS * 2.0 ** min(self.number, 16), MAX_WAIT_SECONDS)
        self.number += 1
        return told if told > 0 else backoff * (1 - 0.25 * self._chance())

    def _told_seconds(self, headers: Mapping[str, str]) -> float:
        """How long the server asks to wait; nothing positive where it does not say."""
        milliseconds, seconds = headers.get("retry-after-ms"), headers.get("retry-after")
        if (number := _number(milliseconds)) is not None:
            return number / 1000
        if (number := _number(seconds)) is not None:
            return number
        return 0 if seconds is None else self._until(seconds)

    def _until(self, date: str) -> float:
        try:
            return parsedate_to_datetime(date).timestamp() - self._clock()
        except (ValueError, OverflowError, OSError):
            return 0


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else None
    except ValueError:
        return None
    return number if number is not None and not isnan(number) else None
