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


class Written(NamedTuple):
    """A request, written out."""

    line: bytes
    """One line of JSON."""
    row: RequestRow
    is_probe: bool
    """Whether it is a probe or a scrape that went well, of which nobody wants to read."""
    started_at: float
    """Like the times of `attempts`, `time.monotonic` seconds."""
    ended_at: float
    ended_at_unix: float
    attempts: Sequence[Attempt]


class _Who(NamedTuple):
    """What is the same in every request of a principal, as it may be shown."""

    columns: tuple[str | None, str | None, str | None, str | None, str | None, str]
    """`key_id`, `key_alias`, `owner`, `user_id`, `team_id` and `tags` of the row."""
    members: str
    """The same as members of the line's JSON object; who has no user, team or tags is not said to have none."""


_row: Final = partial(tuple.__new__, RequestRow)  # half the time of RequestRow(…)
_written: Final = partial(tuple.__new__, Written)


class Pen:
    """Writes requests out, in one thread. Of a body `max_body_chars` of text at most are shown, with None nothing."""

    def __init__(self, max_body_chars: int | None) -> None:
        self._max_body_chars = max_body_chars
        self._second = -1
        self._day = self._time = ""
        self._nobody = _who(None)
        self._known: dict[int, tuple[Principal, _Who]] = {}
        self._harmless: dict[bytes, str] = {}

    def write(self, exchange: Exchange) -> Written:
        """The line and the row of a request that is over, without secrets."""
        ended_at = exchange.ended_at or time.monotonic()
        ended_at_unix = exchange.started_at_unix + ended_at - exchange.started_at
        second, micros = divmod(round(ended_at_unix * 1e6), 1_000_000)
        if second != self._second:
            self._second = second
            self._day, self._time = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(second)).split()
        at = f"{self._time}.{micros:06}"
        who = self._who(exchange.principal)
        fields = _fields(exchange, ended_at)
        request, response = self._request(exchange), self._response(exchange)
        row: RequestRow = _row((f"{self._day} {at}", *fields.values(), *who.columns, request, response))
        is_probe = exchange.operation is None and exchange.path in PROBES and exchange.status == 200
        bodies = (
            ""
            if self._max_body_chars is None
            else f',"request_body":{request or "null"},"response_body":{response or "null"}'
        )
        line = (
            f'{{"timestamp":"{self._day}T{at}Z","level":"{"debug" if is_probe else "info"}","event":"request",'
            f"{_dumped(fields)[1:-1].decode()},{who.members}{bodies}}}\n"
        ).encode()
        written: Written = _written(
            (line, row, is_probe, exchange.started_at, ended_at, ended_at_unix, exchange.attempts)
        )
        return written

    def _who(self, principal: Principal | None) -> _Who:
        if principal is None:
            return self._nobody
        known = self._known.get(id(principal))
        if known is not None:  # which keeps the principal, so that its id is no other's
            return known[1]
        who = _who(principal)
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
            line, is_whole = redacted_json(body, max_chars)
        except ValueError:
            return _dumped(digest_of_bytes(body)).decode()
        shown = line.decode()
        if is_whole and len(body) <= MAX_REMEMBERED_BYTES:
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


def _who(principal: Principal | None) -> _Who:
    """What may be shown of a principal, or of nobody known."""
    if principal is None:
        return _Who((None, None, None, None, None, "[]"), '"key_id":null,"key_alias":null,"owner":null')
    texts = (principal.key_id, principal.alias, principal.owner, principal.user_id, principal.team_id)
    key_id, key_alias, owner, user_id, team_id = [text and _shown(text) for text in texts]
    tags = [_shown(tag) for tag in principal.tags]
    fields: dict[str, Any] = {"key_id": key_id, "key_alias": key_alias, "owner": owner}
    optional = {"user_id": user_id, "team_id": team_id, "tags": tags}
    fields |= {name: value for name, value in optional.items() if value is not None and value != []}
    return _Who((key_id, key_alias, owner, user_id, team_id, _dumped(tags).decode()), _dumped(fields)[1:-1].decode())


def _fields(exchange: Exchange, ended_at: float) -> dict[str, Any]:
    """What the row has between `at` and `key_id`, in order."""
    operation, outcome = exchange.operation, exchange.outcome
    attempts, overhead = exchange.attempts, exchange.overhead_seconds
    texts = _texts(exchange)
    method, path, container_id, file_id, provider, deployment, error_code, error_detail, upstream_request_id = texts
    duration = ended_at - exchange.started_at
    upstream = _upstream_seconds(attempts, ended_at)
    return {
        "request_id": exchange.request_id,
        "operation": operation and operation.name,
        "method": method,
        "path": path,
        "container_id": container_id,
        "file_id": file_id,
        "provider": provider,
        "deployment": deployment,
        "attempts": len(attempts),
        "status": exchange.status,
        "error_code": error_code,
        "error_detail": error_detail,
        "outcome": outcome and str(outcome),  # `value` is a Python call
        "duration_ms": round(duration * 1e6) / 1000,  # half the time of round(…, 3)
        "overhead_ms": round((duration - upstream if overhead is None else overhead) * 1e6) / 1000,
        "upstream_ms": round(upstream * 1e6) / 1000,
        "bytes_in": exchange.body.bytes_read,
        "bytes_out": exchange.bytes_out,
        "cost_nanousd": exchange.cost_nanousd,
        "upstream_request_id": upstream_request_id,
    }


def _texts(exchange: Exchange) -> Sequence[str | None]:
    """Texts from outside, as they may be shown. Nearly always there is nothing to hide in any of them."""
    deployment = exchange.deployment
    texts = (
        exchange.method,
        None if exchange.operation else shown_path(exchange.path),
        exchange.container_id,
        exchange.file_id,
        exchange.provider,
        deployment.name if deployment else None,
        exchange.error_code,
        exchange.error_detail,
        exchange.upstream_request_id,
    )
    if _is_harmless("".join(filter(None, texts))):
        return texts
    return [text and _shown(text) for text in texts]


def _is_harmless(text: str) -> bool:
    return text.isascii() and text.isprintable() and "sk-" not in text


def _shown(text: str) -> str:
    """A text from outside without keys, nor what a database or UTF-8 cannot hold."""
    return text if _is_harmless(text) else redact_text(_UNKEPT.sub(_NOT_KEPT, text))


def _dumped(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # not UTF-8, or an integer beyond 64 bits
        return json.dumps(value, default=repr).encode("ascii")


def _upstream_seconds(attempts: Sequence[Attempt], now: float) -> float:
    """Time spent waiting for upstreams to answer; once where some went on at the same time."""
    if len(attempts) == 1:  # nearly always
        return (attempts[0].ended_at or now) - attempts[0].started_at
    total = until = 0.0
    for attempt in attempts:
        ended_at = attempt.ended_at or now
        if ended_at > until:
            total += ended_at - (max(until, attempt.started_at))
            until = ended_at
    return total
