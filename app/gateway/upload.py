"""An upload on its way: from the client's connection, through the multipart filter, to the upstream's.

It streams with back-pressure. Two things make it wait: a body of up to 64 KiB is read whole first, and when nothing but
the body can say which provider it is for, it is held (on disk beyond 1 MiB) until the field has come by.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Final, NamedTuple, TypeVar

from app.domain.errors import ErrorCode, GatewayError
from app.domain.exchange import IncomingBody
from app.gateway.multipart import MultipartFilter
from app.telemetry.digests import Digest

T = TypeVar("T")

SMALL_BYTES: Final = 64 * 1024
SPOOL_BYTES: Final = 1024 * 1024
PIECE_BYTES: Final = 256 * 1024
FRAMING_BYTES: Final = 64 * 1024
"""How much a multipart body may be larger than the file in it."""


class SizeLimit(NamedTuple):
    """How large a file may be. `exceeded` is called once for a larger one, and raises GatewayError to refuse it."""

    max_bytes: int
    exceeded: Callable[[], None]


class Upload:
    """The body that goes upstream: an async iterator of its pieces.

    With `boundary` None the body is not multipart and passes as it is. `check` is called with the provider that the
    body names, and `check_field` with name and content of every other short field, before anything from there on is
    handed out: what they raise cuts the upload off. After `open`: `value` is that name where it has come by, `whole`
    the body where all of it is in memory, `outgoing_bytes` its length where that is known.
    """

    def __init__(
        self,
        body: IncomingBody,
        boundary: bytes | None,
        *,
        field: str,
        check: Callable[[str], object],
        check_field: Callable[[str, str], Awaitable[None]],
        max_file_bytes: int,
        size_limits: Iterable[SizeLimit] = (),
        spool_dir: str,
    ) -> None:
        self.digest = Digest()
        self.value: str | None = None
        self.whole: bytes | None = None
        self.outgoing_bytes: int | None = None
        self._body = body
        self._filter = MultipartFilter(boundary, field, self._on_file) if boundary is not None else None
        self._check = check
        self._check_field = check_field
        self._max_file_bytes = max_file_bytes
        self._size_limits = list(size_limits)
        self._held = tempfile.SpooledTemporaryFile(SPOOL_BYTES, dir=spool_dir)  # noqa: SIM115 - closed in aclose
        self._held_bytes = 0
        self._handed_out = 0
        self._promised_removed = 0
        self._ended = False

    async def open(self, *, wait_for_field: bool) -> None:
        """Read as far as is needed to know where this goes. Raises GatewayError and ClientGone."""
        self._body.allow(self._max_file_bytes + FRAMING_BYTES)
        declared = self._body.declared_bytes
        self._check_size((declared or 0) - FRAMING_BYTES)
        small = declared is not None and declared <= SMALL_BYTES
        while not self._ended and (small or (wait_for_field and self.value is None and self._filter is not None)):
            await self._hold(await self._next())
        await self._held_does(self._held.seek, 0)
        if self._ended:
            self.outgoing_bytes = self._held_bytes
            if self._held_bytes <= SMALL_BYTES:
                self.whole = self._held.read()
                self._held.close()
        elif declared is not None:
            self._promised_removed = self._filter.removed_bytes if self._filter else 0
            self.outgoing_bytes = declared - self._promised_removed

    def __aiter__(self) -> Upload:
        return self

    async def __anext__(self) -> bytes:
        """The next piece, at least one byte. Raises GatewayError and ClientGone, which must cut the upload off."""
        if self._handed_out < self._held_bytes:
            in_memory = self._held_bytes <= SPOOL_BYTES
            piece = self._held.read(PIECE_BYTES) if in_memory else await asyncio.to_thread(self._held.read, PIECE_BYTES)
            self._handed_out += len(piece)
            return piece
        while not self._ended:
            if piece := await self._next():
                return piece
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Forget what is held."""
        if self._held_bytes > SPOOL_BYTES:  # letting a large file go takes the kernel a while
            await asyncio.shield(asyncio.to_thread(self._forget))
        else:
            self._forget()

    def _forget(self) -> None:
        with suppress(OSError):  # a disk that has no room for the last of it
            self._held.close()

    async def _next(self) -> bytes:
        """The next piece after the filter; b"" where the filter keeps it, or at the end."""
        piece = await self._body.read()
        if self._filter is None:
            self._ended = not piece
            self._on_file(piece)
            return piece
        if piece:
            piece = self._filter.feed(piece)
            if self.value is None and self._filter.value is not None:
                self.value = self._filter.value.strip()
                if self.value:
                    self._check(self.value)
            while self._filter.fields:
                await self._check_field(*self._filter.fields.pop(0))
            return piece
        self._filter.finish()
        self._ended = True
        # The length was promised before a field that came after the file was taken out: the difference is made up
        # behind the closing boundary, where RFC 2046 has receivers ignore what stands there.
        missing = self._filter.removed_bytes - self._promised_removed
        return b"\r\n" * (missing // 2) + b"\n" * (missing % 2) if self.outgoing_bytes is not None else b""

    async def _hold(self, piece: bytes) -> None:
        self._held_bytes += len(piece)
        await self._held_does(self._held.write, piece)

    async def _held_does(self, act: Callable[[T], object], value: T) -> None:
        """Write to what is held, or rewind it, which writes what was buffered."""
        if self._held_bytes <= SPOOL_BYTES:
            act(value)
            return
        try:
            await asyncio.to_thread(act, value)
        except OSError as error:
            raise GatewayError(
                ErrorCode.STORE_UNAVAILABLE,
                "There is no room to hold this upload until its body says for which provider it is: say so in the "
                "header custom-llm-provider.",
            ) from error

    def _on_file(self, piece: bytes) -> None:
        self.digest.update(piece)
        self._check_size(self.digest.size)
        if self.digest.size > self._max_file_bytes:
            raise GatewayError(
                ErrorCode.REQUEST_TOO_LARGE,
                f"The file is larger than this gateway takes ({self._max_file_bytes} bytes).",
            )

    def _check_size(self, size: int) -> None:
        for limit in [limit for limit in self._size_limits if size > limit.max_bytes]:
            self._size_limits.remove(limit)
            limit.exceeded()
