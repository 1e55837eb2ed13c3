"""One call on its way: all that the blocking and the asynchronous driver share. It opens no socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import closing, contextmanager
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
from quaymaster.options import DEFAULT_TIMEOUT_SECONDS, RequestOptions, Settings
from quaymaster.retries import Attempts

T = TypeVar("T")

MAX_CONNECT_SECONDS: Final = 5.0


class Body:
    """An upload on its way: the same pieces for either driver."""

    def __init__(self, pieces: Generator[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration


class Exchange:
    """A call, its attempts so far, and what comes of them."""

    def __init__(self, call: Call[Any], settings: Settings, options: RequestOptions) -> None:
        self._outgoing = outgoing(call, settings, options)
        self._timeout = timeout_of(settings.timeout if options.timeout is None else options.timeout)
        self._redact = answers.Redaction(self._outgoing.headers)
        self._is_content = call.operation.response is Payload.CONTENT
        self._answered: tuple[int, dict[str, str]] | None = None
        upload = self._outgoing.upload
        retries = settings.max_retries if options.max_retries is None else options.max_retries
        self._attempts = Attempts(retries, (lambda: upload.can_repeat) if upload else lambda: True)

    @contextmanager
    def body(self) -> Generator[Body | None]:
        """The next attempt's upload, None where there is none. What it read from is closed at the end."""
        upload = self._outgoing.upload
        if upload is None:
            yield None
            return
        with closing(upload.pieces()) as pieces:
            yield Body(pieces)

    def request(self, body: Body | None) -> httpx.Request:
        """The next attempt."""
        return httpx.Request(
            self._outgoing.method,
            self._outgoing.url,
            headers=self._outgoing.attempt(self._attempts.number),
            content=self._outgoing.content if body is None else body,
            extensions={"timeout": self._timeout.as_dict()},
        )

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
        self._answered = (response.status_code, dict(response.headers.items()))
        if length > answers.MAX_JSON_BYTES and not self._is_content:
            raise answers.excessive(response.status_code, response.headers)

    def parsed(self, call: Call[T], body: bytes) -> T:
        """What a success's body says. Raises APIResponseValidationError."""
        try:
            return call.parse(body)
        except APIResponseValidationError as error:
            raise answers.unreadable(error, self._redact, self._answered) from None

    @contextmanager
    def translated(self) -> Generator[None]:
        """Raise our own errors for httpx's."""
        try:
            yield
        except httpx.TimeoutException as failure:
            raise APITimeoutError(f"Request timed out ({type(failure).__name__}).") from failure
        except httpx.DecodingError as failure:
            raise APIResponseValidationError(f"The answer cannot be decoded: {self._redact(str(failure))}") from failure
        except httpx.HTTPError as failure:
            detail = self._redact(str(failure)) or type(failure).__name__
            raise APIConnectionError(f"Connection error: {detail}") from failure
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
