"""The time that a client has, and the time that it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

from uvicorn.server import ServerState

from app.domain.ports import RawHeaders


class Deadline:
    """Calls `reached` when its time has come.

    It is moved with every request and hardly ever reached, so the timer is left where it is until it fires, and then
    set anew: that takes 0.1 µs where cancelling a timer and making another takes 2.
    """

    __slots__ = ("_at", "_fires_at", "_loop", "_reached", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, reached: Callable[[], None]) -> None:
        self._loop = loop
        self._reached = reached
        self._at = inf
        self._fires_at = inf
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        """Call in so many seconds from now, and not when it was said before."""
        self._at = self._loop.time() + seconds
        if self._at < self._fires_at:
            if self._timer is not None:
                self._timer.cancel()
            self._arm()

    def close(self) -> None:
        """Never call again, and let go of everything."""
        self._at = inf
        self._reached = _nobody_waits
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._fires_at = self._at
        self._timer = self._loop.call_at(self._at, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._fires_at = inf
        if self._loop.time() >= self._at:
            self._at = inf
            self._reached()
        elif self._at < inf:
            self._arm()


def _nobody_waits() -> None:
    """What a deadline that is closed calls."""


class Dated:
    """The lines that every answer's head begins with, joined anew when the server makes them anew: each second."""

    __slots__ = ("_headers", "_lines", "_server")

    def __init__(self, server: ServerState) -> None:
        self._server = server
        self._headers: RawHeaders | None = None
        self._lines = b""

    def __call__(self) -> bytes:
        """Those of now."""
        headers = self._server.default_headers
        if headers is not self._headers:
            self._headers, self._lines = headers, b"".join([b"%b: %b\r\n" % header for header in headers])
        return self._lines
