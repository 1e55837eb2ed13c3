"""A request, as bytes on the wire. No I/O, and nothing a caller passes can become a second header or request."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

from app.domain.ports import OutgoingBody, RawHeaders

JOINED_BYTES: Final = 64 * 1024
"""A body up to this size is written together with its head."""

REPEATABLE: Final = frozenset((b"GET", b"HEAD", b"DELETE", b"OPTIONS"))
"""Methods that are sent once more where a kept connection turns out to be closed, unless their body is a stream."""

_NAME_BYTES: Final = b"!#$%&'*+.^_`|~-0123456789abcdefghijklmnopqrstuvwxyz"
_TARGET: Final = re.compile(rb"/[\x21-\x7e]*")
_REQUEST_LINE: Final = re.compile(rb"[A-Z]+ /[\x21-\x7e]* HTTP/1\.1\r\n")
_DIGITS: Final = re.compile(rb"[0-9]{1,18}")
_OWN_HEADERS: Final = frozenset((b"host", b"transfer-encoding", b"content-length"))
_MAX_CHECKED_NAMES: Final = 256
_checked_names: Final[set[bytes]] = set()
"""Header names that `check_head` has let pass, but for those of `_OWN_HEADERS`: it looks at those each time."""

_name_of = itemgetter(0)


@dataclass(slots=True)
class WireRequest:
    """`head` goes out first and holds a small body too; then `body`; then `stream`.

    `stream_bytes` is the declared length of `stream`, or None where it goes out chunked.
    """

    method: bytes
    head: bytes
    body: bytes = b""
    stream: AsyncIterator[bytes] | None = None
    stream_bytes: int | None = None


def encode_request(method: bytes, target: bytes, headers: RawHeaders, body: OutgoingBody, host: bytes) -> WireRequest:
    """Spell a request with its `host` and framing headers.

    Raises ValueError where the parts could not be told apart again on the other side: see `check_head`.
    """
    length = None
    if not _checked_names.issuperset(map(_name_of, headers)):
        length = check_head(method, target, headers, body)
        _remember_names(headers)
    framing = framing_header(method, body, length)
    lines = headers if framing is None else [*headers, framing]
    head = b"\r\n".join([b"%b %b HTTP/1.1\r\nhost: %b" % (method, target, host), *map(b": ".join, lines), b"\r\n"])
    # With these names, a head of so many line ends and a request line of three words is what was meant.
    if len(head.translate(None, b"\r\n\0")) != len(head) - 2 * len(lines) - 6 or _REQUEST_LINE.match(head) is None:
        check_head(method, target, headers, body)  # says what is wrong
        raise ValueError("the head could be read as another")
    if body is None:
        return WireRequest(method, head)
    if not isinstance(body, bytes):
        return WireRequest(method, head, stream=body, stream_bytes=length)
    return WireRequest(method, head + body) if len(body) <= JOINED_BYTES else WireRequest(method, head, body)


def _remember_names(headers: RawHeaders) -> None:
    """Spare the next head with these names `check_head`."""
    for name, _ in headers:
        if name not in _OWN_HEADERS and len(_checked_names) < _MAX_CHECKED_NAMES:
            _checked_names.add(name)


def framing_header(method: bytes, body: OutgoingBody, length: int | None) -> tuple[bytes, bytes] | None:
    """The header that the adapter adds to say where the body ends. `length` is what `check_head` returned."""
    if body is None:
        return (b"content-length", b"0") if method == b"POST" else None
    if isinstance(body, bytes):
        return (b"content-length", b"%d" % len(body))
    return (b"transfer-encoding", b"chunked") if length is None else None


def check_head(method: bytes, target: bytes, headers: RawHeaders, body: OutgoingBody) -> int | None:
    """Refuse what would not go over the wire as it is meant; returns the length that `headers` declare for a stream.

    Raises ValueError for a method that is not upper-case letters, a target that is not an absolute path in visible
    ASCII, a header name that is not a lower-case token, a value with CR, LF or NUL, and for headers that are not the
    caller's: `host`, `transfer-encoding`, and `content-length` except once, beside a stream. The message never holds
    a value.
    """
    if not (method.isalpha() and method.isupper()):
        raise ValueError("the method is not a word of upper-case letters")
    if _TARGET.fullmatch(target) is None:
        raise ValueError("the target is not an absolute path of visible ASCII characters")
    names = [name for name, _ in headers]
    if b"" in names or b"".join(names).translate(None, _NAME_BYTES):
        raise ValueError("a header name is not a lower-case token")
    values = b"".join([value for _, value in headers])
    if len(values.translate(None, b"\r\n\0")) < len(values):
        raise ValueError("a header value holds CR, LF or NUL")
    if _OWN_HEADERS.isdisjoint(names):
        return None
    return _declared_bytes(headers, body)


def _declared_bytes(headers: RawHeaders, body: OutgoingBody) -> int:
    """The content-length beside a stream, the only framing header a caller may set."""
    declared = [(name, value) for name, value in headers if name in _OWN_HEADERS]
    name, value = declared[0]
    if len(declared) > 1 or name != b"content-length" or body is None or isinstance(body, bytes):
        raise ValueError("host and framing headers are not the caller's to set")
    if _DIGITS.fullmatch(value) is None:
        raise ValueError("content-length is not a number")
    return int(value)
