"""As much of HTTP as the embedded provider needs: one request, one reply, over plain ASGI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import parse_qsl

import orjson

from app.domain.errors import ClientGone
from app.local.errors import ApiError, bad_json, too_large

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers: TypeAlias = list[tuple[bytes, bytes]]

MAX_QUERY_FIELDS: Final = 100


class Request:
    """A request whose head is here and whose body is still to be read, once."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.method: str = scope["method"]
        self.raw_path: str = scope["raw_path"].decode("latin-1")
        self.headers: Headers = scope["headers"]
        self._query: bytes = scope["query_string"]
        self._receive = receive

    def header(self, name: bytes) -> str | None:
        """The first header of this lower-case name."""
        return next((value.decode("latin-1") for key, value in self.headers if key == name), None)

    def query(self) -> dict[str, str]:
        """The query's fields, percent-decoded; the first of each name counts."""
        try:
            pairs = parse_qsl(
                self._query.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS, errors="replace"
            )
        except ValueError:
            raise ApiError(400, f"The query has more than {MAX_QUERY_FIELDS} fields.") from None
        return dict(reversed(pairs))

    async def pieces(self, piece_bytes: int, *, max_bytes: int) -> AsyncIterator[bytes]:
        """The body, in pieces of at least `piece_bytes` (the last may be shorter).

        Raises ApiError (413) before reading where Content-Length is past `max_bytes`, else as soon as the body is; and
        ClientGone where the client breaks off.
        """
        declared = self.header(b"content-length") or "0"
        if declared.isdecimal() and int(declared) > max_bytes:
            raise too_large("The request body", max_bytes)
        held, held_bytes, total_bytes, more = [], 0, 0, True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            body: bytes = message.get("body", b"")
            more = message.get("more_body", False)
            held.append(body)
            held_bytes += len(body)
            total_bytes += len(body)
            if total_bytes > max_bytes:
                raise too_large("The request body", max_bytes)
            if held_bytes >= piece_bytes or (held_bytes and not more):
                yield b"".join(held)
                held, held_bytes = [], 0

    async def body(self, *, max_bytes: int) -> bytes:
        """The whole body. Raises as `pieces` does."""
        return b"".join([piece async for piece in self.pieces(max_bytes, max_bytes=max_bytes)])

    async def disconnected(self) -> None:
        """Wait until the client is gone (what it still sends is thrown away)."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


class Body(Protocol):
    """A reply's body that writes itself, after the head."""

    async def send(self, request: Request, send: Send) -> None:
        """Send every piece, the last with `more_body` False; raise where it cannot be sent whole."""
        ...

    async def aclose(self) -> None:
        """Let go of what it holds; called in every case."""
        ...


@dataclass(frozen=True, slots=True)
class WholeBody:
    """A body that is in memory."""

    content: bytes

    async def send(self, request: Request, send: Send) -> None:
        """Send it as one piece."""
        await send({"type": "http.response.body", "body": self.content, "more_body": False})

    async def aclose(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `headers` include content-length unless the status forbids a body."""

    status: int
    headers: Headers
    body: Body = field(default_factory=lambda: WholeBody(b""))

    async def send(self, request: Request, request_id: str, send: Send) -> None:
        """Send head and body, and let go of the body in every case."""
        try:
            headers = [*self.headers, (b"x-request-id", request_id.encode())]
            await send({"type": "http.response.start", "status": self.status, "headers": headers})
            await self.body.send(request, send)
        finally:
            await self.body.aclose()


Handler: TypeAlias = Callable[[Request, str, str], Awaitable[Reply]]
"""Answers one operation. Takes the decoded container id and file id, "" where the path has none.

Raises ApiError, or ClientGone.
"""


def json_reply(document: object, status: int = 200, headers: Headers | None = None) -> Reply:
    """An answer in JSON."""
    content = orjson.dumps(document)
    framing = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    return Reply(status, framing + (headers or []), WholeBody(content))


def error_reply(error: ApiError) -> Reply:
    """An error in OpenAI's envelope."""
    return json_reply(error.envelope(), error.status, list(error.headers))


def json_object(content: bytes) -> dict[str, Any]:
    """The JSON object in a body; no body at all counts as an empty one. Raises ApiError (400)."""
    try:
        document = orjson.loads(content) if content.strip() else {}
    except orjson.JSONDecodeError:
        raise bad_json() from None
    if not isinstance(document, dict):
        raise bad_json()
    return document
