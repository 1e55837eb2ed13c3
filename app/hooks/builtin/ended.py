"""A request that is over: noted on the event loop as it is, written out by a thread."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import orjson

from app.domain.deployments import Deployment
from app.domain.exchange import Attempt, Exchange, Outcome
from app.domain.identity import Principal
from app.domain.requests import RequestRow
from app.telemetry.digests import Digest
from app.telemetry.redaction import (
    REDACTED,
    digest_of_bytes,
    redact,
    redact_bytes,
    redact_text,
    redacted_json,
    shown_path,
)
from quaymaster.operations import Operation

MAX_PARSED_BYTES: Final = 256 * 1024
"""A larger answer is logged as its size and hash: parsing it would hold the interpreter lock for too long."""
PROBES: Final = frozenset({"/health/liveliness", "/health/liveness", "/health/readiness", "/metrics"})
NO_ROOM: Final = "[no room]"
"""Stands for a body that there was no room for."""
BASE_BYTES: Final = 2048
"""About what one request weighs without its bodies."""

_UNKEPT: Final = re.compile("[\0\ud800-\udfff]")
_NOT_KEPT: Final = "\ufffd"


class Ended(NamedTuple):
    """What an exchange tells when it is over. Its bodies may hold secrets."""

    at: float
    request_id: str
    operation: Operation | None
    method: str
    path: str
    principal: Principal | None
    container_id: str | None
    file_id: str | None
    provider: str | None
    deployment: Deployment | None
    attempts: Sequence[Attempt]
    status: int | None
    error_code: str | None
    error_detail: str | None
    outcome: Outcome | None
    started_at: float
    ended_at: float
    overhead_seconds: float | None
    bytes_in: int
    bytes_out: int
    cost_nanousd: int
    upstream_request_id: str | None
    request: Any
    """Parsed JSON, the bytes of a JSON text, a digest, or None."""
    response: bytes | Digest | str | None
    """The bytes of a JSON text, a digest, a word in their place, or None."""

    @property
    def is_probe(self) -> bool:
        """Whether it is a probe or a scrape that went well, of which nobody wants to read."""
        return self.operation is None and self.path in PROBES and self.status == 200


_ended: Final = partial(tuple.__new__, Ended)  # half the time of Ended(…)


def ended(exchange: Exchange, *, bodies: bool) -> Ended:
    """Note an exchange that is over. Takes a microsecond: it is the event loop's."""
    ended_at = exchange.ended_at or time.monotonic()
    noted: Ended = _ended(
        (
            exchange.started_at_unix + ended_at - exchange.started_at,
            exchange.request_id,
            exchange.operation,
            exchange.method,
            exchange.path,
            exchange.principal,
            exchange.container_id,
            exchange.file_id,
            exchange.provider,
            exchange.deployment,
            exchange.attempts,
            exchange.status,
            exchange.error_code,
            exchange.error_detail,
            exchange.outcome,
            exchange.started_at,
            ended_at,
            exchange.overhead_seconds,
            exchange.body.bytes_read,
            exchange.bytes_out,
            exchange.cost_nanousd,
            exchange.upstream_request_id,
            _request_of(exchange) if bodies else None,
            (exchange.response_digest or exchange.response_json) if bodies else None,
        )
    )
    return noted


def _request_of(exchange: Exchange) -> Any:
    if exchange.request_digest is not None:
        return exchange.request_digest
    return exchange.request_text if exchange.request_json is None else exchange.request_json


def without_bodies(noted: Ended) -> Ended:
    """The same, where there is no room for its bodies."""
    return noted._replace(
        request=None if noted.request is None else NO_ROOM, response=None if noted.response is None else NO_ROOM
    )


class Written(NamedTuple):
    """A request, written out."""

    line: bytes
    """One line of JSON."""
    row: RequestRow
    ended: Ended


