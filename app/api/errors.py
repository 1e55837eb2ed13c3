"""One table: what each of the gateway's own errors looks like on the wire.

Every error is OpenAI's envelope, `{"error": {"message", "type", "param", "code"}}`, with all four keys always there.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import orjson

from app.domain.errors import ErrorCode, GatewayError
from app.domain.ports import RawHeaders


class Face(NamedTuple):
    """How an error code shows: HTTP status, `error.type`, and whether `code` is sent or null, as OpenAI has it."""

    status: int
    type: str
    code_is_shown: bool = True


INVALID_REQUEST: Final = "invalid_request_error"

FACES: Final[dict[ErrorCode, Face]] = {
    ErrorCode.INVALID_API_KEY: Face(401, INVALID_REQUEST),
    ErrorCode.EXPIRED_API_KEY: Face(401, INVALID_REQUEST),
    ErrorCode.BLOCKED_API_KEY: Face(401, INVALID_REQUEST),
    ErrorCode.OPERATION_NOT_ALLOWED: Face(403, "permission_error"),
    ErrorCode.CONTAINER_NOT_FOUND: Face(404, INVALID_REQUEST, code_is_shown=False),
    ErrorCode.FILE_NOT_FOUND: Face(404, INVALID_REQUEST, code_is_shown=False),
    ErrorCode.KEY_NOT_FOUND: Face(404, INVALID_REQUEST),
    ErrorCode.ROUTE_NOT_FOUND: Face(404, INVALID_REQUEST),
    ErrorCode.METHOD_NOT_ALLOWED: Face(405, INVALID_REQUEST),
    ErrorCode.INVALID_JSON: Face(400, INVALID_REQUEST),
    ErrorCode.INVALID_TYPE: Face(400, INVALID_REQUEST),
    ErrorCode.INVALID_VALUE: Face(400, INVALID_REQUEST),
    ErrorCode.INTEGER_BELOW_MIN_VALUE: Face(400, INVALID_REQUEST),
    ErrorCode.INTEGER_ABOVE_MAX_VALUE: Face(400, INVALID_REQUEST),
    ErrorCode.INVALID_MULTIPART: Face(400, INVALID_REQUEST),
    ErrorCode.INVALID_REQUEST: Face(400, INVALID_REQUEST),
    ErrorCode.UNKNOWN_PARAMETER: Face(400, INVALID_REQUEST),
    ErrorCode.MISSING_REQUIRED_PARAMETER: Face(400, INVALID_REQUEST),
    ErrorCode.UNKNOWN_PROVIDER: Face(400, INVALID_REQUEST),
    ErrorCode.REQUEST_TOO_LARGE: Face(413, INVALID_REQUEST),
    ErrorCode.HEADERS_TOO_LARGE: Face(431, INVALID_REQUEST),
    ErrorCode.UPSTREAM_UNREACHABLE: Face(502, "upstream_error"),
    ErrorCode.UPSTREAM_PROTOCOL_ERROR: Face(502, "upstream_error"),
    ErrorCode.UPSTREAM_TIMEOUT: Face(504, "upstream_error"),
    ErrorCode.NO_HEALTHY_DEPLOYMENT: Face(503, "upstream_error"),
    ErrorCode.IDEMPOTENCY_KEY_REUSED: Face(400, INVALID_REQUEST),
    ErrorCode.IDEMPOTENCY_KEY_IN_USE: Face(409, INVALID_REQUEST),
    ErrorCode.CONTAINER_TAKEN: Face(502, "upstream_error"),
    ErrorCode.RATE_LIMIT_EXCEEDED: Face(429, "rate_limit_error"),
    ErrorCode.BUDGET_EXCEEDED: Face(429, "insufficient_quota"),
    ErrorCode.GROUP_NOT_FOUND: Face(404, INVALID_REQUEST),
    ErrorCode.SHUTTING_DOWN: Face(503, "api_error"),
    ErrorCode.STORE_UNAVAILABLE: Face(503, "api_error"),
    ErrorCode.INTERNAL_ERROR: Face(500, "api_error"),
}

CREDENTIAL_HELP: Final = "Send your key as 'Authorization: Bearer sk-...' (or in an api-key or x-api-key header)."


def envelope(message: str, type_: str, param: str | None, code: str | None) -> dict[str, Any]:
    """OpenAI's error object."""
    return {"error": {"message": message, "type": type_, "param": param, "code": code}}


def rendered(error: GatewayError) -> tuple[int, RawHeaders, bytes]:
    """Status, headers and body of an error."""
    face = FACES[error.code]
    body = orjson.dumps(
        envelope(error.message, face.type, error.param, error.code.value if face.code_is_shown else None),
        option=orjson.OPT_NON_STR_KEYS,
    )
    headers: RawHeaders = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    if face.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if error.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % math.ceil(error.retry_after_seconds)))
        if error.code is ErrorCode.RATE_LIMIT_EXCEEDED:  # OpenAI's SDKs read this one first
            headers.append((b"retry-after-ms", b"%d" % math.ceil(error.retry_after_seconds * 1000)))
    if error.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if error.should_retry else b"false"))
    if error.allow:
        headers.append((b"allow", ", ".join(error.allow).encode()))
    return face.status, headers, body
