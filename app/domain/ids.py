"""Ids as they stand in a path. Nothing a client writes in one may shape the URL that goes upstream."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote

MAX_ID_LENGTH: Final = 256

_plain = re.compile(r"[A-Za-z0-9_-]{1,256}").fullmatch
_separators = re.compile(r"[/\\]")


def decode_id(segment: str) -> str | None:
    """The id in one raw path segment, or None where no upstream can have such an id.

    Decoded once. An encoded slash stays a part of the id and is encoded again on its way up; what could mean another
    path to a careless upstream ("." and ".." between slashes of either kind, control characters) is refused.
    """
    if _plain(segment):
        return segment
    try:
        decoded = unquote(segment, errors="strict")
    except UnicodeDecodeError:
        return None
    if not decoded.isprintable() or not 0 < len(decoded) <= MAX_ID_LENGTH:
        return None
    if any(part in {"", ".", ".."} for part in _separators.split(decoded)):
        return None
    return decoded


def encode_id(decoded: str) -> str:
    """An id as exactly one path segment."""
    return decoded if _plain(decoded) else quote(decoded, safe="")
