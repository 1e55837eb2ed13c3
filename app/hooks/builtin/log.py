"""The default hook: one line per request."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import structlog

from app.domain.exchange import Exchange
from app.hooks.spec import Hooks
from app.telemetry.redaction import digest_of_bytes, redact, redact_json, shown_path
from app.telemetry.writer import Later

MAX_PARSED_BYTES: Final = 256 * 1024
"""A larger answer is logged as its size and hash: parsing it would hold the interpreter lock for too long."""

_PROBES: Final = frozenset({"/health/liveliness", "/health/liveness", "/health/readiness", "/metrics"})


class RequestLog(Hooks):
    """Logs the event `request` when an exchange is settled; the fields are listed in docs/hooks.md.

    `bodies`: whether JSON bodies are logged, redacted, with `max_body_bytes` characters of text at most each. Files are
    logged as their size and SHA-256. Bodies are redacted by the log's own thread. Probes are logged at level debug.
    """

    def __init__(self, *, bodies: bool = True, max_body_bytes: int = 16 * 1024) -> None:
        self._bodies = bodies
        self._max_body_bytes = max_body_bytes
        self._log = structlog.get_logger().bind()

    def settled(self, exchange: Exchange) -> None:
        """Log the request."""
        fields = _fields(exchange)
        if self._bodies:
            fields["request_body"] = self._request_body(exchange)
            fields["response_body"] = self._response_body(exchange)
        log = self._log.debug if exchange.path in _PROBES and exchange.status == 200 else self._log.info
        log("request", **fields)

    def _request_body(self, exchange: Exchange) -> Any:
        if exchange.request_digest is not None:
            return exchange.request_digest.summary()
        if exchange.request_json is None:
            return None
        return Later(partial(redact, exchange.request_json, self._max_body_bytes), exchange.body.bytes_read)

    def _response_body(self, exchange: Exchange) -> Any:
        if exchange.response_digest is not None:
            return exchange.response_digest.summary()
        if not exchange.response_json:
            return None
        return Later(partial(_redacted, exchange.response_json, self._max_body_bytes), len(exchange.response_json))


def _fields(exchange: Exchange) -> dict[str, Any]:
    operation, principal, deployment = exchange.operation, exchange.principal, exchange.deployment
    duration_ms = exchange.duration_seconds * 1000
    upstream_ms = exchange.upstream_seconds * 1000
    overhead = exchange.overhead_seconds
    fields: dict[str, Any] = {
        "request_id": exchange.request_id,
        "operation": None if operation is None else operation.name,
        "method": exchange.method,
        "path": shown_path(exchange.path) if operation is None else None,
        "key_id": None,
        "key_alias": None,
        "owner": None,
        "provider": exchange.provider,
        "deployment": None if deployment is None else deployment.name,
        "container_id": exchange.container_id,
        "file_id": exchange.file_id,
        "status": exchange.status,
        "outcome": exchange.outcome,
        "error_code": exchange.error_code,
        "error_detail": exchange.error_detail,
        "duration_ms": round(duration_ms, 3),
        "overhead_ms": round(duration_ms - upstream_ms if overhead is None else overhead * 1000, 3),
        "upstream_ms": round(upstream_ms, 3),
        "attempts": len(exchange.attempts),
        "bytes_in": exchange.body.bytes_read,
        "bytes_out": exchange.bytes_out,
        "upstream_request_id": exchange.upstream_request_id,
    }
    if principal is not None:
        fields["key_id"] = principal.key_id
        fields["key_alias"] = principal.alias
        fields["owner"] = principal.owner
        if principal.user_id is not None:
            fields["user_id"] = principal.user_id
        if principal.team_id is not None:
            fields["team_id"] = principal.team_id
        if principal.tags:
            fields["tags"] = principal.tags
    return fields


def _redacted(body: bytes, max_chars: int) -> Any:
    """A JSON answer as it may be logged. What is not JSON after all, or too large, is shown as its size and hash."""
    if len(body) <= MAX_PARSED_BYTES:
        try:
            return redact_json(body, max_chars)
        except ValueError:
            pass
    return digest_of_bytes(body)
