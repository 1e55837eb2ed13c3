"""Phase 6: upstream bytes to downstream bytes.

File contents stream through. JSON answers are read whole (they are small; a larger one streams too) to add the two
members that users' code reads and upstreams leave out: `filename` on container files, `expires_at` on containers.
"""

from __future__ import annotations

import time
from typing import Any, Final

import orjson

from app.domain.exchange import Exchange
from app.domain.ports import Piece, RawHeaders, UpstreamReply
from app.gateway import jsontext
from app.telemetry.digests import Digest
from quaymaster.operations import (
    CONTAINERS_CREATE,
    CONTAINERS_LIST,
    CONTAINERS_RETRIEVE,
    FILES_CREATE,
    FILES_LIST,
    FILES_RETRIEVE,
    Operation,
    Payload,
)

MAX_WHOLE_BYTES: Final = 4 * 1024 * 1024
"""Answers up to here are read whole."""
MAX_AMENDED_BYTES: Final = 512 * 1024
"""Answers up to here get what is missing. A list page of 100 containers is about 40 KiB; one of 4 MiB made of small
objects would take the event loop a third of a second."""

RELAYED_HEADERS: Final = frozenset(
    {
        b"accept-ranges",
        b"cache-control",
        b"content-disposition",
        b"content-encoding",
        b"content-language",
        b"content-range",
        b"content-type",
        b"etag",
        b"last-modified",
        b"openai-processing-ms",
        b"openai-version",
        b"retry-after",
        b"retry-after-ms",
        b"x-should-retry",
    }
)
"""The upstream's headers that clients get. Its request id is passed on as `x-upstream-request-id`."""

_REQUEST_IDS: Final = frozenset({b"x-request-id", b"apim-request-id", b"opc-request-id"})
_READ_HEADERS: Final = RELAYED_HEADERS | _REQUEST_IDS | {b"content-length"}
_NO_BODY: Final = frozenset({204, 304})


