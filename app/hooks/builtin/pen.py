"""A request that is over, written out: once for everything that keeps it, without secrets."""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import orjson

from app.domain.exchange import Attempt, Exchange
from app.domain.identity import Principal
from app.domain.requests import RequestRow
from app.telemetry.redaction import (
    REDACTED,
    digest_of_bytes,
    redact,
    redact_bytes,
    redact_text,
    redacted_json,
    shown_path,
)

MAX_PARSED_BYTES: Final = 256 * 1024
"""A larger answer is logged as its size and hash: parsing it would hold the interpreter lock for too long."""
PROBES: Final = frozenset({"/health/liveliness", "/health/liveness", "/health/readiness", "/metrics"})
NO_ROOM: Final = "[no room]"
"""Stands for a body that there was no room for."""
MAX_REMEMBERED: Final = 256
"""So many principals, and so many answers that had nothing to hide."""
MAX_REMEMBERED_BYTES: Final = 2048
"""How long such an answer is at most."""

_UNKEPT: Final = re.compile("[\0\ud800-\udfff]")
_NOT_KEPT: Final = "\ufffd"

_FIELDS: Final = RequestRow._fields[1:-2]
"""What is in a line by the same name as in a row."""


class Written(NamedTuple):
    """A request, written out."""

    line: bytes
    """One line of JSON."""
    row: RequestRow
    is_probe: bool
    """Whether it is a probe or a scrape that went well, of which nobody wants to read."""
    started_at: float
    """Like the times of `attempts`, `time.perf_counter` seconds."""
    ended_at: float
    ended_at_unix: float
    attempts: Sequence[Attempt]


class _Who(NamedTuple):
    """What is the same in every request of a principal, as it may be shown."""

    key_id: str | None = None
    key_alias: str | None = None
    owner: str | None = None
    user_id: str | None = None
    team_id: str | None = None
    tags: str = "[]"


_NOBODY: Final = _Who()
_row: Final = partial(tuple.__new__, RequestRow)  # half the time of RequestRow(…)
_written: Final = partial(tuple.__new__, Written)


