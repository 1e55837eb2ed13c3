"""One call on its way: all that the blocking and the asynchronous driver share. It opens no socket."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, closing, contextmanager
from typing import Any, Final, TypeVar

import httpx

from quaymaster import answers
from quaymaster.calls import Call, outgoing
from quaymaster.errors import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    InvalidArgumentError,
)
from quaymaster.operations import Payload
from quaymaster.options import DEFAULT_MAX_RETRIES, DEFAULT_TIMEOUT_SECONDS, RequestOptions, Settings
from quaymaster.retries import Attempts

T = TypeVar("T")

MAX_CONNECT_SECONDS: Final = 5.0


class Exchange:
    """A call, its attempts so far, and what comes of them."""

    def __init__(self, call: Call[Any], settings: Settings, options: RequestOptions) -> None:
        settings = settings.joined(options)
        self._outgoing = outgoing(call, settings)
        self._timeout = timeout_of(settings.timeout)
        self._redact = answers.Redaction(self._outgoing.headers)
        self._is_content = call.operation.response is Payload.CONTENT
        self._also: Mapping[str, str] = {}
        upload = self._outgoing.upload
        retries = DEFAULT_MAX_RETRIES if settings.max_retries is None else settings.max_retries
        self._attempts = Attempts(retries, (lambda: upload.can_repeat) if upload else lambda: True)

    @contextmanager
    def body(self) -> Generator[Iterator[bytes] | None]:
        """The next attempt's upload, None where there is none. What it read from is closed at the end."""
        upload = self._outgoing.upload
        if upload is None:
            yield None
            return
        with closing(upload.pieces()) as pieces:
            yield pieces

    @asynccontextmanager
    async def abody(self) -> AsyncGenerator[AsyncIterator[bytes] | None]:
        """`body`, for the asynchronous driver."""
        upload = self._outgoing.upload
        if upload is None:
            yield None
            return
        async with aclosing(upload.apieces()) as pieces:
            yield pieces

    def request(self, body: Iterator[bytes] | AsyncIterator[bytes] | None) -> httpx.Request:
        """The next attempt."""
        return httpx.Request(
            self._outgoing.method,
            self._outgoing.url,
            headers={**self._outgoing.attempt(self._attempts.number), **self._also},
            content=self._outgoing.content if body is None else body,
            extensions={"timeout": self._timeout.as_dict()},
        )

    @property
    def has_own_range(self) -> bool:
        """Whether the caller asked for a part of a content."""
        return "range" in self._outgoing.headers

    def also_send(self, headers: Mapping[str, str]) -> None:
        """Headers for all attempts to come, in place of those that were said here before."""
        self._also = headers

    def renew(self) -> None:
        """Count failures from 0 again."""
        self._attempts.number = 0

    def wait_seconds(self, error: APIError) -> float | None:
        """How many seconds to wait before the next attempt; None where this error is the end."""
        if isinstance(error, APIStatusError):
            return self._attempts.after_status(error.status_code, error.headers)
        return self._attempts.after_failure() if isinstance(error, APIConnectionError) else None

    def refusal(self, response: httpx.Response, body: bytes) -> APIStatusError:
        """The error for an answer that is no success."""
        return answers.refusal(response.status_code, response.headers, body, self._redact)

    def check_length(self, length: int, response: httpx.Response) -> None:
        """Raises APIResponseValidationError for an answer that is too long to be one."""
        if length > answers.MAX_JSON_BYTES and not self._is_content:
            raise self._unreadable(response, f"The answer is larger than {answers.MAX_JSON_BYTES} bytes.")

    def parsed(self, call: Call[T], response: httpx.Response, body: bytes) -> T:
        """What a success's body says. Raises APIResponseValidationError."""
        try:
            return call.parse(body)
        except ValueError as error:
            raise self._unreadable(response, str(error), body) from None

    def _unreadable(self, response: httpx.Response, message: str, body: bytes = b"") -> APIResponseValidationError:
        return answers.unreadable(response.status_code, response.headers, self._redact, message, body)

    @contextmanager
    def translated(self) -> Generator[None]:
        """Raise our own errors for httpx's."""
        try:
            yield
        except httpx.TimeoutException as failure:
            raise APITimeoutError(f"Request timed out ({type(failure).__name__}).") from failure
        except httpx.HTTPError as failure:
            said = str(failure)
            detail = self._redact(said) or type(failure).__name__
            cause = failure if self._redact(said) == said else None
            if isinstance(failure, httpx.DecodingError):
                raise APIResponseValidationError(f"The answer cannot be decoded: {detail}") from cause
            raise APIConnectionError(f"Connection error: {detail}") from cause
        except httpx.InvalidURL as failure:
            raise InvalidArgumentError(f"The base URL cannot be used: {failure}") from failure


def timeout_of(timeout: float | httpx.Timeout | None) -> httpx.Timeout:
    """Seconds as httpx's timeout: connecting takes at most 5 of them. Raises InvalidArgumentError for none at all."""
    if isinstance(timeout, httpx.Timeout):
        return timeout
    seconds = DEFAULT_TIMEOUT_SECONDS if timeout is None else timeout
    if not seconds > 0:
        raise InvalidArgumentError(f"timeout is in seconds, more than 0, and is {timeout!r}.")
    return httpx.Timeout(seconds, connect=min(seconds, MAX_CONNECT_SECONDS))