class Reply:
    """What goes down: `whole` where the body is in memory, else what `read` gives piece by piece.

    Whoever holds one must call `aclose`, except where the body is whole: then no upstream is behind it any more.
    """

    __slots__ = ("_begun", "_exchange", "_upstream", "headers", "status", "whole")

    def __init__(
        self,
        exchange: Exchange,
        status: int,
        headers: RawHeaders,
        whole: bytes | None,
        *,
        upstream: UpstreamReply | None = None,
        begun: list[Piece] | None = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self.whole = whole
        self._begun = begun
        self._upstream = upstream
        self._exchange = exchange

    @classmethod
    def own(cls, exchange: Exchange, status: int, body: bytes, content_type: str = "application/json") -> Reply:
        """An answer that no upstream is behind."""
        exchange.response_json = body
        return cls(
            exchange,
            status,
            [(b"content-type", content_type.encode("latin-1")), (b"content-length", b"%d" % len(body))],
            body,
        )

    async def read(self) -> Piece:
        """The next piece of a body that is not whole, b"" at its end. Raises UpstreamFault where it breaks off."""
        if self._begun:
            piece = self._begun.pop(0)
        else:
            piece = await self._upstream.read() if self._upstream is not None else b""
        if self._exchange.response_digest is not None:
            self._exchange.response_digest.update(piece)
            if self._exchange.on_content is not None:
                self._exchange.on_content(len(piece))
        return piece

    async def aclose(self) -> None:
        """Let the upstream's connection go, where there is one."""
        if self._upstream is not None:
            await self._upstream.aclose()


def relay_at_hand(exchange: Exchange, operation: Operation, upstream: UpstreamReply) -> Reply | None:
    """What `relay` returns, where the whole answer is here; None where it has to be read."""
    if operation.response is Payload.CONTENT and upstream.status < 300:
        return None
    whole = upstream.at_hand()
    return None if whole is None else _whole(exchange, operation, upstream, whole)


async def relay(exchange: Exchange, operation: Operation, upstream: UpstreamReply) -> Reply:
    """Make the client's reply of the upstream's, which is let go of unless the reply goes on reading it.

    Raises UpstreamFault where it breaks off before the reply begins.
    """
    if operation.response is Payload.CONTENT and upstream.status < 300:
        exchange.response_digest = Digest()
        return _streaming(exchange, upstream, [])
    pieces: list[Piece] = []
    size = 0
    try:
        while piece := await upstream.read():
            pieces.append(piece)
            size += len(piece)
            if size > MAX_WHOLE_BYTES:
                return _streaming(exchange, upstream, pieces)
    except BaseException:
        await upstream.aclose()
        raise
    await upstream.aclose()
    exchange.attempts[-1].ended_at = time.monotonic()
    return _whole(exchange, operation, upstream, b"".join(pieces))


def _whole(exchange: Exchange, operation: Operation, upstream: UpstreamReply, body: bytes) -> Reply:
    """The reply that holds all of the answer, amended where it is plain JSON."""
    status = upstream.status
    headers, _, is_json = _relayed_headers(exchange, upstream)
    if is_json:
        if status == 200 and len(body) <= MAX_AMENDED_BYTES:
            body = amended(body, exchange, operation)
        exchange.response_json = body
    if status not in _NO_BODY:
        headers.append((b"content-length", b"%d" % len(body)))
    return Reply(exchange, status, headers, body)


def _streaming(exchange: Exchange, upstream: UpstreamReply, begun: list[Piece]) -> Reply:
    """The reply that goes on reading the upstream's, of which `begun` has been read."""
    headers, content_length, _ = _relayed_headers(exchange, upstream)
    if content_length is not None and upstream.status not in _NO_BODY:
        headers.append((b"content-length", content_length))
    return Reply(exchange, upstream.status, headers, None, upstream=upstream, begun=begun)


def _relayed_headers(exchange: Exchange, upstream: UpstreamReply) -> tuple[RawHeaders, bytes | None, bool]:
    """The headers by allow-list, the content length, and whether the body is plain JSON."""
    headers: RawHeaders = []
    content_length: bytes | None = None
    is_json = is_encoded = False
    for header in upstream.headers:
        name = header[0]
        if name not in _READ_HEADERS:
            continue
        if name == b"content-length":
            content_length = header[1]
        elif name in _REQUEST_IDS:
            if exchange.upstream_request_id is None:
                exchange.upstream_request_id = header[1].decode("latin-1")
                headers.append((b"x-upstream-request-id", header[1]))
        else:
            headers.append(header)
            if name == b"content-type":
                is_json = header[1].startswith(b"application/json")
            elif name == b"content-encoding" and header[1] != b"identity":
                is_encoded = True
    return headers, content_length, is_json and not is_encoded


def amended(text: bytes, exchange: Exchange, operation: Operation) -> bytes:
    """An operation's JSON answer with what is absent and can be known; as it was where it is not what it should be.

    What it says, and the ids of what was made just now, are noted on the exchange.
    """
    addition = _ADDITIONS.get(operation)
    if addition is None:
        return text
    try:
        if operation in _LISTS:
            return jsontext.amend_list(text, addition)
        parsed = orjson.loads(text)
        if not isinstance(parsed, dict):
            return text
        exchange.response_object = parsed
        if operation is CONTAINERS_CREATE:
            exchange.container_id = _id_in(parsed)
        elif operation is FILES_CREATE:
            exchange.file_id = _id_in(parsed)
        return jsontext.amend_object(text, parsed, addition)
    except (ValueError, LookupError, RecursionError):
        return text


def _id_in(parsed: dict[str, Any]) -> str | None:
    made = parsed.get("id")
    return made if isinstance(made, str) else None


def _container_addition(container: dict[str, Any]) -> str:
    """`expires_at` in unix seconds: so many minutes after the container was last active."""
    if "expires_at" in container:
        return ""
    expires_after = container.get("expires_after")
    last_active_at = container.get("last_active_at")
    if not isinstance(expires_after, dict) or not isinstance(last_active_at, int):
        return ""
    minutes = expires_after.get("minutes")
    if expires_after.get("anchor") != "last_active_at" or not isinstance(minutes, int):
        return ""
    return f'"expires_at":{last_active_at + 60 * minutes}'


def _new_container_addition(container: dict[str, Any]) -> str:
    """A container made just now was last active when it was made, also where the upstream does not say so."""
    return _container_addition({"last_active_at": container.get("created_at")} | container)


def _file_addition(file: dict[str, Any]) -> str:
    """`filename`: the last segment of the file's path."""
    path = file.get("path")
    if "filename" in file or not isinstance(path, str):
        return ""
    return f'"filename":{orjson.dumps(path.rpartition("/")[2]).decode()}'


_LISTS: Final = frozenset({CONTAINERS_LIST, FILES_LIST})
_ADDITIONS: Final[dict[Operation, jsontext.Addition]] = {
    CONTAINERS_CREATE: _new_container_addition,
    CONTAINERS_RETRIEVE: _container_addition,
    CONTAINERS_LIST: _container_addition,
    FILES_CREATE: _file_addition,
    FILES_RETRIEVE: _file_addition,
    FILES_LIST: _file_addition,
}
