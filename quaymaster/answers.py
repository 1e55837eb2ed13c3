"""What an answer means, before anybody has read its body: no I/O, shared by both drivers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from quaymaster.errors import APIResponseValidationError, APIStatusError, status_error

MAX_ERROR_BODY_BYTES: Final = 256 * 1024
MAX_JSON_BYTES: Final = 64 * 1024 * 1024
"""An answer that is no file's content is not read any further than this."""

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
    return status_error(status, decoded, {name.lower(): redact(value) for name, value in headers.items()})


def excessive(status: int, headers: Mapping[str, str]) -> APIResponseValidationError:
    """The error for an answer that does not end."""
    return APIResponseValidationError(
        f"The answer is larger than {MAX_JSON_BYTES} bytes.", status_code=status, headers=headers
    )


def unreadable(
    error: APIResponseValidationError, redact: Redaction, answered: tuple[int, Mapping[str, str]] | None
) -> APIResponseValidationError:
    """The error for a success that says nothing, with what else is known of that answer."""
    status, headers = answered or (None, {})
    body = redact(error.body) if isinstance(error.body, str) else error.body
    return APIResponseValidationError(redact(error.message), status_code=status, body=body, headers=headers)


def total_bytes(headers: Mapping[str, str]) -> int | None:
    """How long a body says that it is, as it will be read; None where it does not say."""
    length = headers.get("content-length", "")
    return int(length) if length.isdecimal() and "content-encoding" not in headers else None
