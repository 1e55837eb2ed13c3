"""A content on its way down, over as many connections as it takes. No I/O: both drivers follow it.

After a cut, what is missing is asked for with Range. What comes is only added to what is there if it is of the same
file: a strong ETag is sent along as If-Range; a server that has none is asked for the last bytes once more, and they
must be equal. The size must be the same in any case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from quaymaster import answers
from quaymaster.errors import APIConnectionError, APIStatusError

OVERLAP_BYTES: Final = 1024
"""How much is asked for again where there is no strong ETag."""
ENOUGH_BYTES: Final = 256 * 1024
ENOUGH_SHARE: Final = 32
"""A connection that brought this many bytes, or one part in so many, is not counted as a failed attempt."""

_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)


class Unfit(APIConnectionError):
    """What comes after a cut does not belong to what is there."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Connection error: the content was cut off, and the rest cannot be had: {reason}.")


class Passage:
    """How far a content has come. `may_restart`: whoever takes it can take it from the start again.

    `received` is in bytes, and falls back to 0 at a restart; `restarts` counts these. `total` is None where the server
    does not say.
    """

    def __init__(self, *, may_restart: bool = False, has_own_range: bool = False) -> None:
        self.received = 0
        self.restarts = 0
        self.total: int | None = None
        self._may_restart = may_restart
        self._has_own_range = has_own_range
        self._has_ranges = False
        self._etag: str | None = None
        self._tail = b""
        self._overlap = b""
        self._counted = 0

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """An answer that starts at the start. Names are in lower case. Raises Unfit where it does not."""
        self.received, self._tail, self._overlap = 0, b"", b""
        self._etag = headers.get("etag")
        self._has_ranges = not (
            self._has_own_range or "content-encoding" in headers or headers.get("accept-ranges", "").lower() == "none"
        )
        self.total = answers.total_bytes(headers)
        if status == 206 and not self._has_own_range:
            start, self.total = _content_range(headers)
            if start != 0:
                raise Unfit("the server sends a part, which nobody asked for")

    def go_on(self, status: int, headers: Mapping[str, str]) -> None:
        """The answer to what `next_headers` asked for. Raises Unfit."""
        if not self.received:
            self.begin(status, headers)
        elif status == 206 and self._has_ranges:
            self._continue(headers)
        elif self._may_restart:
            self.restarts += 1
            self.begin(status, headers)
        else:
            raise Unfit("the server cannot send a part of it, or the file has changed")

    def take(self, piece: bytes) -> bytes:
        """What of a piece is new. Raises Unfit where it repeats something else than what is there."""
        if self._overlap:
            repeated = min(len(piece), len(self._overlap))
            if piece[:repeated] != self._overlap[:repeated]:
                raise Unfit("the file has changed")
            self._overlap, piece = self._overlap[repeated:], piece[repeated:]
        self.received += len(piece)
        if self._strong_etag is None:
            self._tail = (self._tail + piece[-OVERLAP_BYTES:])[-OVERLAP_BYTES:]
        return piece

    def check_end(self) -> None:
        """Raises APIConnectionError where an answer ended well, and before the content does."""
        if self.total is not None and self.received < self.total:
            raise APIConnectionError(
                f"Connection error: the content ended after {self.received} of {self.total} bytes."
            )

    def advanced(self) -> bool:
        """Whether so much has come since this was last true that a cut is the first of its kind."""
        enough = min(ENOUGH_BYTES, -(-self.total // ENOUGH_SHARE)) if self.total else ENOUGH_BYTES
        if self.received - self._counted < enough:
            return False
        self._counted = self.received
        return True

    def next_headers(self, cut: APIConnectionError) -> dict[str, str] | None:
        """What to ask for after a cut; None where there is no going on."""
        if isinstance(cut, Unfit):
            self._has_ranges = False
        if self.received and self._has_ranges:
            condition = {"if-range": self._strong_etag} if self._strong_etag else {}
            return {"range": f"bytes={self.received - len(self._tail)}-", **condition}
        return {} if self._may_restart or not self.received else None

    def is_whole(self, status: int, headers: Mapping[str, str]) -> bool:
        """Whether a refusal says that nothing is missing: only the end of a body of unknown length was lost."""
        return status == 416 and headers.get("content-range") == f"bytes */{self.received}"

    def refused(self, refusal: APIStatusError) -> Unfit:
        """The cut that a refused range is. Raises any other refusal."""
        if refusal.status_code != 416 or not self._has_ranges:
            raise refusal
        return Unfit("the server has no such part of it any more")

    def _continue(self, headers: Mapping[str, str]) -> None:
        start, total = _content_range(headers)
        if self.total is not None and total not in {None, self.total}:
            raise Unfit("the file's size has changed")
        if self._etag is not None and headers.get("etag", self._etag) != self._etag:
            raise Unfit("the file has changed")
        if start is None or not 0 <= self.received - start <= len(self._tail):
            raise Unfit("the server sends another part than was asked for")
        self.total = self.total if total is None else total
        self._overlap = self._tail[len(self._tail) - (self.received - start) :]

    @property
    def _strong_etag(self) -> str | None:
        return self._etag if self._etag is not None and self._etag.startswith('"') else None


def _content_range(headers: Mapping[str, str]) -> tuple[int | None, int | None]:
    """Where a part starts, and how large the whole is, in bytes; None for what is not said."""
    told = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
    if told is None or "content-encoding" in headers:
        return None, None
    return int(told[1]), None if told[3] == "*" else int(told[3])
