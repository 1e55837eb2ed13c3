"""What a log may show of a client's JSON: a bounded copy without secrets. Pure.

Values of any shape are taken, because a hostile client sends values of any shape. What is hidden:

- under `domain_secrets`, everything but the strings `domain` and `name`
- a value whose name is a credential's (`authorization`, `api_key`, `x-api-key`, `password`, `client_secret`, …)
- an inline skill (`data` under `skills`) and any long string: their size and SHA-256 are shown instead
- anything that looks like a key (`sk-…`), also in names
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import orjson

from app.telemetry.digests import Digest, digest_of

REDACTED: Final = "[redacted]"
TRUNCATED: Final = "[truncated]"

MAX_STRING_CHARS: Final = 4096
"""A longer string is shown as its size and hash."""
MAX_DEPTH: Final = 24
"""What lies deeper is cut off."""
MAX_NAME_CHARS: Final = 128

_PIECE_CHARS: Final = 256 * 1024
"""Long strings are hashed in pieces, so that the interpreter lock is free in between."""

_KEY: Final = r"sk-(?:(?<![A-Za-z0-9]sk-)|(?<=\\[bfnrt]sk-)|(?<=\\u[0-9a-f]{4}sk-))[A-Za-z0-9_\-]{4,}"
"""`sk-` at the start of a word, or after an escape of JSON, whose last letter is no part of the word. What begins
with a text is searched for quickly."""
_KEY_IN_TEXT: Final = re.compile(_KEY)
_KEY_IN_BYTES: Final = re.compile(_KEY.encode())
_MASKED: Final = "sk-" + REDACTED

_CREDENTIAL_NAME: Final = re.compile(
    r"(?:authorization|(?:api|access|secret|private|master|signing|encryption)[-_. ]?keys?"
    r"|passwords?|passwd|passphrase|token|secrets?|credentials?|cookies?|bearer|^auth)$",
    re.IGNORECASE,
)

_BLOCK_CHARS: Final = MAX_STRING_CHARS // 2
_ESCAPE: Final = re.compile(rb"\\.")
"""Of `\\u00e9` the first two bytes."""
_ASCII_ESCAPE: Final = re.compile(rb"\\u00[2-7]")
"""Of what needs none: a key may hide behind it."""

_NAMES_WITH_RULES: Final = ("domain_secrets", "skills")


def redact(value: Any, max_chars: int = 16 * 1024) -> Any:
    """A copy of parsed JSON that may be logged.

    The copy holds about `max_chars` characters of text at most; the rest is `"[truncated]"`. The time taken is bounded
    by that too, except for hashing. A `Digest` is shown as its summary, what else is not JSON as its type's name.
    """
    return _Copy(max_chars).of(value, MAX_DEPTH, "")


def redact_json(text: bytes, max_chars: int = 16 * 1024) -> Any:
    """What `redact` gives for the value of a JSON text. Raises ValueError where it is not JSON.

    Most texts hold no name that any rule is about: they need no copy, which is ten times as fast.
    """
    value = orjson.loads(text)
    return value if _is_plain(text, value, max_chars) else redact(value, max_chars)


class Shown(NamedTuple):
    """A JSON text as it may be shown."""

    line: bytes
    """One line of JSON."""
    is_whole: bool
    """Whether all that a parser finds in it is shown."""


def redacted_json(text: bytes, max_chars: int = 16 * 1024) -> Shown:
    """The same as one line of JSON, keys in texts masked too: the text itself where there is nothing to hide.

    Raises ValueError where it is not JSON.
    """
    value = orjson.loads(text)
    if _is_plain(text, value, max_chars):
        return Shown(text if b"\n" not in text and b"\r" not in text else orjson.dumps(value), True)
    redacted = redact(value, max_chars)
    try:
        line = orjson.dumps(redacted)
    except TypeError:  # half of a surrogate pair
        line = json.dumps(redacted).encode("ascii")
    shown = redact_bytes(line)
    return Shown(shown, shown == line and redacted == value)


def redact_text(text: str) -> str:
    """The text with everything in it that looks like a key masked."""
    return _KEY_IN_TEXT.sub(_MASKED, text) if "sk-" in text else text


def shown_path(path: str) -> str:
    """A path, or a piece of one, as it may be shown: as it came, or decoded and masked where a key is in it."""
    if "%" in path:
        decoded = path
        for _ in range(3):  # whoever reads a log decodes as often as it takes
            decoded = unquote(decoded)
            if "sk-" in decoded:
                path = decoded
                break
    return redact_text(path)


def redact_bytes(line: bytes) -> bytes:
    """The same for UTF-8, which may be JSON."""
    return _KEY_IN_BYTES.sub(_MASKED.encode(), line) if b"sk-" in line else line


@lru_cache(maxsize=1024)
def is_credential_name(name: str) -> bool:
    """Whether a field of this name holds a secret: `api_key`, `X-Api-Key`, `clientSecret`, `db.password`."""
    return _CREDENTIAL_NAME.search(name) is not None


def digest_of_bytes(body: bytes) -> dict[str, Any]:
    """Size and hash of bytes that are not shown."""
    return {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def _is_plain(text: bytes, value: Any, max_chars: int) -> bool:
    """Whether a JSON text of this value is short and holds nothing that any rule is about."""
    if len(text) > max_chars:
        return False
    bare = text
    if b"\\" in text:
        if b"sk-" in text or _ASCII_ESCAPE.search(text):
            return False
        bare = _ESCAPE.sub(b"_", text)
    elif b"sk-" in text and _KEY_IN_BYTES.search(text):
        return False
    # Of a name that is there twice only the last is parsed: the text has more quotes than that.
    if 2 * _plain_strings(value, MAX_DEPTH) != bare.count(b'"'):
        return False
    # A longer string than MAX_STRING_CHARS would fill one of these.
    blocks = range(0, len(bare) - _BLOCK_CHARS + 1, _BLOCK_CHARS) if len(bare) > MAX_STRING_CHARS else ()
    return all(bare.find(b'"', start, start + _BLOCK_CHARS) >= 0 for start in blocks)


def _plain_strings(value: Any, depth: int) -> int:
    """How many strings are in parsed JSON, names too; less than 0 where a rule is about a name or the depth."""
    if type(value) is str:
        return 1
    strings = 0
    if type(value) is dict:
        if not _are_plain(tuple(value)):
            return -sys.maxsize
        strings = len(value)
        value = value.values()
    elif type(value) is not list:
        return 0
    if depth == 0:
        return -sys.maxsize
    for member in value:
        if type(member) is str:
            strings += 1
        elif type(member) is dict or type(member) is list:
            strings += _plain_strings(member, depth - 1)
    return strings


@lru_cache(maxsize=256)
def _are_plain(names: tuple[str, ...]) -> bool:
    """The names of an object, of which there are few kinds: asking again takes 0.15 µs."""
    return not any(
        len(name) > MAX_NAME_CHARS or name.lower() in _NAMES_WITH_RULES or is_credential_name(name) for name in names
    )


class _Copy:
    """One copy in the making, and how many characters it may still grow by.

    `within` is the name of the nearest enclosing field with a rule of its own: `domain_secrets`, `skills` or "".
    """

    __slots__ = ("_chars_left",)

    def __init__(self, max_chars: int) -> None:
        self._chars_left = max_chars

    def of(self, value: Any, depth: int, within: str) -> Any:
        if isinstance(value, dict | list | tuple):
            self._chars_left -= 2
            if depth == 0:
                return TRUNCATED
            if isinstance(value, dict):
                return self._object(value, depth - 1, within)
            return self._array(value, depth - 1, within)
        if within == "domain_secrets":
            return self._shown(REDACTED)
        return self._scalar(value)

    def _object(self, value: dict[Any, Any], depth: int, within: str) -> dict[str, Any]:
        copy: dict[str, Any] = {}
        for key, member in value.items():
            if self._chars_left <= 0:
                copy["…"] = TRUNCATED
                break
            name = _name(key)
            self._chars_left -= len(name)
            copy[name] = self._member(name.lower(), member, depth, within)
        return copy

    def _member(self, name: str, value: Any, depth: int, within: str) -> Any:
        if within == "domain_secrets":
            if name in ("domain", "name") and isinstance(value, str):
                return self._scalar(value)
            return self.of(value, depth, within)
        if name in _NAMES_WITH_RULES:
            return self.of(value, depth, name)
        if within == "skills" and name == "data":
            return self._shown(_digest_of_skill(value))
        if is_credential_name(name) and value is not None and not isinstance(value, bool):
            return self._shown(REDACTED)
        return self.of(value, depth, within)

    def _array(self, value: list[Any] | tuple[Any, ...], depth: int, within: str) -> list[Any]:
        copy: list[Any] = []
        for member in value:
            if self._chars_left <= 0:
                copy.append(TRUNCATED)
                break
            copy.append(self.of(member, depth, within))
        return copy

    def _scalar(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._string(value)
        if isinstance(value, Digest):
            return self._shown(value.summary())
        if isinstance(value, int) and value.bit_length() > 63:
            return self._shown(TRUNCATED)
        if value is None or isinstance(value, int | float):
            return self._shown(value)
        return self._shown(f"[{type(value).__name__}]")

    def _string(self, value: str) -> Any:
        if len(value) > MAX_STRING_CHARS:
            return self._shown(_digest_of_text(value))
        if len(value) > self._chars_left:
            self._chars_left = 0
            return TRUNCATED
        return self._shown(redact_text(value))

    def _shown(self, value: Any) -> Any:
        self._chars_left -= len(value) + 2 if isinstance(value, str) else 96 if isinstance(value, dict) else 8
        return value


def _name(key: Any) -> str:
    """A field's name, as it may be shown. A name that is too long keeps its end, by which credentials are known."""
    name = key if isinstance(key, str) else f"[{type(key).__name__}]"
    return redact_text(name if len(name) <= MAX_NAME_CHARS else "…" + name[-MAX_NAME_CHARS:])


def _pieces(text: str) -> Iterator[bytes]:
    for start in range(0, len(text), _PIECE_CHARS):
        yield text[start : start + _PIECE_CHARS].encode("utf-8", "surrogatepass")


def _digest_of_text(text: str) -> dict[str, Any]:
    digest = hashlib.sha256()
    for piece in _pieces(text):
        digest.update(piece)
    return {"chars": len(text), "sha256": digest.hexdigest()}


def _digest_of_skill(data: object) -> Any:
    if isinstance(data, str):
        data = digest_of(data.encode("utf-8", "surrogatepass"))
    return data.summary() if isinstance(data, Digest) else REDACTED
