"""Structured logs: one JSON line per event on stdout, from `structlog` and the standard library alike.

`structlog.get_logger().info("key_created", key_id=…)` costs its caller a few microseconds and never waits: the event is
queued as it is, and a thread renders and writes it (`writer.py`). Secrets are masked on the way out: fields named like
a credential, nested values by the rules of `redaction.py`, and whatever looks like a key in the finished line.

    timestamp   when it was logged, UTC, RFC 3339 with microseconds
    level       debug, info, warning, error or critical
    event       what happened
    logger      the name of a standard-library logger, absent otherwise
    exception   the traceback, without the values of variables
"""

from __future__ import annotations

import atexit
import io
import json
import logging
import sys
import time
import traceback
from datetime import UTC, datetime
from typing import Any, Final, Literal

import orjson
import structlog

from app.telemetry.redaction import REDACTED, is_credential_name, redact, redact_bytes
from app.telemetry.writer import Event, LineWriter, Sink

Level = Literal["debug", "info", "warning", "error", "critical"]
Format = Literal["json", "console"]

MAX_FIELD_CHARS: Final = 32 * 1024
"""A longer string (a traceback, say) loses its middle."""

_STDOUT_FD: Final = 1
_QUIET: Final = ("uvicorn", "uvicorn.error", "sqlalchemy", "psycopg", "httpx", "httpcore", "asyncio", "alembic")
"""Libraries whose information is not ours; their warnings are."""


def configure_logging(level: Level = "info", *, stream: Sink | None = None, format: Format = "json") -> LineWriter:
    """Send structlog's and the standard library's events to `stream` (stdout by default); returns the writer.

    May be called again: the writer before is flushed and closed. `console` is for human eyes and promises no format.
    """
    sink = stream if stream is not None else io.FileIO(_STDOUT_FD, "wb", closefd=False)
    close_logging(timeout_seconds=1)
    writer = LineWriter(sink, _render_json if format == "json" else _console_renderer(sink))
    structlog.configure(
        processors=[_stamp],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=Loggers(writer, level, format),
        cache_logger_on_first_use=False,
    )
    _route_standard_library(level.upper(), writer)
    atexit.register(writer.flush, 1)
    return writer


def flush(timeout_seconds: float = 2.0) -> bool:
    """Block until everything logged so far is written; False where that took too long. For shutdown."""
    writer = _current_writer()
    return writer is None or writer.flush(timeout_seconds)


def lines_dropped() -> int:
    """How many lines were lost since logging was configured."""
    writer = _current_writer()
    return 0 if writer is None else writer.dropped


def close_logging(timeout_seconds: float) -> None:
    """Undo `configure_logging`: write what is there, end the thread, and let structlog be as it was."""
    writer = _current_writer()
    if writer is None:
        return
    atexit.unregister(writer.flush)
    writer.close(timeout_seconds)
    structlog.reset_defaults()
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _LineHandler)]:
        root.removeHandler(handler)


class Loggers:
    """What structlog takes its loggers from: each is the one writer, whatever the level."""

    def __init__(self, writer: LineWriter, level: Level, format: Format) -> None:
        self.writer = writer
        self.writes_debug = level == "debug"
        self.writes_info = level in ("debug", "info")
        self.writes_json = format == "json"
        put = writer.put
        self.debug = self.info = self.warning = self.error = self.critical = put

    def __call__(self, *_args: Any) -> Loggers:
        """structlog asks for a logger."""
        return self


def configured() -> Loggers | None:
    """What `configure_logging` set up; None where it was not called."""
    factory = structlog.get_config()["logger_factory"]
    return factory if isinstance(factory, Loggers) else None


def _current_writer() -> LineWriter | None:
    loggers = configured()
    return None if loggers is None else loggers.writer


def _stamp(_logger: Any, level: str, event: Any) -> tuple[tuple[Event], dict[str, Any]]:
    """The only processor that runs in the caller: when, how grave, and the exception that is now being handled."""
    event["timestamp"] = time.time()
    event["level"] = level
    if "exc_info" in event:
        event["exc_info"] = _exception_of(event["exc_info"])
    return (event,), {}


def _exception_of(exc_info: Any) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    found = exc_info[1] if isinstance(exc_info, tuple) else sys.exc_info()[1] if exc_info else None
    return found if isinstance(found, BaseException) else None


def _route_standard_library(level: str, writer: LineWriter) -> None:
    root = logging.getLogger()
    root.addHandler(_LineHandler(writer))
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    access = logging.getLogger("uvicorn.access")  # the request line says more
    access.handlers.clear()
    access.propagate = False


class _LineHandler(logging.Handler):
    """The standard library's events, in the same queue."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:  # the caller's arguments do not fit its format
            message = str(record.msg)
        event: Event = {
            "timestamp": record.created,
            "level": record.levelname.lower(),
            "event": message,
            "logger": record.name,
        }
        if record.exc_info:
            event["exc_info"] = record.exc_info[1]
        self._writer.put(event)


# What follows runs in the writer's thread.


def _render_json(event: Event) -> bytes:
    fields = _finished(event)
    try:
        line = orjson.dumps(fields)
    except TypeError:  # not UTF-8, or an integer beyond 64 bits
        line = json.dumps(fields, default=repr).encode("ascii")
    return redact_bytes(line) + b"\n"


class _ConsoleRenderer:
    def __init__(self, colors: bool) -> None:
        self._renderer = structlog.dev.ConsoleRenderer(colors=colors)

    def __call__(self, event: Event) -> bytes:
        fields = _finished(event)
        try:
            text = self._renderer(None, event["level"], fields)
        except Exception:
            return _render_json(fields)
        return redact_bytes(str(text).encode("utf-8", "backslashreplace")) + b"\n"


def _console_renderer(sink: Sink) -> _ConsoleRenderer:
    isatty = getattr(sink, "isatty", None)
    return _ConsoleRenderer(colors=bool(isatty and isatty()))


def _finished(event: Event) -> dict[str, Any]:
    """The fields of a line, in order, with what was left for later computed and what is secret hidden."""
    exception = event.pop("exc_info", None)
    fields: dict[str, Any] = {"timestamp": None, "level": None, "event": None}
    for name, value in event.items():
        if value is None:
            fields[name] = None
        elif is_credential_name(name):
            fields[name] = REDACTED
        else:
            fields[name] = value if type(value) in _AS_THEY_ARE else _shown(value)
    fields["timestamp"] = _rfc3339(event["timestamp"])
    if exception is not None:
        fields["exception"] = _cut("".join(traceback.format_exception(exception)).rstrip())
    return fields


_AS_THEY_ARE: Final = frozenset({int, float, bool})


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return _cut(value)
    if isinstance(value, dict | list | tuple):
        return redact(value)
    try:
        return _cut(str(value))
    except Exception:
        return f"[{type(value).__name__}]"


def _cut(text: str) -> str:
    if len(text) <= MAX_FIELD_CHARS:
        return text
    half = MAX_FIELD_CHARS // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters …\n{text[-half:]}"


def _rfc3339(unix_seconds: float) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
