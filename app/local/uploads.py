"""A multipart body on its way to disk: the part `file` becomes a blob, short fields are kept, the rest is dropped."""

from __future__ import annotations

from email.message import Message
from email.utils import collapse_rfc2231_value
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from app.local.blobs import BlobWriter
from app.local.errors import ApiError, bad_multipart

DEFAULT_FILENAME: Final = "upload"
KEPT_FIELDS: Final = frozenset({"file_id", "purpose"})
MAX_FIELD_BYTES: Final = 1024


class MultipartUpload:
    """Takes a body in pieces of any size. All methods block, and raise ApiError (400, 413)."""

    def __init__(self, boundary: bytes, blob: BlobWriter) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        """The last segment of the file's name, once a part `file` has begun."""
        self._blob = blob
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._disposition = b""
        self._part = ""
        self._value = bytearray()
        self._complete = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError:
            raise bad_multipart("its boundary is too long") from None

    def feed(self, piece: bytes) -> None:
        """Take the next piece of the body."""
        try:
            self._parser.write(piece)
        except FormParserError:
            raise bad_multipart("it breaks its own framing") from None

    def finish(self) -> None:
        """The body is over."""
        if not self._complete:
            raise bad_multipart("it ends before its closing boundary")

    def _on_part_begin(self) -> None:
        self._disposition = b""

    def _on_header_end(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = bytes(value)
        self._header = (bytearray(), bytearray())

    def _on_headers_finished(self) -> None:
        self._part, filename = read_disposition(self._disposition)
        self._value = bytearray()
        if self._part == "file":
            if self.filename is not None:
                raise bad_multipart("it has more than one part 'file'")
            self.filename = filename or DEFAULT_FILENAME

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._part == "file":
            self._blob.write(memoryview(data)[start:end])
        elif self._part in KEPT_FIELDS:
            self._value += data[start:end]
            if len(self._value) > MAX_FIELD_BYTES:
                raise ApiError(400, f"'{self._part}' is too long.", param=self._part, code="invalid_value")

    def _on_part_end(self) -> None:
        if self._part in KEPT_FIELDS:
            self.fields[self._part] = self._value.decode(errors="replace")

    def _on_end(self) -> None:
        self._complete = True


def read_disposition(value: bytes) -> tuple[str, str]:
    """The field's name and the last segment of its filename (either may be "").

    Names are raw UTF-8, as SDKs send them; `filename*` of RFC 5987 counts before `filename`. Both slashes end a
    segment, so a whole Windows path is cut too.
    """
    message = Message()
    message["content-disposition"] = value.decode(errors="replace")
    parameters = message.get_params(header="content-disposition") or []
    field, filename, extended = "", "", ""
    for key, text in parameters:
        plain = collapse_rfc2231_value(text)
        if key == "name":
            field = plain
        elif key == "filename":
            filename, extended = (filename, plain) if isinstance(text, tuple) else (plain, extended)
    return field, last_segment(extended or filename)


def last_segment(filename: str) -> str:
    """A filename without its folders."""
    return filename.replace("\\", "/").rpartition("/")[2]


def boundary_of(content_type: str) -> bytes | None:
    """The boundary of a multipart/form-data body, or None where the body is something else.

    Raises ApiError (400) where it should have one.
    """
    message = Message()
    message["content-type"] = content_type
    if message.get_content_type() != "multipart/form-data":
        return None
    boundary = message.get_boundary()
    if not boundary:
        raise bad_multipart("its content-type has no boundary")
    return boundary.encode("latin-1", "replace")
