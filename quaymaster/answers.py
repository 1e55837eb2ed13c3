"""What an answer means, before anybody has read its body: no I/O, shared by both drivers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from quaymaster.errors import APIResponseValidationError, APIStatusError, status_error

MAX_ERROR_BODY_BYTES: Final = 256 * 1024
MAX_JSON_BYTES: Final = 64 * 1024 * 1024
"""An answer that is no file's content is not read any further than this."""
MAX_SHOWN_LENGTH: Final = 64 * 1024
"""How much of an answer that cannot be understood is kept to be shown."""

_SECRET_HEADERS: Final = ("authorization", "api-key", "x-api-key")
_MIN_SECRET_LENGTH: Final = 8
"""What is shorter is no secret, and would blot out words."""


class Redaction:
    """Takes out of a text what a request was authorized with."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        values = (headers.get(name, "").removeprefix("Bearer ").strip() for name in _SECRET_HEADERS)
        self._secrets = [value for value in values if len(value) >= _MIN_SECRET_LENGTH]

    def __call__(self, text: str) -> str:
        """The text without them."""
        for secret in self._secrets:
            text = text.replace(secret, "[key]")
        return text

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Headers without them, by lower-case name."""
        return {name.lower(): self(value) for name, value in headers.items()}


def is_success(status: int) -> bool:
    """Whether the server said yes."""
    return 200 <= status < 300


def refusal(status: int, headers: Mapping[str, str], body: bytes, redact: Redaction) -> APIStatusError:
    """The error for an answer that is no success; `body` may have been cut short."""
    text = redact(body[:MAX_ERROR_BODY_BYTES].decode("utf-8", "replace"))
    try:
        decoded: object = json.loads(text)
    except (ValueError, RecursionError):
        decoded = text
    return status_error(status, decoded, redact.headers(headers))


def unreadable(
    status: int, headers: Mapping[str, str], redact: Redaction, message: str, body: bytes = b""
) -> APIResponseValidationError:
    """The error for a success that says nothing."""
    text = redact(body.decode("utf-8", "replace"))[:MAX_SHOWN_LENGTH]
    return APIResponseValidationError(
        redact(message), status_code=status, body=text or None, headers=redact.headers(headers)
    )


def total_bytes(headers: Mapping[str, str]) -> int | None:
    """How long a body says that it is, as it will be read; None where it does not say."""
    length = headers.get("content-length", "")
    return int(length) if length.isdecimal() and "content-encoding" not in headers else None
