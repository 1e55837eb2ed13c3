"""Take one form field out of a multipart/form-data body while it streams past, and tell what the others say.

`MultipartFilter` knows bytes and no sockets: what goes in comes out, except the parts whose name is the field's.
Nothing is held back but the part being decided on, so memory stays small whatever the file's size.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

from python_multipart.multipart import parse_options_header

from app.domain.errors import ErrorCode, GatewayError

MAX_PREAMBLE_BYTES: Final = 16 * 1024
MAX_PART_HEADER_BYTES: Final = 16 * 1024
MAX_FIELD_BYTES: Final = 256
MAX_PARTS: Final = 1000
MAX_BOUNDARY_BYTES: Final = 200
"""RFC 2046 says 70; some clients go past it."""
REFERENCES: Final = frozenset({"container", "containers", "container_id", "container_ids", "file_id", "file_ids"})
"""Fields that name what is there already: whatever else the part says of itself, they are read, so they are short."""

_IDENTITY_ENCODINGS: Final = frozenset({b"7bit", b"8bit", b"binary"})


class _State(Enum):
    PREAMBLE = "preamble"
    DELIMITER = "delimiter"
    HEADERS = "headers"
    KEPT = "kept"
    TAKEN = "taken"
    EPILOGUE = "epilogue"


def boundary_of(content_type: bytes) -> bytes | None:
    """The boundary of a multipart/form-data content type; None for any other type. Raises GatewayError without one."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        return None
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= MAX_BOUNDARY_BYTES:
        raise _invalid("the content type has no usable boundary")
    return boundary


