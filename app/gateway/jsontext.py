"""Surgery on JSON text: take a member out, put a member in, leave every other byte as it was.

A gateway that parses and prints again loses what its parser does not keep: big numbers, duplicate keys, the client's
own formatting. Except for `elide` and `amend_list`, functions expect text that a JSON parser has accepted.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson

from app.telemetry.digests import digest_of

_TOKENS: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],]', re.DOTALL)
_SPACE: Final = re.compile(r"[ \t\r\n]*").match
_decode_value: Final = json.JSONDecoder().raw_decode

LONG_STRING_BYTES: Final = 4 * 1024
"""Strings from here on are not parsed: nothing the gateway reads is that long, and an inline skill is up to 70 MB."""
_FIRST_WINDOW_BYTES: Final = 64
_LARGEST_WINDOW_BYTES: Final = 64 * 1024
"""How much of a string with escapes is looked through at a time: more each time."""

Addition = Callable[[dict[str, Any]], str]
"""The members to add to one object ('"key":value,…'), or ""."""


def members(text: bytes) -> Iterator[tuple[str, int, int]]:
    """The members of the outermost object: key, and where the member's text, spaces and all, starts and ends."""
    depth = start = 0
    key: str | None = None
    expect_key = False
    for token in _TOKENS.finditer(text):
        symbol = text[token.start() : token.start() + 1]
        if symbol == b'"':
            if expect_key:
                key, expect_key = orjson.loads(token[0]), False
        elif symbol in b"{[":
            depth += 1
            if depth == 1:
                start, expect_key = token.end(), True
        elif depth == 1:
            if key is not None:
                yield key, start, token.start()
            key, start, expect_key = None, token.end(), symbol == b","
            depth -= symbol != b","
        elif symbol in b"}]":
            depth -= 1


def without_member(text: bytes, name: str) -> bytes:
    """The outermost object without any member of this name."""
    return b"{" + b",".join(text[start:end] for key, start, end in members(text) if key != name) + b"}"


def amend_object(text: bytes, parsed: dict[str, Any], addition: Addition) -> bytes:
    """The object with members added at its end. `parsed` is what `text` says."""
    added = addition(parsed)
    if not added:
        return text
    end = text.rindex(b"}")
    return b"".join((text[:end].rstrip(), b"," if parsed else b"", added.encode(), b"}"))


def amend_list(text: bytes, addition: Addition) -> bytes:
    """A list with members added at the end of each object in its `data`.

    Raises ValueError, LookupError or RecursionError where the text is not JSON, or not such a list.
    """
    source = text.decode()
    pieces: list[str] = []
    copied = 0
    for item, _, end in _items(source):
        if isinstance(item, dict) and (added := addition(item)):
            pieces += (source[copied : end - 1].rstrip(), "," if item else "", added)
            copied = end - 1
    return "".join((*pieces, source[copied:])).encode() if pieces else text


def list_items(text: bytes) -> Iterator[tuple[Any, bytes]]:
    """The elements of a list's `data`: what each says, and its own text. Raises as `amend_list` does."""
    source = text.decode()
    for item, start, end in _items(source):
        yield item, source[start:end].encode()


def _items(source: str) -> Iterator[tuple[Any, int, int]]:
    """The elements of `data` in an outermost object, each with where it starts and the position after it."""
    position = _skip(source, source.index("{") + 1)
    while source[position] == '"':
        key, position = _decode_value(source, position)
        position = _skip(source, _skip(source, position) + 1)
        if key == "data" and source[position] == "[":
            position = _skip(source, position + 1)
            while source[position] != "]":
                start = position
                item, position = _decode_value(source, start)
                yield item, start, position
                position = _skip(source, position)
                position = _skip(source, position + 1) if source[position] == "," else position
            position += 1
        else:
            _, position = _decode_value(source, position)
        position = _skip(source, position)
        position = _skip(source, position + 1) if source[position] == "," else position


def _skip(source: str, position: int) -> int:
    match = _SPACE(source, position)
    return match.end() if match else position


def elide(text: bytes, max_rest_bytes: int) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """Replace every long string by a short placeholder.

    Returns the shortened text, and where in `text` the content of each placeholder's string stands. It works in small
    steps (so that in a worker thread it never holds up the event loop, as parsing 70 MB would) and costs what reading
    the text costs. Raises ValueError where more than `max_rest_bytes` are left besides the long strings.
    """
    mark = secrets.token_hex(8)  # so that nothing the client wrote can pass for a placeholder
    pieces: list[bytes] = []
    places: dict[str, tuple[int, int]] = {}
    copied = position = rest = 0
    while (start := text.find(b'"', position) + 1) > 0:
        end = _string_end(text, start)
        if end - start >= LONG_STRING_BYTES:
            placeholder = f"{mark}-{len(places)}"
            places[placeholder] = (start, end)
            pieces += (text[copied:start], placeholder.encode())
            rest += start - copied
            copied = end
        if end < 0 or rest + end - copied > max_rest_bytes:
            break
        position = end + 1
    if rest + len(text) - copied > max_rest_bytes:
        raise ValueError(f"more than {max_rest_bytes} bytes of JSON besides long strings")
    return b"".join((*pieces, text[copied:])), places


def _string_end(text: bytes, start: int) -> int:
    """Where the closing quote of the string that begins at `start` stands; -1 where there is none."""
    end = text.find(b'"', start)
    if end <= start or text[end - 1] != 0x5C:
        return end
    window_bytes = _FIRST_WINDOW_BYTES
    while start < len(text):
        window = text[start : start + window_bytes].replace(rb"\\", b"..").replace(rb"\"", b"..")
        end = window.find(b'"')
        if end >= 0:
            return start + end
        # A backslash at the end escapes what the next window begins with.
        start += len(window) - (window.endswith(b"\\") and len(window) > 1)
        window_bytes = min(2 * window_bytes, _LARGEST_WINDOW_BYTES)
    return -1


def restore(shortened: bytes, text: bytes, places: dict[str, tuple[int, int]]) -> bytes:
    """Put the long strings back into text that came from `elide` and has been cut since."""
    pieces: list[bytes] = []
    copied = 0
    for placeholder, (start, end) in places.items():
        mark = b'"' + placeholder.encode() + b'"'
        at = shortened.find(mark, copied)
        if at >= 0:
            pieces += (shortened[copied : at + 1], text[start:end])
            copied = at + len(mark) - 1
    return b"".join((*pieces, shortened[copied:]))


def digests(value: Any, text: bytes, places: dict[str, tuple[int, int]]) -> Any:
    """What a shortened text says, with a `Digest` where a long string stood."""
    if isinstance(value, dict):
        return {key: digests(item, text, places) for key, item in value.items()}
    if isinstance(value, list):
        return [digests(item, text, places) for item in value]
    if isinstance(value, str) and value in places:
        start, end = places[value]
        return digest_of(memoryview(text)[start:end])
    return value