class Pen:
    """Writes requests out, in one thread. Of a body `max_body_chars` of text at most are shown, with None nothing."""

    def __init__(self, max_body_chars: int | None) -> None:
        self._max_body_chars = max_body_chars
        self._second = -1
        self._second_in_row = ""
        self._second_in_line = b""
        self._known: dict[int, tuple[Principal, _Who]] = {}
        self._harmless: dict[bytes, str] = {}

    def write(self, exchange: Exchange) -> Written:
        """The line and the row of a request that is over, without secrets."""
        ended_at = exchange.ended_at or time.perf_counter()
        ended_at_unix = exchange.started_at_unix + ended_at - exchange.started_at
        second, micros = divmod(round(ended_at_unix * 1e6), 1_000_000)
        if second != self._second:
            self._begin(second)
        request, response = self._request(exchange), self._response(exchange)
        row = self._row(f"{self._second_in_row}.{micros:06d}", exchange, ended_at, request, response)
        fields = _fields(row)
        if b"sk-" in fields:
            fields = redact_bytes(fields)
            row = RequestRow._make(redact_text(value) if isinstance(value, str) else value for value in row)
        is_probe = exchange.operation is None and exchange.path in PROBES and exchange.status == 200
        level = b"debug" if is_probe else b"info"
        line = b'%b.%06dZ","level":"%b","event":"request",%b' % (self._second_in_line, micros, level, fields[1:-1])
        if self._max_body_chars is None:
            line += b"}\n"
        else:
            line = b'%b,"request_body":%b,"response_body":%b}\n' % (line, _json(request), _json(response))
        written: Written = _written(
            (line, row, is_probe, exchange.started_at, ended_at, ended_at_unix, exchange.attempts)
        )
        return written

    def _begin(self, second: int) -> None:
        self._second = second
        self._second_in_row = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(second))
        self._second_in_line = b'{"timestamp":"' + self._second_in_row.replace(" ", "T").encode()

    def _row(
        self, at: str, exchange: Exchange, ended_at: float, request: str | None, response: str | None
    ) -> RequestRow:
        operation, deployment, outcome = exchange.operation, exchange.deployment, exchange.outcome
        attempts, overhead = exchange.attempts, exchange.overhead_seconds
        duration = ended_at - exchange.started_at
        upstream = _upstream_seconds(attempts, ended_at)
        row: RequestRow = _row(
            (
                at,
                exchange.request_id,
                None if operation is None else operation.name,
                _kept(exchange.method),
                None if operation is not None else _kept(shown_path(exchange.path)),
                *self._who(exchange.principal),
                _kept(exchange.container_id),
                _kept(exchange.file_id),
                exchange.provider,
                None if deployment is None else deployment.name,
                len(attempts),
                exchange.status,
                _kept(exchange.error_code),
                _kept(exchange.error_detail),
                None if outcome is None else outcome.value,
                round(duration * 1e6) / 1000,  # half the time of round(…, 3)
                round((duration - upstream if overhead is None else overhead) * 1e6) / 1000,
                round(upstream * 1e6) / 1000,
                exchange.body.bytes_read,
                exchange.bytes_out,
                exchange.cost_nanousd,
                _kept(exchange.upstream_request_id),
                request,
                response,
            )
        )
        return row

    def _who(self, principal: Principal | None) -> _Who:
        if principal is None:
            return _NOBODY
        known = self._known.get(id(principal))
        if known is not None:  # which keeps the principal, so that its id is no other's
            return known[1]
        who = _Who(
            _kept(principal.key_id),
            _kept(principal.alias),
            _kept(principal.owner),
            _kept(principal.user_id),
            _kept(principal.team_id),
            _dumped(principal.tags).decode(),
        )
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        self._known[id(principal)] = principal, who
        return who

    def _request(self, exchange: Exchange) -> str | None:
        if self._max_body_chars is None:
            return None
        if exchange.request_digest is not None:
            return _dumped(exchange.request_digest.summary()).decode()
        if exchange.request_json is not None:
            return redact_bytes(_dumped(redact(exchange.request_json, self._max_body_chars))).decode()
        return None if exchange.request_text is None else self._of_admin(exchange.request_text, self._max_body_chars)

    def _of_admin(self, body: bytes, max_chars: int) -> str:
        """What an admin route was sent: there, `key` names a key and may be all of it."""
        try:
            sent = orjson.loads(body)
        except ValueError:
            return _dumped(digest_of_bytes(body)).decode()
        if isinstance(sent, dict):
            sent = {name: REDACTED if name in ("key", "keys") else value for name, value in sent.items()}
        return redact_bytes(_dumped(redact(sent, max_chars))).decode()

    def _response(self, exchange: Exchange) -> str | None:
        if self._max_body_chars is None:
            return None
        if exchange.response_digest is not None:
            return _dumped(exchange.response_digest.summary()).decode()
        body = exchange.response_json
        if not body:
            return None
        found = self._harmless.get(body)
        return self._of_answer(body, self._max_body_chars) if found is None else found

    def _of_answer(self, body: bytes, max_chars: int) -> str:
        """Clients that poll get the same answer again and again: one with nothing to hide is remembered."""
        if len(body) > MAX_PARSED_BYTES:
            return _dumped(digest_of_bytes(body)).decode()
        try:
            redacted = redacted_json(body, max_chars)
        except ValueError:
            return _dumped(digest_of_bytes(body)).decode()
        shown = redacted.decode()
        if redacted is body and len(body) <= MAX_REMEMBERED_BYTES:
            if len(self._harmless) >= MAX_REMEMBERED:
                self._harmless.clear()
            self._harmless[body] = shown
        return shown


def without_bodies(exchange: Exchange) -> Exchange:
    """A copy of an exchange that holds no bodies, where there is no room for them."""
    bare = copy.copy(exchange)
    if bare.request_json is not None or bare.request_text is not None:
        bare.request_json = NO_ROOM
    if bare.response_json is not None:
        bare.response_json = orjson.dumps(NO_ROOM)
    bare.request_text = bare.upstream_body = bare.response_object = None
    return bare


def _fields(row: RequestRow) -> bytes:
    """What a line has of a row, as a JSON object: the bodies are missing."""
    fields: dict[str, Any] = dict(zip(_FIELDS, row[1:-2], strict=True))
    for name in ("user_id", "team_id"):
        if fields[name] is None:
            del fields[name]
    if row.tags == "[]":
        del fields["tags"]
    else:
        fields["tags"] = orjson.Fragment(row.tags)
    return _dumped(fields)


def _json(text: str | None) -> bytes:
    return b"null" if text is None else text.encode()


def _kept(text: str | None) -> Any:
    """A text from outside without what a database or UTF-8 cannot hold."""
    return text if text is None or (text.isascii() and text.isprintable()) else _UNKEPT.sub(_NOT_KEPT, text)


def _dumped(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # not UTF-8, or an integer beyond 64 bits
        return json.dumps(value, default=repr).encode("ascii")


def _upstream_seconds(attempts: Sequence[Attempt], now: float) -> float:
    """Time spent waiting for upstreams to answer; once where some went on at the same time."""
    total = until = 0.0
    for attempt in attempts:
        ended_at = attempt.ended_at or now
        if ended_at > until:
            total += ended_at - max(attempt.started_at, until)
            until = ended_at
    return total
