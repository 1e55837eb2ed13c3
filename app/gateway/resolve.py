"""Phase 3: which provider, and what goes upstream once everything that was meant for the gateway is taken out.

`custom_llm_provider` is looked for in the header `custom-llm-provider`, then the query, then the body: a JSON field, or
a form field of a multipart upload wherever it stands among the parts. It is taken out of all three.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import unquote_plus

import orjson

from app.domain.deployments import Deployment
from app.domain.errors import ErrorCode, GatewayError
from app.domain.exchange import Exchange
from app.domain.identity import Principal
from app.gateway import jsontext
from app.gateway.multipart import boundary_of
from app.gateway.upload import SizeLimit, Upload
from quaymaster.operations import Operation, Payload

FIELD: Final = "custom_llm_provider"
HEADER: Final = b"custom-llm-provider"

_NOTHING: Final = Payload.NONE  # looked up in its class it costs 0.1 µs
_COUNTING: Final = ("memory_limit", "expires_after", "file_ids", "file_id")
"""Members of a body that say what it costs, and whose files it takes."""
_QUOTED: Final = tuple(f'"{name}"'.encode() for name in _COUNTING)

_INLINE_JSON_BYTES: Final = 64 * 1024
"""Up to here JSON is parsed where it stands (tens of microseconds); from here on, in a worker thread."""
MAX_JSON_STRUCTURE_BYTES: Final = 1024 * 1024
"""How much JSON a body may hold besides long strings. Parsed, it takes forty times that, and the interpreter lock for a
tenth of a second, in which nobody is served."""


class Resolver:
    """Resolves exchanges against the configured providers.

    `providers` maps the names clients may use to where they lead, `default` is the name for requests without one.
    `check_field` refuses form fields of uploads, by name and content, for the exchange's principal; `file_limits` gives
    how large a principal's files may be.
    `max_json_bytes` and `max_upload_bytes` bound bodies; `spool_dir` is where an upload waits on disk while only what
    follows the file in it can say where it goes.
    """

    def __init__(
        self,
        providers: Mapping[str, Sequence[Deployment]],
        default: str,
        *,
        check_field: Callable[[Exchange, str, str], Awaitable[None]],
        file_limits: Callable[[Principal], Iterable[SizeLimit]],
        max_json_bytes: int,
        max_upload_bytes: int,
        spool_dir: str,
    ) -> None:
        self._providers = frozenset(providers)
        self._one_way = len({deployment.name for behind in providers.values() for deployment in behind}) == 1
        self._default = default
        self._check_field = check_field
        self._file_limits = file_limits
        self._max_json_bytes = max_json_bytes
        self._max_upload_bytes = max_upload_bytes
        self._spool_dir = spool_dir

    def at_once(self, exchange: Exchange, operation: Operation) -> str | None:
        """The same as `resolve` where no body is to be read; None where one is, and nothing is filled in yet."""
        if operation.request is not _NOTHING or not exchange.body.ended:
            return None
        return self._found(exchange, _named_in_head(exchange))

    async def resolve(self, exchange: Exchange, operation: Operation) -> str:
        """Find the provider; fill in it and everything `upstream_…` on the exchange.

        Raises GatewayError for an unknown provider and for a body that is too large or cannot be read.
        """
        hint = _named_in_head(exchange)
        if operation.request is Payload.NONE:
            if not exchange.body.ended:
                hint = await self._from_ignored_body(exchange, hint)
        elif operation.request is Payload.UPLOAD and (content_type := _content_type(exchange)) is not None:
            boundary = boundary_of(content_type)
            if boundary is None and (exchange.principal is None or not exchange.principal.sees_all):
                raise GatewayError(  # it could name somebody else's file, and the upstream find it there
                    ErrorCode.INVALID_VALUE,
                    "A container file is sent as multipart/form-data, or named in a JSON body.",
                    param="content-type",
                )
            hint = await self._from_upload(exchange, hint, boundary)
        else:
            hint = await self._from_json(exchange, hint)
        return self._found(exchange, hint)

    def checked(self, name: str) -> str:
        """The provider of this name. Raises GatewayError UNKNOWN_PROVIDER, naming the configured ones."""
        if name in self._providers:
            return name
        configured = ", ".join(sorted(self._providers))
        shown = name if len(name) <= 64 and name.isprintable() else name[:64].encode("ascii", "replace").decode()
        raise GatewayError(
            ErrorCode.UNKNOWN_PROVIDER,
            f"Unknown provider '{shown}'. Configured here: {configured}.",
            param=FIELD,
        )

    def _found(self, exchange: Exchange, hint: str | None) -> str:
        if not hint:
            exchange.provider = self._default
            return self._default
        exchange.provider_is_named = True
        provider = exchange.provider = self.checked(hint)
        return provider

    async def _from_ignored_body(self, exchange: Exchange, hint: str | None) -> str | None:
        """GET and DELETE: older SDKs put the field into a body. It is read, never forwarded, and never an error."""
        exchange.body.allow(self._max_json_bytes)
        text = await _whole(exchange)
        try:
            value, _ = await _parse(text)
        except (ValueError, GatewayError):
            return hint
        return hint or _named(value)

    async def _from_json(self, exchange: Exchange, hint: str | None) -> str | None:
        exchange.body.allow(self._max_json_bytes)
        text = await _whole(exchange)
        if not text:
            exchange.upstream_body = text
            return hint
        try:
            value, text = await _parse(text)
        except ValueError as error:
            raise GatewayError(ErrorCode.INVALID_JSON, f"The body is not valid JSON: {error}.") from error
        if not isinstance(value, dict):
            raise GatewayError(ErrorCode.INVALID_TYPE, "The body must be a JSON object.")
        exchange.request_json = value
        exchange.upstream_body = text
        return hint or _named(value)

    async def _from_upload(self, exchange: Exchange, hint: str | None, boundary: bytes | None) -> str | None:
        upload = Upload(
            exchange.body,
            boundary,
            field=FIELD,
            check=self.checked,
            check_field=partial(self._check_field, exchange),
            max_file_bytes=self._max_upload_bytes,
            size_limits=self._file_limits(exchange.principal) if exchange.principal is not None else (),
            spool_dir=self._spool_dir,
        )
        exchange.request_digest = upload.digest
        try:
            await upload.open(wait_for_field=hint is None and exchange.ownership is None and not self._one_way)
        except BaseException:
            await upload.aclose()
            raise
        exchange.upstream_body = upload.whole if upload.whole is not None else upload
        exchange.upstream_body_bytes = upload.outgoing_bytes
        return hint or upload.value


def _named_in_head(exchange: Exchange) -> str | None:
    """The provider that the header names, else the query, from which it is taken out."""
    in_query: str | None = None
    if exchange.query:
        exchange.upstream_query, in_query = _without_field(exchange.query)
    for field, value in exchange.headers:
        if field == HEADER:
            return value.decode("latin-1").strip() or in_query
    return in_query


def _content_type(exchange: Exchange) -> bytes | None:
    """The content type where it is not JSON, None where it is. Raises GatewayError where there are two."""
    found = [value for field, value in exchange.headers if field == b"content-type"]
    if len(found) > 1:  # the upstream could go by the other one
        raise GatewayError(ErrorCode.INVALID_REQUEST, "The request has more than one Content-Type.")
    kind = found[0].partition(b";")[0].strip().lower() if found else b"application/json"
    return None if kind == b"application/json" or kind.endswith(b"+json") else found[0]


def _without_field(query: str) -> tuple[str, str | None]:
    """The raw query without the field, and the field's first value."""
    if FIELD not in query and "%" not in query:
        return query, None
    kept: list[str] = []
    found: str | None = None
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if unquote_plus(name) == FIELD:
            found = found or unquote_plus(value).strip() or None
        else:
            kept.append(pair)
    return "&".join(kept), found


