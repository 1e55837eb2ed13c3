"""What can go wrong, as one tree. The names are those of OpenAI's SDK.

    QuaymasterError                       everything on this page; also a client used after `close()`
    ├── InvalidArgumentError              an argument that can never be right, such as an empty id (also a ValueError)
    ├── MissingCredentialError            no key or no base URL; names the environment variable to set
    └── APIError                          a request was to be sent: `message`, `body`, `code`, `param`, `type`
        ├── APIConnectionError            no whole answer came: refused, cut off, not HTTP
        │   └── APITimeoutError           the server was silent for longer than the timeout
        ├── APIResponseValidationError    an answer came that is no container, file, list, …
        └── APIStatusError                the server said no: `status_code`, `request_id`, `headers`
            ├── BadRequestError           400
            ├── AuthenticationError       401
            ├── PermissionDeniedError     403
            ├── NotFoundError             404
            ├── ConflictError             409
            ├── UnprocessableEntityError  422
            ├── RateLimitError            429, also an exhausted budget or quota (`code`)
            ├── InternalServerError       500 and above
            └── ContainerExpiredError     the container is no more; also the class of its status, 404 or 400

No message, `repr` or `body` holds the key that the request was made with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

MAX_MESSAGE_LENGTH: Final = 2000


class QuaymasterError(Exception):
    """The root of every error that this library raises of its own."""


class InvalidArgumentError(QuaymasterError, ValueError):
    """An argument that no server would take. Nothing was sent."""


class MissingCredentialError(QuaymasterError):
    """There is no key, or no base URL: neither as an argument nor in the environment. Nothing was sent.

    `variable` is the environment variable that would have said it.
    """

    def __init__(self, message: str, variable: str = "") -> None:
        super().__init__(message)
        self.variable = variable


class APIError(QuaymasterError):
    """A request failed.

    `body` is the error object that the server sent, else the body as far as it could be read, else None. `code`,
    `param` and `type` are taken from it. `status_code` and `request_id` are None where no answer came.
    """

    status_code: int | None = None
    request_id: str | None = None
    code: str | None = None
    param: str | None = None
    type: str | None = None

    def __init__(self, message: str, *, body: object | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.body = body
        if isinstance(body, Mapping):
            self.code = _text(body.get("code"))
            self.param = _text(body.get("param"))
            self.type = _text(body.get("type"))


class APIConnectionError(APIError):
    """No whole answer came. Whether the server did what was asked is not known."""

    def __init__(self, message: str = "Connection error.", *, body: object | None = None) -> None:
        super().__init__(message, body=body)


class APITimeoutError(APIConnectionError):
    """The server was silent for longer than the timeout."""

    def __init__(self, message: str = "Request timed out.", *, body: object | None = None) -> None:
        super().__init__(message, body=body)


class _Answered(APIError):
    """An answer came. `headers` are its headers, names in lower case."""

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        body: object | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, body=body)
        if status_code is not None:
            self.status_code = status_code
        self.headers: dict[str, str] = dict(headers or {})
        self.request_id = self.headers.get("x-request-id") or self.headers.get("x-upstream-request-id")


class APIResponseValidationError(_Answered):
    """The server said yes, and what came with it cannot be understood. `body` is what came, at most 64 KiB of it."""


class APIStatusError(_Answered):
    """The server answered with a status that is no success."""

    status_code: int = 0

    def __str__(self) -> str:
        known = [f"status {self.status_code}"] if self.status_code else []
        if self.request_id:
            known.append(f"request {self.request_id}")
        return f"{self.message} ({', '.join(known)})" if known else self.message


class BadRequestError(APIStatusError):
    """400: the request is wrong; `param` often says where."""

    status_code = 400


class AuthenticationError(APIStatusError):
    """401: the key is missing, wrong, expired or blocked."""

    status_code = 401


class PermissionDeniedError(APIStatusError):
    """403: the key is known, and may not do this."""

    status_code = 403


class NotFoundError(APIStatusError):
    """404: no such container or file, or somebody else's."""

    status_code = 404


class ConflictError(APIStatusError):
    """409: something else goes on with the same thing."""

    status_code = 409


class UnprocessableEntityError(APIStatusError):
    """422: understood, and cannot be done."""

    status_code = 422


class RateLimitError(APIStatusError):
    """429: too many requests, or no budget left (`code` tells which)."""

    status_code = 429


class InternalServerError(APIStatusError):
    """500 and above: the server, or the one behind it, failed."""

    status_code = 500


class ContainerExpiredError(APIStatusError):
    """The container is no more.

    Servers say so in four ways, and each is this error: 404 `Container with id '…' not found.`, 404 `Container has
    expired.`, 400 `Container is expired.` and 400 `Container is not running.` Each is also a NotFoundError or a
    BadRequestError, by its status. The first is what a container that never was, or is somebody else's, is answered
    with too: it cannot be told apart.
    """


class ExpiredNotFoundError(ContainerExpiredError, NotFoundError):
    """A ContainerExpiredError with status 404."""

    status_code = 404


class ExpiredBadRequestError(ContainerExpiredError, BadRequestError):
    """A ContainerExpiredError with status 400."""

    status_code = 400


_BY_STATUS: Final[dict[int, type[APIStatusError]]] = {
    cls.status_code: cls
    for cls in (
        BadRequestError,
        AuthenticationError,
        PermissionDeniedError,
        NotFoundError,
        ConflictError,
        UnprocessableEntityError,
        RateLimitError,
    )
}
_EXPIRED: Final[dict[int, type[APIStatusError]]] = {404: ExpiredNotFoundError, 400: ExpiredBadRequestError}
_DEAD: Final = re.compile(
    r"container (with id \S+ not found|has expired|is expired|is not running)\.?", re.IGNORECASE | re.ASCII
)


def status_error(status: int, body: object | None, headers: Mapping[str, str]) -> APIStatusError:
    """The error for an answer that is no success. `body` is what was sent: decoded JSON, or else text."""
    detail = body.get("error", body) if isinstance(body, Mapping) else body
    message = _message(detail) or f"The server answered with status {status}."
    if 300 <= status < 400 and (location := headers.get("location")):
        message = f"The server redirects to {location[:200]}, which is not followed: set api_base to where the API is."
    return _class_of(status, message)(message, status_code=status, body=detail, headers=headers)


def _class_of(status: int, message: str) -> type[APIStatusError]:
    if status in _EXPIRED and _DEAD.fullmatch(message.strip()):
        return _EXPIRED[status]
    return _BY_STATUS.get(status, InternalServerError if status >= 500 else APIStatusError)


def _message(detail: object) -> str:
    if isinstance(detail, Mapping):
        detail = detail.get("message") or detail.get("detail")
    if not isinstance(detail, str):
        return ""
    return detail.strip()[:MAX_MESSAGE_LENGTH]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
