"""Reading in large pieces, while an upstream sends faster than its answer is passed on.

An event loop reads 256 KiB at a time, to where the next read goes too, and hands out a copy. With 2 MiB at a time, to
where they stay, a download takes a quarter less CPU, hashing included: each read and each write wakes whoever is on the
other side, and a GiB is copied in 0.1 s.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from app.domain.ports import Piece

BULK_BYTES: Final = 128 * 1024
"""Who gets so much in one read is behind."""
LARGEST_BYTES: Final = 2 * 1024 * 1024
SMALLEST_BYTES: Final = 128 * 1024
SHARED_BYTES: Final = 8 * 1024 * 1024
"""What all exchanges in flight may read together before any of it is passed on, unless they are more than 64."""


class ReadBuffers:
    """Lends memory to read to. Who holds what was read holds the memory; when nobody does it is lent again.

    No more than SHARED_BYTES are kept for that.
    """

    def __init__(self) -> None:
        self._free: dict[int, list[bytearray]] = {}
        self._free_bytes = 0
        self._lent: dict[int, weakref.ref[memoryview]] = {}

    def lend(self, readers: int) -> memoryview:
        """Room for one read: less the more readers there are, so that memory is bounded."""
        share, size = SHARED_BYTES // max(readers, 1), LARGEST_BYTES
        while size > max(share, SMALLEST_BYTES):
            size //= 2
        free = self._free.get(size)
        if free:
            buffer = free.pop()
            self._free_bytes -= size
        else:
            buffer = bytearray(size)
        return memoryview(buffer)

    def watch(self, piece: memoryview, room: memoryview) -> memoryview:
        """Have what was lent back when nobody holds this piece of it any more."""
        watching = weakref.ref(piece, partial(self._back, room))
        self._lent[id(watching)] = watching
        return piece

    def _back(self, room: memoryview, watching: weakref.ref[memoryview]) -> None:
        del self._lent[id(watching)]
        buffer: Any = room.obj
        try:
            room.release()
            buffer.append(buffer.pop())  # a bytearray that anybody looks at cannot change its size
        except BufferError:  # a part of the piece is held: it keeps the memory for good
            return
        if self._free_bytes + len(buffer) <= SHARED_BYTES:
            self._free_bytes += len(buffer)
            self._free.setdefault(len(buffer), []).append(buffer)


class BulkTarget(Protocol):
    """The protocol that a `BulkReader` reads for."""

    def data_received(self, data: Piece) -> None:
        """Bytes."""
        ...

    def eof_received(self) -> None:
        """No more of them."""
        ...

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        ...

    def pause_writing(self) -> None:
        """The buffer for writing is full."""
        ...

    def resume_writing(self) -> None:
        """It is not."""
        ...


class BulkReader(asyncio.BufferedProtocol):
    """Stands in for a connection's own protocol at its transport. `readers` tells how many share the buffers."""

    def __init__(self, target: BulkTarget, buffers: ReadBuffers, readers: Callable[[], int]) -> None:
        self._target = target
        self._buffers = buffers
        self._readers = readers
        self._room: memoryview | None = None

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        if self._room is None:
            self._room = self._buffers.lend(self._readers())
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        """They are there. A few are copied out: whoever holds them must not hold all the room."""
        room, self._room = self._room, None
        if room is None:
            return
        if nbytes < len(room) // 2:
            self._room = room
            self._target.data_received(bytes(room[:nbytes]))
        else:
            self._target.data_received(self._buffers.watch(room[:nbytes], room))

    def eof_received(self) -> None:
        """Pass it on."""
        self._target.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on."""
        self._target.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass it on."""
        self._target.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._target.resume_writing()
