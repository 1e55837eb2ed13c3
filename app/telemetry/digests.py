"""Size and hash of bytes that are not kept."""

from __future__ import annotations

import binascii
import hashlib
from typing import Any, Final

_PIECE_BYTES: Final = 256 * 1024
"""Long texts are decoded in pieces, so that the interpreter lock is free in between. A multiple of 4, for base64."""


class Digest:
    """Size and SHA-256 of bytes as they go by: file contents, inline skills."""

    __slots__ = ("_hash", "size")

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.size = 0

    def update(self, piece: bytes | memoryview) -> None:
        """Add the next piece."""
        self.size += len(piece)
        self._hash.update(piece)

    def summary(self) -> dict[str, Any]:
        """What a log may say of the bytes."""
        return {"bytes": self.size, "sha256": self._hash.hexdigest()}


def digest_of(text: bytes | memoryview) -> Digest:
    """The digest of what a text in base64 decodes to, or of the text itself where it is not base64."""
    digest = Digest()
    try:
        for start in range(0, len(text), _PIECE_BYTES):
            digest.update(binascii.a2b_base64(text[start : start + _PIECE_BYTES], strict_mode=True))
    except binascii.Error:
        digest = Digest()
        digest.update(text)
    return digest
