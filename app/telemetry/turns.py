"""Standard output of several processes at once: each writes whole lines."""

from __future__ import annotations

import fcntl
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_STDOUT_FD: Final = 1


def open_turns() -> int:
    """A nameless file to lock. Processes that are forked from here take turns with it; one that dies lets go of it."""
    descriptor, path = tempfile.mkstemp(prefix="quaymaster-")
    os.unlink(path)
    return descriptor


@contextmanager
def turn(turns: int) -> Iterator[None]:
    """Wait until no other process has the lock, and have it. Of a process's threads only one may ask."""
    fcntl.lockf(turns, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.lockf(turns, fcntl.LOCK_UN)


class SharedStdout(io.FileIO):
    """Standard output, for one thread of each process. What is written at once stays together.

    A pipe would mix what several processes write as soon as it is fuller than they are quick.
    """

    def __init__(self, turns: int) -> None:
        super().__init__(_STDOUT_FD, "wb", closefd=False)
        self._turns = turns

    def write(self, data: bytes, /) -> int | None:  # type: ignore[override]
        """Write all of it, for as long as that takes."""
        rest = memoryview(data)
        with turn(self._turns):
            while rest:
                rest = rest[super().write(rest) or 0 :]
        return len(data)
