"""What the gateway logs, caught and parsed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from app.telemetry.logging import Level, close_logging, configure_logging, flush


class CapturedLog:
    """A sink that keeps every byte."""

    def __init__(self) -> None:
        self.raw = bytearray()

    def write(self, data: bytes) -> int:
        """Take it all."""
        self.raw += data
        return len(data)

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Every line so far, or those of one event."""
        assert flush(5)
        parsed = [json.loads(line) for line in self.raw.decode().splitlines()]
        return [event for event in parsed if name in (None, event["event"])]


@contextmanager
def captured_log(level: Level = "info") -> Iterator[CapturedLog]:
    """Logging as `serve` configures it, into memory, and undone afterwards."""
    captured = CapturedLog()
    configure_logging(level, stream=captured)
    try:
        yield captured
    finally:
        close_logging(timeout_seconds=5)
