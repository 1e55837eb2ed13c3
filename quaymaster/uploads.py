"""A file on its way up, as multipart/form-data in small pieces: it is never held in memory."""

from __future__ import annotations

import io
import json
import mimetypes
import os
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, TypeAlias
from uuid import uuid4

from quaymaster.errors import InvalidArgumentError
from quaymaster.types import OnProgress

Content: TypeAlias = "bytes | bytearray | memoryview | str | os.PathLike[str] | IO[bytes]"
"""What is in a file: its bytes, its path (a str is a path), or a file object that was opened for bytes."""
FileTypes: TypeAlias = (
    "Content | tuple[str | None, Content] | tuple[str | None, Content, str | None]"
    " | tuple[str | None, Content, str | None, Mapping[str, str]]"
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
        return not self.was_read or isinstance(self.content, (bytes, memoryview, Path)) or self.start is not None

    @property
    def media_type(self) -> str:
        """The whole body's."""
        return f"multipart/form-data; boundary={self.boundary}"

    @property
    def length(self) -> int | None:
        """The whole body's length in bytes, None where it is not known."""
        return None if self.size is None else len(self._head()) + self.size + len(self._tail())

    def pieces(self) -> Generator[bytes]:
        """The body, from the start. Each piece has at most 256 KiB of the file."""
        yield self._head()
        sent = 0
        for piece in self._file():
            yield piece
            sent += len(piece)
            if self.on_progress is not None:
                self.on_progress(sent, self.size)
        yield self._tail()

    def _file(self) -> Iterator[bytes]:
        self.was_read = True
        if isinstance(self.content, (bytes, memoryview)):
            whole = memoryview(self.content)
            for start in range(0, len(whole), PIECE_BYTES):
                yield bytes(whole[start : start + PIECE_BYTES])
        elif isinstance(self.content, Path):
            with self.content.open("rb") as opened:
                while piece := opened.read(PIECE_BYTES):
                    yield piece
        else:
            if self.start is not None:
                self.content.seek(self.start)
            while piece := self.content.read(PIECE_BYTES):
                yield piece

    def _head(self) -> bytes:
        parts = [
            f'--{self.boundary}\r\nContent-Disposition: form-data; name="{_escaped(name)}"\r\n\r\n{value}\r\n'
            for name, value in self.fields.items()
        ]
        headers = {"Content-Type": self.content_type} | dict(self.part_headers)
        disposition = f'form-data; name="file"; filename="{_escaped(self.filename)}"'
        parts.append(f"--{self.boundary}\r\nContent-Disposition: {disposition}\r\n")
        parts += [f"{name}: {value}\r\n" for name, value in headers.items()]
        return ("".join(parts) + "\r\n").encode()

    def _tail(self) -> bytes:
        return f"\r\n--{self.boundary}--\r\n".encode()


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
        size = kind.stat().st_size
        name = name or kind.name
    elif hasattr(content, "read") and not isinstance(content, io.TextIOBase):
        kind = content
        start, size = _extent(content)
        given = getattr(content, "name", None)
        name = name or (os.path.basename(given) if isinstance(given, str) else None)
    else:
        raise InvalidArgumentError(
            f"file is {type(content).__name__}: give bytes, a path, a file opened in binary mode, or (name, one of these)."
        )
    name = name or "upload"
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
