"""A file on its way up, as multipart/form-data in small pieces: it is never held in memory."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import mimetypes
import os
import stat
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from pathlib import Path
from typing import IO, Final, TypeAlias
from uuid import uuid4

from quaymaster.errors import InvalidArgumentError
from quaymaster.threads import in_thread
from quaymaster.types import OnProgress

Content: TypeAlias = bytes | bytearray | memoryview | str | os.PathLike[str] | IO[bytes]
"""What is in a file: its bytes, its path (a str is a path), or a file object that was opened for bytes."""
FileTypes: TypeAlias = (
    Content
    | tuple[str | None, Content]
    | tuple[str | None, Content, str | None]
    | tuple[str | None, Content, str | None, Mapping[str, str]]
)
"""A file's content; or a tuple: its name, its content, and perhaps its media type and further headers of its part."""

PIECE_BYTES: Final = 256 * 1024
_ESCAPES: Final = {'"': "%22", "\r": "%0D", "\n": "%0A", "\0": "%00"}


@dataclass(slots=True)
class Upload:
    """One file and the form fields before it.

    `size` is the file's size in bytes, None where it is not known.
    """

    filename: str
    content: bytes | memoryview | Path | IO[bytes]
    content_type: str
    part_headers: Mapping[str, str]
    fields: Mapping[str, str]
    on_progress: OnProgress | None = None
    boundary: str = field(default_factory=lambda: uuid4().hex)
    size: int | None = None
    start: int | None = None
    """Where in a file object the file begins; None where that cannot be told, so that it can be read only once."""
    was_read: bool = False

    @property
    def can_repeat(self) -> bool:
        """Whether this can be sent (again)."""
        if isinstance(self.content, Path):
            return not self.was_read or self.size is not None
        return not self.was_read or isinstance(self.content, (bytes, memoryview)) or self.start is not None

    @property
    def media_type(self) -> str:
        """The whole body's."""
        return f"multipart/form-data; boundary={self.boundary}"

    @property
    def length(self) -> int | None:
        """The whole body's length in bytes, None where it is not known."""
        return None if self.size is None else len(self._head()) + self.size + len(self._tail())

    def pieces(self) -> Generator[bytes]:
        """The body, from the start. Each piece has at most 256 KiB of the file. Raises OSError."""
        yield self._head()
        with closing(_Reading(self)) as reading:
            while piece := reading.next():
                yield piece
                self._tell(reading.done)
        yield self._tail()

    async def apieces(self) -> AsyncGenerator[bytes]:
        """`pieces`; a file is read in threads, so that the event loop does not wait for a disk or a pipe."""
        yield self._head()
        with closing(_Reading(self)) as reading:
            while piece := await self._next(reading):
                yield piece
                self._tell(reading.done)
        yield self._tail()

    async def _next(self, reading: _Reading) -> bytes:
        if isinstance(self.content, Path) and self.size is not None:
            return await in_thread(reading.next)
        if isinstance(self.content, (bytes, memoryview)):
            return reading.next()
        return await asyncio.to_thread(reading.next)  # what may wait for ever can be cancelled

    def _tell(self, sent: int) -> None:
        if self.on_progress is not None:
            self.on_progress(sent, self.size)

    def _head(self) -> bytes:
        parts = [
            f'--{self.boundary}\r\nContent-Disposition: form-data; name="{_escaped(name)}"\r\n\r\n{value}\r\n'
            for name, value in self.fields.items()
        ]
        own = {name.lower() for name in self.part_headers}
        headers = ({} if "content-type" in own else {"Content-Type": self.content_type}) | dict(self.part_headers)
        disposition = f'form-data; name="file"; filename="{_escaped(self.filename)}"'
        parts.append(f"--{self.boundary}\r\nContent-Disposition: {disposition}\r\n")
        parts += [f"{name}: {value}\r\n" for name, value in headers.items()]
        return ("".join(parts) + "\r\n").encode("utf-8", "surrogateescape")

    def _tail(self) -> bytes:
        return f"\r\n--{self.boundary}--\r\n".encode()


