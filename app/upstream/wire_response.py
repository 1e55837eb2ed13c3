"""A response, from bytes as they arrive. No I/O.

Plain heads are read by `read_plain_head`; llhttp (through httptools) reads all others, and chunked framing. Where the
head ends, and a body of a known length, are found here: that costs no copy, and shows any byte too many.
"""

from __future__ import annotations

from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from app.domain.ports import Piece, RawHeaders
from app.upstream.wire_head import MAX_HEADERS, read_plain_head

MAX_HEAD_BYTES: Final = 64 * 1024
_FRAMING: Final = frozenset((b"content-length", b"transfer-encoding"))
_BODILESS: Final = frozenset((204, 304))


class ProtocolBroken(Exception):
    """The bytes are not a valid response. The message says how, and never holds any of them."""


class ResponseParser:
    """The one response to one request; 1xx before it are skipped.

    `status` is 0 until the head of the final response is here, then `headers` are complete as well. `pieces` holds the
    body that has arrived and was not taken, `unread_bytes` of it. `complete` says that the whole body has arrived,
    `keep_alive` that the connection may then carry another request.
    """

    __slots__ = (
        "_barren_bytes",
        "_chunks",
        "_excess",
        "_framing",
        "_head",
        "_head_bytes",
        "_head_only",
        "_remaining",
        "_tail",
        "complete",
        "headers",
        "keep_alive",
        "pieces",
        "status",
        "unread_bytes",
    )

    # Set with a head, whoever reads it.
    headers: RawHeaders
    keep_alive: bool
    _remaining: int | None  # None: the body ends with the connection

    # Set where llhttp reads it.
    _framing: RawHeaders
    _barren_bytes: int
    _tail: bytes
    _excess: bool

    def __init__(self, *, head_only: bool) -> None:
        self.status = 0
        self.pieces: list[Piece] = []
        self.unread_bytes = 0
        self.complete = False
        self._head_only = head_only
        self._head = b""
        self._head_bytes = 0
        self._chunks: HttpResponseParser | None = None

    @property
    def begun(self) -> bool:
        """Whether any byte has arrived."""
        return self._head_bytes > 0

    def feed(self, data: Piece) -> None:
        """Take what has arrived.

        Raises ProtocolBroken at anything invalid, also at bytes after the end, and must not be called again then.
        """
        if not self.status:
            head = bytes(data)  # itself, unless it is a memoryview
            plain = None if self._head_bytes or self._head_only else read_plain_head(head, MAX_HEAD_BYTES)
            if plain is not None:
                self.status, self.headers, self._remaining, self._head_bytes = plain
                self.keep_alive = True
                data = head[self._head_bytes :]
            else:
                data = self._take_head(head)
                if not self.status:
                    return
        if self._chunks is not None:
            self._take_chunks(self._chunks, data)
            return
        size, remaining = len(data), self._remaining
        if remaining is not None:
            if size > remaining:
                raise ProtocolBroken("bytes after the end of a response")
            self._remaining = remaining - size
            self.complete = size == remaining
        if size:
            self.pieces.append(data)
            self.unread_bytes += size

    def take(self) -> Piece:
        """All of the body that has arrived and was not taken."""
        pieces = self.pieces
        self.unread_bytes = 0
        if len(pieces) == 1:
            return pieces.pop()
        taken = b"".join(pieces)
        pieces.clear()
        return taken

    def end(self) -> bool:
        """The upstream sends no more: whether that makes the response complete."""
        if self.status and self._remaining is None and self._chunks is None:
            self.complete = True
        return self.complete

    def _take_head(self, data: bytes) -> bytes:
        """Read heads until that of the final response; returns the bytes that follow it."""
        while True:
            searched = max(0, len(self._head) - 3)
            self._head_bytes += len(data)
            if self._head:
                data = self._head + data
            if data[:7] != b"HTTP/1."[: len(data)]:
                raise ProtocolBroken("the response is not HTTP/1")
            end = data.find(b"\r\n\r\n", searched) + 4
            excess = len(data) - end if end > 3 else 0
            if self._head_bytes - excess > MAX_HEAD_BYTES:
                raise ProtocolBroken(f"the head of the response is larger than {MAX_HEAD_BYTES} bytes")
            if end == 3:
                if data.find(b"\n\n", searched) >= 0:
                    raise ProtocolBroken("the head of the response ends in bare line feeds")
                self._head = data
                return b""
            self._head = b""
            self._head_bytes -= excess
            self._parse_head(data[:end])
            data = data[end:]
            if self.status or not data:
                return data

    def _parse_head(self, head: bytes) -> None:
        """Read one head; where it is a 1xx, forget it."""
        self.headers = []
        self._framing = []
        self._barren_bytes = 0
        self._tail = b""
        self._excess = False
        self._remaining = 0
        self.keep_alive = False
        self._chunks = parser = HttpResponseParser(self)
        try:
            parser.feed_data(head)
        except HttpParserUpgrade:
            raise ProtocolBroken("the response switches protocols") from None
        except HttpParserError as error:
            raise ProtocolBroken(f"invalid response head: {error}") from None
        finally:
            self._chunks = None
        status = parser.get_status_code()
        if len(self.headers) > MAX_HEADERS:
            raise ProtocolBroken(f"the response has more than {MAX_HEADERS} headers")
        if not 100 <= status <= 599:
            raise ProtocolBroken("the response has an unknown status")
        if status < 200:
            return
        self._frame(parser, status, head)
        self.status = status

    def _frame(self, parser: HttpResponseParser, status: int, head: bytes) -> None:
        """Settle where the body ends. llhttp has refused conflicting framing already."""
        if status in _BODILESS or self._head_only:
            self.keep_alive = self.keep_alive and not self._head_only
        elif not self._framing:
            self._remaining = None
            self.keep_alive = False
        elif len(self._framing) > 1:
            raise ProtocolBroken("the response frames its body twice")
        elif self._framing[0][0] == b"content-length":
            self._remaining = int(self._framing[0][1])
        elif self._framing[0][1].lower() == b"chunked" and head.startswith(b"HTTP/1.1"):
            self._chunks = parser
        else:
            raise ProtocolBroken("the response has an unknown transfer-encoding")

    def _take_chunks(self, parser: HttpResponseParser, data: Piece) -> None:
        """Read chunked body. llhttp skips line ends after it; `_tail`, its last five bytes, then begins with one."""
        before = len(self.pieces)
        try:
            parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._chunks = None
            raise ProtocolBroken(f"invalid chunked body: {error}") from None
        self._tail = (self._tail + bytes(data[-5:]))[-5:]
        self._barren_bytes = 0 if len(self.pieces) > before else self._barren_bytes + len(data)
        if self.complete:
            self._chunks = None
            if self._excess or self._tail[:1] in b"\r\n":
                raise ProtocolBroken("bytes after the end of a response")
        elif self._barren_bytes > MAX_HEAD_BYTES:
            raise ProtocolBroken("chunk extensions or trailers without end")

    # What llhttp calls. Of trailers, nothing is kept.

    def on_message_begin(self) -> None:
        """A further response, where there must be none."""
        self._excess = self.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line."""
        if self.status:
            return
        pair = (name.lower(), value.rstrip(b" \t"))
        self.headers.append(pair)
        if pair[0] in _FRAMING:
            self._framing.append(pair)

    def on_headers_complete(self) -> None:
        """The only moment at which llhttp knows whether the connection stays."""
        if self._chunks is not None and not self.status:
            self.keep_alive = self._chunks.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """Part of a chunk."""
        if body and not self.complete:
            self.pieces.append(body)
            self.unread_bytes += len(body)

    def on_message_complete(self) -> None:
        """The last chunk and its trailers, or the end of a response that has no body."""
        self.complete = self.status != 0
