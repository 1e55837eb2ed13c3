"""Request lines in a file that does not grow without end."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from app.hooks.builtin.outlet import NotSent
from app.hooks.builtin.pen import Written

MAX_ROWS: Final = 500
EVERY_SECONDS: Final = 0.1
GIVE_UP_SECONDS: Final = 60.0
MAX_PENDING_BYTES: Final = 16 * 2**20


class RotatingFile:
    """Appends lines to `path`, which only we may read; at `max_bytes` it becomes `path.1`, that `path.2`, and so on.

    At most `count` files are kept, the current one included. A file that somebody else moved away is begun anew, and
    several processes may write to it: they take turns. Raises OSError where it cannot be made.
    """

    def __init__(self, path: Path, *, max_bytes: int, count: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._count = count
        self._fd = -1
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._open()

    def write(self, batch: Sequence[Written]) -> None:
        """Append lines, whole. Raises NotSent where the disk takes no more; some of them may be there already."""
        try:
            self._take_turn()
            try:
                self._write(batch)
            finally:
                if self._fd >= 0:
                    fcntl.flock(self._fd, fcntl.LOCK_UN)
        except OSError as error:
            raise NotSent(error.strerror or type(error).__name__) from None

    def _take_turn(self) -> None:
        """Have the file that is at the path to ourselves."""
        while True:
            if self._fd < 0:
                self._open()
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            if not self._was_moved():
                self._size = os.fstat(self._fd).st_size
                return
            self.close()

    def _write(self, batch: Sequence[Written]) -> None:
        pieces: list[bytes] = []
        size = 0
        for written in batch:
            while self._size + size and self._size + size + len(written.line) > self._max_bytes:
                self._append(b"".join(pieces))
                self._rotate()
                pieces, size = [], 0
            pieces.append(written.line)
            size += len(written.line)
        self._append(b"".join(pieces))

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, -1  # the number may soon be another file's, or a connection's
        if fd >= 0:
            os.close(fd)

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = 0

    def _append(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            os.ftruncate(self._fd, self._size)  # no half line
            raise
        self._size += len(data)

    def _was_moved(self) -> bool:
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return True
        return not os.path.samestat(found, os.fstat(self._fd))

    def _rotate(self) -> None:
        """Move the file away while it is still ours: whoever waits for it then finds that it was moved."""
        try:
            for number in range(self._count - 1, 0, -1):
                older = self._numbered(number - 1)
                if older.exists():
                    older.replace(self._numbered(number))
            if self._count == 1:
                self._path.unlink()
        finally:
            self.close()
            self._take_turn()

    def _numbered(self, number: int) -> Path:
        return self._path if number == 0 else self._path.with_name(f"{self._path.name}.{number}")