class _Reading:
    """One way through a file, of which `done` bytes are read. It closes what it opens."""

    def __init__(self, upload: Upload) -> None:
        upload.was_read = True
        self.done = 0
        self._upload = upload
        self._source: IO[bytes] | None = None

    def next(self) -> bytes:
        """The next piece; empty at the end. A file that has grown is read as far as was promised.

        Raises OSError, also for a file that has become shorter.
        """
        size = self._upload.size
        wanted = PIECE_BYTES if size is None else min(PIECE_BYTES, size - self.done)
        content = self._upload.content
        if isinstance(content, (bytes, memoryview)):
            piece = bytes(content[self.done : self.done + wanted])
        else:
            piece = self._opened().read(wanted) if wanted else b""
        if not isinstance(piece, bytes):
            raise InvalidArgumentError(f"file gives {type(piece).__name__} where it is read: open it in binary mode.")
        if not piece and wanted and size is not None:
            raise OSError(f"{self._upload.filename} became shorter while it was sent: {self.done} of {size} bytes.")
        self.done += len(piece)
        return piece

    def close(self) -> None:
        """Close the file, if it was opened here."""
        if self._source is not None and self._source is not self._upload.content:
            self._source.close()

    def _opened(self) -> IO[bytes]:
        if self._source is None:
            content, start = self._upload.content, self._upload.start
            assert not isinstance(content, (bytes, memoryview))
            self._source = content.open("rb") if isinstance(content, Path) else content
            if start is not None:
                self._source.seek(start)
        return self._source


def upload_of(file: FileTypes, fields: Mapping[str, object], on_progress: OnProgress | None = None) -> Upload:
    """What to send for a file, as users give one. Raises InvalidArgumentError for what is none, OSError for a path that
    cannot be read."""
    name, content, content_type, headers = _taken_apart(file)
    kind: bytes | memoryview | Path | IO[bytes]
    size: int | None
    start: int | None = None
    if isinstance(content, (bytes, bytearray, memoryview)):
        kind = content if isinstance(content, bytes) else memoryview(content).cast("B")
        size = len(kind)
    elif isinstance(content, (str, os.PathLike)):
        kind = Path(content)
        size = _size_of(kind)
        name = name or kind.name
    elif _is_binary_file(content):
        kind = content
        start, size = _extent(content)
        given = getattr(content, "name", None)
        name = name or (os.path.basename(given) if isinstance(given, str) else None)
    else:
        raise InvalidArgumentError(
            f"file is {type(content).__name__}: give bytes, a path, a file for reading bytes, or (name, one of these)."
        )
    name = name or "upload"
    for header, value in {**headers, "Content-Type": content_type or ""}.items():
        if not (header + value).isprintable():
            raise InvalidArgumentError(f"The header {header!r} of the file's part must be one line of text.")
    return Upload(
        name,
        kind,
        content_type or mimetypes.guess_type(name)[0] or "application/octet-stream",
        headers,
        {field_name: value if isinstance(value, str) else json.dumps(value) for field_name, value in fields.items()},
        on_progress,
        size=size,
        start=start,
    )


def _size_of(path: Path) -> int | None:
    """A file's size in bytes; None for a pipe or a device. Raises OSError where there is nothing to read."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _is_binary_file(content: object) -> bool:
    read = getattr(content, "read", None)
    return callable(read) and not iscoroutinefunction(read) and not isinstance(content, io.TextIOBase)


def _taken_apart(file: FileTypes) -> tuple[str | None, Content, str | None, Mapping[str, str]]:
    if not isinstance(file, tuple):
        return None, file, None, {}
    if not 2 <= len(file) <= 4:
        raise InvalidArgumentError("file is a tuple: it has a name, the content, and perhaps a media type and headers.")
    name, content, *rest = file
    content_type = rest[0] if rest else None
    headers = rest[1] if len(rest) > 1 else {}
    return name, content, content_type, headers  # type: ignore[return-value]


def _extent(content: IO[bytes]) -> tuple[int | None, int | None]:
    """Where a file object stands, and how many bytes are left; None for what cannot be told."""
    try:
        start = content.tell()
        end = content.seek(0, os.SEEK_END)
        content.seek(start)
    except (OSError, ValueError, AttributeError):
        return None, None
    return start, max(0, end - start)


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)
