"""The only module that opens a socket: two drivers, one blocking and one asynchronous, over httpx.

Each runs an attempt, asks whether there is to be another, and waits. Redirects are not followed, so that a key goes
nowhere it was not sent to.

Pools are opened by the first request, and one that nobody closes closes itself: the blocking one with its transport or
with the process; the asynchronous ones, of which each event loop has its own, with their transport or their loop.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeVar
from weakref import WeakKeyDictionary

import httpx

from quaymaster import answers
from quaymaster.calls import Call
from quaymaster.contents import AsyncContentStream, ContentStream
from quaymaster.errors import APIError, QuaymasterError
from quaymaster.exchange import Exchange
from quaymaster.options import RequestOptions, Settings
from quaymaster.passage import Passage

T = TypeVar("T")

LIMITS: Final = httpx.Limits(max_connections=1000, max_keepalive_connections=100, keepalive_expiry=30)


class Transport:
    """The blocking driver. Threads may share it; after a fork, the child opens a pool of its own.

    A client that is given is used as it is, and never closed.
    """

    def __init__(self, http: httpx.Client | None = None) -> None:
        self._given = http
        self._pools: dict[int, httpx.Client] = {}
        self._opening = threading.Lock()
        self._closed = False

    def send(self, call: Call[T], settings: Settings, options: RequestOptions) -> T:
        """Make a call, again if need be, and read its answer. Raises APIError."""
        exchange = Exchange(call, settings, options)
        return self._answer(exchange, lambda response: exchange.parsed(call, response, _whole(response, exchange)))

    @contextmanager
    def stream(
        self, call: Call[bytes], settings: Settings, options: RequestOptions, *, may_restart: bool = False
    ) -> Generator[ContentStream]:
        """Make a call, again if need be, and leave its answer to be read. Raises APIError.

        `may_restart`: whoever reads it looks at `restarts`, and can take what comes from the start again.
        """
        exchange = Exchange(call, settings, options)

        def send() -> httpx.Response:
            return self._answer(exchange, lambda response: response)

        passage = Passage(may_restart=may_restart, has_own_range=exchange.has_own_range)
        with closing(send()) as first, closing(ContentStream(first, exchange, passage, send)) as content:
            yield content

    def close(self) -> None:
        """Close the pool. Further calls raise QuaymasterError."""
        self._closed = True
        if http := self._pools.pop(os.getpid(), None):
            http.close()

    def _answer(self, exchange: Exchange, take: Callable[[httpx.Response], T]) -> T:
        while True:
            try:
                return self._attempt(exchange, take)
            except APIError as error:
                wait_seconds = exchange.wait_seconds(error)
                if wait_seconds is None:
                    raise
            time.sleep(wait_seconds)

    def _attempt(self, exchange: Exchange, take: Callable[[httpx.Response], T]) -> T:
        http = self._http()
        with exchange.translated(), exchange.body() as body:
            response = http.send(exchange.request(body), stream=True, auth=None, follow_redirects=False)
            try:
                if not answers.is_success(response.status_code):
                    raise exchange.refusal(response, _beginning(response))
                return take(response)
            except BaseException:
                response.close()
                raise

    def _http(self) -> httpx.Client:
        if self._closed:
            raise _closed()
        if self._given is not None:
            return self._given
        process = os.getpid()
        if (http := self._pools.get(process)) is None:
            with self._opening:
                if (http := self._pools.get(process)) is None:
                    http = self._pools[process] = httpx.Client(limits=LIMITS, verify=_tls())
                    weakref.finalize(self, http.close)
        return http


class AsyncTransport:
    """The asynchronous driver, for any number of event loops. A client that is given is used as it is, never closed."""

    def __init__(self, http: httpx.AsyncClient | None = None) -> None:
        self._given = http
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopPool] = WeakKeyDictionary()
        self._closed = False

    async def send(self, call: Call[T], settings: Settings, options: RequestOptions) -> T:
        """Make a call, again if need be, and read its answer. Raises APIError."""
        exchange = Exchange(call, settings, options)

        async def take(response: httpx.Response) -> T:
            return exchange.parsed(call, response, await _awhole(response, exchange))

        return await self._answer(exchange, take)

    @asynccontextmanager
    async def stream(
        self, call: Call[bytes], settings: Settings, options: RequestOptions, *, may_restart: bool = False
    ) -> AsyncGenerator[AsyncContentStream]:
        """Make a call, again if need be, and leave its answer to be read. Raises APIError.

        `may_restart`: whoever reads it looks at `restarts`, and can take what comes from the start again.
        """
        exchange = Exchange(call, settings, options)

        async def send() -> httpx.Response:
            return await self._answer(exchange, _unread)

        passage = Passage(may_restart=may_restart, has_own_range=exchange.has_own_range)
        async with (
            aclosing(await send()) as first,
            aclosing(AsyncContentStream(first, exchange, passage, send)) as content,
        ):
            yield content

    async def aclose(self) -> None:
        """Close the pool of the running loop. Further calls raise QuaymasterError."""
        self._closed = True
        if pool := self._pools.pop(asyncio.get_running_loop(), None):
            await pool.keeper.aclose()

    async def _answer(self, exchange: Exchange, take: Callable[[httpx.Response], Awaitable[T]]) -> T:
        while True:
            try:
                return await self._attempt(exchange, take)
            except APIError as error:
                wait_seconds = exchange.wait_seconds(error)
                if wait_seconds is None:
                    raise
            await asyncio.sleep(wait_seconds)

    async def _attempt(self, exchange: Exchange, take: Callable[[httpx.Response], Awaitable[T]]) -> T:
        http = await self._http()
        with exchange.translated():
            async with exchange.abody() as body:
                response = await http.send(exchange.request(body), stream=True, auth=None, follow_redirects=False)
            try:
                if not answers.is_success(response.status_code):
                    raise exchange.refusal(response, await _abeginning(response))
                return await take(response)
            except BaseException:
                await response.aclose()
                raise

    async def _http(self) -> httpx.AsyncClient:
        if self._closed:
            raise _closed()
        if self._given is not None:
            return self._given
        loop = asyncio.get_running_loop()
        if (pool := self._pools.get(loop)) is None:
            for other in [other for other in self._pools if other.is_closed()]:
                del self._pools[other]
            http = httpx.AsyncClient(limits=LIMITS, verify=_tls())
            pool = self._pools[loop] = _LoopPool(http, _keeping(http))
            await anext(pool.keeper)
        return pool.http


@dataclass(frozen=True, slots=True)
class _LoopPool:
    """One event loop's pool. `keeper` closes it, and is closed by the loop's own end."""

    http: httpx.AsyncClient
    keeper: AsyncGenerator[None]


async def _keeping(http: httpx.AsyncClient) -> AsyncGenerator[None]:
    """A generator that closes a pool when it is closed, which event loops do to every generator before they end."""
    try:
        yield
    finally:
        await http.aclose()


def _whole(response: httpx.Response, exchange: Exchange) -> bytes:
    body = bytearray()
    for piece in response.iter_bytes():
        body += piece
        exchange.check_length(len(body), response)
    return bytes(body)


async def _awhole(response: httpx.Response, exchange: Exchange) -> bytes:
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        exchange.check_length(len(body), response)
    return bytes(body)


async def _unread(response: httpx.Response) -> httpx.Response:
    return response


def _beginning(response: httpx.Response) -> bytes:
    """As much of an error's body as comes, and as is worth reading."""
    body = bytearray()
    with suppress(httpx.HTTPError):
        for piece in response.iter_bytes():
            body += piece
            if len(body) >= answers.MAX_ERROR_BODY_BYTES:
                break
    return bytes(body)


async def _abeginning(response: httpx.Response) -> bytes:
    """As much of an error's body as comes, and as is worth reading."""
    body = bytearray()
    with suppress(httpx.HTTPError):
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) >= answers.MAX_ERROR_BODY_BYTES:
                break
    return bytes(body)


@cache
def _tls() -> ssl.SSLContext:
    """Certificates take a while to read: all pools share them."""
    return httpx.create_ssl_context()


def _closed() -> QuaymasterError:
    return QuaymasterError("This client is closed: make another.")
