from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.upstream.streams import close_stream, measured


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    for piece in given:
        yield piece


@pytest.mark.parametrize("length", [None, 3])
async def test_what_comes_goes_on_without_empty_pieces(length: int | None) -> None:
    assert [piece async for piece in measured(pieces(b"", b"ab", b"", b"c"), length)] == [b"ab", b"c"]


async def test_a_piece_past_the_length_is_not_handed_out() -> None:
    counted = measured(pieces(b"ab", b"cd"), 3)
    assert await anext(counted) == b"ab"
    with pytest.raises(ValueError, match="longer"):
        await anext(counted)


async def test_a_missing_piece_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        [piece async for piece in measured(pieces(b"ab"), 3)]


async def test_closing_twice_and_closing_nothing() -> None:
    stream = pieces(b"a")
    await close_stream(stream)
    await close_stream(stream)
    await close_stream(b"a")
    await close_stream(None)
