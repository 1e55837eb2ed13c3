"""Reading multipart/form-data as a strict upstream would (RFC 7578, RFC 2046)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_BOUNDARY = re.compile(rb'multipart/form-data; *boundary="?([^";]+)"?')
_NAME = re.compile(rb'[;\s]name="([^"]*)"')
_FILENAME = re.compile(rb'[;\s]filename="([^"]*)"')


@dataclass(frozen=True)
class Part:
    """One field of a form; `filename` is None where it is not a file."""

    name: str
    filename: str | None
    content: bytes


def form_parts(content_type: bytes, body: bytes) -> list[Part]:
    """The parts of a form, in their order. Raises ValueError where the body breaks its framing."""
    found = _BOUNDARY.fullmatch(content_type)
    if found is None:
        raise ValueError("there is no boundary")
    delimiter = b"\r\n--" + found[1]
    first, *pieces = (b"\r\n" + body).split(delimiter)
    if first or not pieces:
        raise ValueError("it does not begin with its boundary")
    *parts, last = pieces
    if not last.startswith(b"--") or last[2:].strip(b"\r\n"):
        raise ValueError("it does not end with its closing boundary")
    return [_part(piece) for piece in parts]


def _part(piece: bytes) -> Part:
    head, separator, content = piece.partition(b"\r\n\r\n")
    name = _NAME.search(head)
    if not head.startswith(b"\r\n") or not separator or name is None:
        raise ValueError("a part has no head, or no name")
    filename = _FILENAME.search(head)
    return Part(name[1].decode(), filename and filename[1].decode(), content)