class MultipartFilter:
    """Feed it a body; forward what it returns.

    `value` is the field's content once its part has gone by (the first one counts). `removed_bytes` is how much shorter
    the output is than the input so far. `on_file` sees the content of every other part that has a file name. `fields`
    are the names and contents of the short fields among the others that went by and are not taken out of it yet.
    """

    def __init__(self, boundary: bytes, field: str, on_file: Callable[[bytes], None]) -> None:
        self.value: str | None = None
        self.fields: list[tuple[str, str]] = []
        self.removed_bytes = 0
        self._field = field.encode()
        self._on_file = on_file
        self._delimiter = b"\r\n--" + boundary
        # A body begins with a delimiter that lacks its line break: lend it one, and take it back on the way out.
        self._buffer = b"\r\n"
        self._lent_bytes = 2
        self._fed = 0
        self._sent = 0
        self._parts = 0
        self._head = b""
        self._taken = b""
        self._is_file = False
        self._name = ""
        self._content: bytes | None = None
        self._state = _State.PREAMBLE

    @property
    def ended(self) -> bool:
        """Whether the closing delimiter has gone by."""
        return self._state is _State.EPILOGUE

    def feed(self, data: bytes) -> bytes:
        """Take the next piece; return what may be forwarded. Raises GatewayError for broken framing."""
        self._fed += len(data)
        self._buffer += data
        output: list[bytes] = []
        steps = {
            _State.PREAMBLE: self._in_preamble,
            _State.DELIMITER: self._in_delimiter,
            _State.HEADERS: self._in_headers,
            _State.KEPT: self._in_kept,
            _State.TAKEN: self._in_taken,
        }
        while (step := steps.get(self._state)) is not None and step(output):
            pass
        if self._state is _State.EPILOGUE:
            output.append(self._buffer)
            self._buffer = b""
        joined = b"".join(output)
        if self._lent_bytes and joined:
            taken_back = min(self._lent_bytes, len(joined))
            joined = joined[taken_back:]
            self._lent_bytes -= taken_back
        self._sent += len(joined)
        self.removed_bytes = self._fed + self._lent_bytes - self._sent - len(self._buffer) - len(self._head)
        return joined

    def finish(self) -> None:
        """Say that the body is over. Raises GatewayError where it is not whole."""
        if not self.ended:
            raise _invalid("the body ends before its closing boundary")

    def _in_preamble(self, output: list[bytes]) -> bool:
        if not self._to_delimiter(output):
            if self._fed > MAX_PREAMBLE_BYTES:
                raise _invalid(f"more than {MAX_PREAMBLE_BYTES} bytes before the first boundary")
            return False
        return True

    def _in_kept(self, output: list[bytes]) -> bool:
        before = len(output)
        found = self._to_delimiter(output)
        if self._is_file:
            for piece in output[before:]:
                self._on_file(piece)
        if self._content is not None:
            self._read_field(output[before:], found)
        return found

    def _read_field(self, pieces: list[bytes], ended: bool) -> None:
        """Keep a field's content until its part has gone by. A long one names nothing."""
        content = (self._content or b"") + b"".join(pieces)
        if len(content) > MAX_FIELD_BYTES:
            if self._name in REFERENCES:
                raise _invalid(f"the field {self._name} is longer than {MAX_FIELD_BYTES} bytes")
            self._content = None
        elif ended:
            self.fields.append((self._name, content.decode("utf-8", "replace").strip()))
            self._content = None
        else:
            self._content = content

    def _in_taken(self, output: list[bytes]) -> bool:
        taken: list[bytes] = []
        found = self._to_delimiter(taken)
        self._taken += b"".join(taken)
        if len(self._taken) > MAX_FIELD_BYTES:
            raise _invalid(f"the field {self._field.decode()} is longer than {MAX_FIELD_BYTES} bytes")
        if found and self.value is None:
            self.value = self._taken.decode("utf-8", "replace")
        return found

    def _to_delimiter(self, output: list[bytes]) -> bool:
        """Move everything before the next delimiter to the output; keep what may be the beginning of one."""
        at = self._buffer.find(self._delimiter)
        if at < 0:
            safe = max(0, len(self._buffer) - len(self._delimiter) + 1)
            line = self._buffer.find(b"\r", safe)
            at = line if line >= 0 else len(self._buffer)
            if at:
                output.append(self._buffer[:at])
                self._buffer = self._buffer[at:]
            return False
        if at:
            output.append(self._buffer[:at])
        self._head = self._delimiter
        self._buffer = self._buffer[at + len(self._delimiter) :]
        self._state = _State.DELIMITER
        return True

    def _in_delimiter(self, output: list[bytes]) -> bool:
        """What follows a delimiter: "--" after the last one, else blanks and the end of the line."""
        if len(self._buffer) < 2:
            return False
        if self._buffer.startswith(b"--"):
            output.append(self._head)
            self._head = b""
            self._state = _State.EPILOGUE
            return False
        line = self._buffer.find(b"\r\n")
        if line < 0 and len(self._buffer) < 256:
            return False
        if line < 0 or self._buffer[:line].strip(b" \t"):
            raise _invalid("a boundary is not followed by the end of its line")
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise _invalid(f"more than {MAX_PARTS} parts")
        self._head += self._buffer[:line]
        self._buffer = self._buffer[line:]
        self._state = _State.HEADERS
        return True

    def _in_headers(self, output: list[bytes]) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or end > MAX_PART_HEADER_BYTES:
            if len(self._buffer) > MAX_PART_HEADER_BYTES:
                raise _invalid(f"the headers of a part are larger than {MAX_PART_HEADER_BYTES} bytes")
            return False
        name, filename = _disposition(self._buffer[:end])
        if name == self._field and filename is None:
            self._taken = b""
            self._state = _State.TAKEN
        else:
            output.append(self._head + self._buffer[: end + 4])
            self._is_file = filename is not None
            self._name = (name or b"").partition(b"[")[0].decode("utf-8", "replace")
            self._content = None if filename and self._name not in REFERENCES else b""
            self._state = _State.KEPT
        self._head = b""
        self._buffer = self._buffer[end + 4 :]
        return True


def _disposition(headers: bytes) -> tuple[bytes | None, bytes | None]:
    """The name and file name of a part. Raises GatewayError where another reader could read something else there."""
    found: tuple[bytes | None, bytes | None] | None = None
    for line in headers.split(b"\r\n"):
        field, _, value = line.partition(b":")
        kind = field.strip().lower()
        if kind == b"content-disposition":
            if found is not None:
                raise _invalid("a part has more than one content disposition")
            _, options = parse_options_header(value.strip())
            found = options.get(b"name"), options.get(b"filename", options.get(b"filename*"))
        elif kind == b"content-transfer-encoding" and value.strip().lower() not in _IDENTITY_ENCODINGS:
            raise _invalid("a part has a content transfer encoding")
    return found or (None, None)


def _invalid(reason: str) -> GatewayError:
    return GatewayError(ErrorCode.INVALID_MULTIPART, f"The multipart body cannot be read: {reason}.")
