"""Where a download lands: under a temporary name beside its target until it is whole; or in a file that is open."""

from __future__ import annotations

import errno
import io
import os
import re
import secrets
import shutil
from pathlib import Path
from typing import IO, Final, TypeAlias

from quaymaster.errors import InvalidArgumentError

Target: TypeAlias = str | os.PathLike[str] | IO[bytes]
"""A path, a folder, or a file object that was opened for writing bytes."""

BLOCK_BYTES: Final = 1024 * 1024
"""How much is gathered before it is written."""
MAX_NAME_BYTES: Final = 255

_SEPARATORS: Final = re.compile(r"[/\\]")


class Landing:
    """An open file that takes a download from where it stands, a block at a time. It is never closed here.

    `add` holds pieces, without file work. All else raises OSError: `open` first, then `store` where it `is_full`,
    `finish` when all has come, `close` in any case.
    """

    path: Path | None = None
    """Where the download lies in the end; None for a file that was open."""

    def __init__(self, file: IO[bytes] | None) -> None:
        self._file = file
        self._start: int | None = None
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._restarts = 0
        self._rewinds = False

    @property
    def can_restart(self) -> bool:
        """Whether a content that begins again can take the place of what was written."""
        return self._start is not None

    @property
    def is_full(self) -> bool:
        """Whether it is time to `store`."""
        return self._held_bytes >= BLOCK_BYTES

    def open(self) -> None:
        """Be ready to take the content."""
        self._start = _start_of(self._opened)

    def add(self, piece: bytes, restarts: int) -> None:
        """Take a piece. `restarts`: how often the content has begun again; what came before that is dropped."""
        if restarts != self._restarts:
            self._restarts, self._rewinds = restarts, True
            self._held.clear()
            self._held_bytes = 0
        self._held.append(piece)
        self._held_bytes += len(piece)

    def store(self) -> None:
        """Write what is held."""
        if self._rewinds and self._start is not None:
            self._opened.seek(self._start)
            self._opened.truncate()
        block = memoryview(b"".join(self._held))
        self._rewinds, self._held_bytes = False, 0
        self._held.clear()
        while block:
            written = self._opened.write(block)
            if written is None:
                raise BlockingIOError("The file takes no more for now: it is in non-blocking mode.")
            block = block[written:]

    def finish(self, restarts: int) -> Path | None:
        """All has come, after so many restarts. Returns `path`."""
        self.add(b"", restarts)
        self.store()
        if callable(flush := getattr(self._file, "flush", None)):
            flush()
        return self.path

    def close(self) -> None:
        """Let go; a download that was not finished leaves no trace at a path."""
        self._held.clear()

    @property
    def _opened(self) -> IO[bytes]:
        assert self._file is not None
        return self._file


class PathLanding(Landing):
    """A path, which holds the whole download or what it held before.

    A link stays one: what it leads to is replaced. A device or a pipe is written to as it is. Permissions are those of
    the file that is replaced, else those of any new file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(None)
        self.path = path
        self._target = path
        self._temporary: Path | None = None

    def open(self) -> None:
        """Be ready to take the content."""
        self._target = Path(os.path.realpath(self.path or ""))
        exists = self._target.exists()
        if exists and not self._target.is_file():
            self._file = self._target.open("wb")
            return
        temporary = self._target.with_name(f".quaymaster-{secrets.token_hex(8)}.part")
        self._file = temporary.open("xb")
        self._temporary = temporary
        if exists:
            shutil.copymode(self._target, temporary)
        super().open()

    def finish(self, restarts: int) -> Path | None:
        """All has come: put it where it belongs. Returns `path`."""
        super().finish(restarts)
        self._opened.close()
        if self._temporary is not None:
            self._temporary.replace(self._target)
            self._temporary = None
        return self.path

    def close(self) -> None:
        """Let go; a download that was not finished leaves no trace."""
        super().close()
        try:
            if self._file is not None:
                self._file.close()
        finally:
            if self._temporary is not None:
                self._temporary.unlink(missing_ok=True)


def landing_at(target: Target) -> Landing:
    """Where to put a download that goes to `target`, which is no folder.

    Raises InvalidArgumentError for what cannot take it, FileNotFoundError for a folder that does not exist.
    """
    if isinstance(target, (str, os.PathLike)):
        if os.fspath(target).endswith(os.sep):
            raise FileNotFoundError(errno.ENOENT, "There is no such folder", os.fspath(target))
        return PathLanding(Path(target))
    if callable(getattr(target, "write", None)) and not isinstance(target, io.TextIOBase):
        return Landing(target)
    raise InvalidArgumentError(
        f"to is {type(target).__name__}: give a path, a folder, or a file opened for writing bytes."
    )


def is_folder(target: Target) -> bool:
    """Whether a download that goes there needs a name of its own. Looks at the disk."""
    return isinstance(target, (str, os.PathLike)) and os.path.isdir(target)


def inside(folder: Target, filename: str, file_id: str) -> Path:
    """The path of a file of this name in a folder: the name's last part, made harmless; else the file's id."""
    assert isinstance(folder, (str, os.PathLike))
    name = next(filter(None, map(_harmless, (filename, file_id))), "download")
    return Path(folder) / name


def _harmless(name: str) -> str:
    last = _SEPARATORS.split(name)[-1]
    kept = "".join(character for character in last if character.isprintable()).encode("utf-8", "ignore")
    cut = kept[-MAX_NAME_BYTES:].decode("utf-8", "ignore").strip()
    return "" if cut in {".", ".."} else cut


def _start_of(file: IO[bytes]) -> int | None:
    """Where a file stands, if it can be set back to that; else None."""
    try:
        start = file.tell()
        return file.seek(start)
    except (OSError, ValueError, AttributeError):
        return None