async def _whole(exchange: Exchange) -> bytes:
    """The whole body, in memory."""
    first = await exchange.body.read()
    if exchange.body.ended:
        return first
    pieces = [first]
    while piece := await exchange.body.read():
        pieces.append(piece)
    return b"".join(pieces)


async def _parse(text: bytes) -> tuple[Any, bytes]:
    """What a body says, and its text without our field. Raises ValueError, or GatewayError REQUEST_TOO_LARGE."""
    if len(text) <= _INLINE_JSON_BYTES:
        return _parse_small(text)
    return await asyncio.to_thread(_parse_large, text)


def _parse_small(text: bytes) -> tuple[Any, bytes]:
    value = orjson.loads(text)
    if isinstance(value, dict) and (name := _said_twice(text)) is not None:
        raise GatewayError(ErrorCode.INVALID_VALUE, f"Say '{name}' once, in lower case.", param=name)
    if isinstance(value, dict) and FIELD in value:
        text = jsontext.without_member(text, FIELD)
    return value, text


def _said_twice(text: bytes) -> str | None:
    """The first of the names that count here which a JSON object has twice, or not in lower case.

    Of two members of the same name (for some parsers, whatever their case) one parser takes the first and another the
    last: one would be looked at here, paid for and allowed, and the other be made upstream.
    """
    if b"\\" not in text:
        folded = text.lower()
        if all(folded.count(quoted) == text.count(quoted) <= 1 for quoted in _QUOTED):
            return None
    said: set[str] = set()
    for key, _, _ in jsontext.members(text):
        if (name := key.lower()) in _COUNTING:
            if name in said or name != key:
                return name
            said.add(name)
    return None


def _parse_large(text: bytes) -> tuple[Any, bytes]:
    try:
        shortened, places = jsontext.elide(text, MAX_JSON_STRUCTURE_BYTES)
    except ValueError as error:
        raise GatewayError(ErrorCode.REQUEST_TOO_LARGE, f"The body has {error}.") from error
    value, kept = _parse_small(shortened)
    if kept is not shortened:
        text = jsontext.restore(kept, text, places)
    return (jsontext.digests(value, text, places) if places else value), text


def _named(value: Any) -> str | None:
    """The provider that a JSON body names. Raises GatewayError INVALID_TYPE where it is not a string."""
    name = value.get(FIELD) if isinstance(value, dict) else None
    if name is not None and not isinstance(name, str):
        raise GatewayError(ErrorCode.INVALID_TYPE, f"{FIELD} must be a string.", param=FIELD)
    return name.strip() or None if name else None