class Pen:
    """Writes requests out, in one thread. Of a body `max_body_chars` of text at most are shown, with None nothing."""

    def __init__(self, max_body_chars: int | None) -> None:
        self._max_body_chars = max_body_chars
        self._second = -1
        self._second_text = ""

    def write(self, noted: Ended) -> Written:
        """The line and the row of a request, without secrets."""
        day, second = self._time(noted.at).split(" ")
        request, response = self._request(noted.request), self._response(noted.response)
        row = _row(f"{day} {second}", noted, request, response)
        fields = _fields(f"{day}T{second}Z", noted, row)
        if self._max_body_chars is not None:
            fields["request_body"] = None if request is None else orjson.Fragment(request)
            fields["response_body"] = None if response is None else orjson.Fragment(response)
        line = _dumped(fields)
        if b"sk-" in line:
            line = redact_bytes(line)
            row = RequestRow._make(redact_text(value) if isinstance(value, str) else value for value in row)
        return Written(line + b"\n", row, noted)

    def _time(self, unix_seconds: float) -> str:
        micros = round(unix_seconds * 1e6)
        second, micros = divmod(micros, 1_000_000)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(second))
        return f"{self._second_text}.{micros:06d}"

    def _request(self, body: Any) -> bytes | None:
        if body is None or self._max_body_chars is None:
            return None
        if isinstance(body, bytes):
            return self._of_admin(body, self._max_body_chars)
        if isinstance(body, Digest):
            return _dumped(body.summary())
        return redact_bytes(_dumped(body if body == NO_ROOM else redact(body, self._max_body_chars)))

    def _of_admin(self, body: bytes, max_chars: int) -> bytes:
        """What an admin route was sent: there, `key` names a key and may be all of it."""
        try:
            sent = orjson.loads(body)
        except ValueError:
            return _dumped(digest_of_bytes(body))
        if isinstance(sent, dict):
            sent = {name: REDACTED if name in ("key", "keys") else value for name, value in sent.items()}
        return redact_bytes(_dumped(redact(sent, max_chars)))

    def _response(self, body: bytes | Digest | str | None) -> bytes | None:
        if not body or self._max_body_chars is None:
            return None
        if isinstance(body, Digest):
            return _dumped(body.summary())
        if isinstance(body, str):
            return _dumped(body)
        if len(body) <= MAX_PARSED_BYTES:
            try:
                return redacted_json(body, self._max_body_chars)
            except ValueError:
                pass
        return _dumped(digest_of_bytes(body))


def _row(at: str, noted: Ended, request: bytes | None, response: bytes | None) -> RequestRow:
    principal = noted.principal
    duration_ms = (noted.ended_at - noted.started_at) * 1000
    upstream_ms = _upstream_seconds(noted.attempts, noted.ended_at) * 1000
    overhead = noted.overhead_seconds
    return RequestRow(
        at,
        noted.request_id,
        None if noted.operation is None else noted.operation.name,
        _kept(noted.method),
        _kept(shown_path(noted.path)) if noted.operation is None else None,
        None if principal is None else principal.key_id,
        None if principal is None else _kept(principal.alias),
        None if principal is None else _kept(principal.owner),
        None if principal is None else _kept(principal.user_id),
        None if principal is None else _kept(principal.team_id),
        _dumped(principal.tags).decode() if principal is not None and principal.tags else "[]",
        _kept(noted.container_id),
        _kept(noted.file_id),
        noted.provider,
        None if noted.deployment is None else noted.deployment.name,
        len(noted.attempts),
        noted.status,
        _kept(noted.error_code),
        _kept(noted.error_detail),
        None if noted.outcome is None else noted.outcome.value,
        round(duration_ms, 3),
        round(duration_ms - upstream_ms if overhead is None else overhead * 1000, 3),
        round(upstream_ms, 3),
        noted.bytes_in,
        noted.bytes_out,
        noted.cost_nanousd,
        _kept(noted.upstream_request_id),
        None if request is None else request.decode(),
        None if response is None else response.decode(),
    )


def _fields(timestamp: str, noted: Ended, row: RequestRow) -> dict[str, Any]:
    """The fields of a line, in order, but for the bodies."""
    fields: dict[str, Any] = {
        "timestamp": timestamp,
        "level": "debug" if noted.is_probe else "info",
        "event": "request",
        "request_id": row.request_id,
        "operation": row.operation,
        "method": row.method,
        "path": row.path,
        "key_id": row.key_id,
        "key_alias": row.key_alias,
        "owner": row.owner,
        "provider": row.provider,
        "deployment": row.deployment,
        "container_id": row.container_id,
        "file_id": row.file_id,
        "status": row.status,
        "outcome": row.outcome,
        "error_code": row.error_code,
        "error_detail": row.error_detail,
        "duration_ms": row.duration_ms,
        "overhead_ms": row.overhead_ms,
        "upstream_ms": row.upstream_ms,
        "attempts": row.attempts,
        "bytes_in": row.bytes_in,
        "bytes_out": row.bytes_out,
        "cost_nanousd": row.cost_nanousd,
        "upstream_request_id": row.upstream_request_id,
    }
    if row.user_id is not None:
        fields["user_id"] = row.user_id
    if row.team_id is not None:
        fields["team_id"] = row.team_id
    if noted.principal is not None and noted.principal.tags:
        fields["tags"] = noted.principal.tags
    return fields


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
