"""Bytes in, a response out, however they are cut."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.upstream.wire_head import MAX_HEADERS
from app.upstream.wire_response import MAX_HEAD_BYTES, ProtocolBroken, ResponseParser
from tests.fakes.scripted import chunked, head

CHUNKED = (b"transfer-encoding", b"chunked")

names = st.from_regex(rb"x-[a-z0-9!#$%&'*+.^_`|~-]{1,12}", fullmatch=True)
values = st.from_regex(rb"([!-~\x80-\xff]([ \t!-~\x80-\xff]{0,20}[!-~\x80-\xff])?)?", fullmatch=True)
headers = st.lists(st.tuples(names, values), max_size=5)
bodies = st.binary(max_size=300)
informational = st.lists(
    st.builds(lambda status, extra: head(status, *extra), st.sampled_from([100, 102, 103]), headers)
)
pieces = st.lists(st.binary(min_size=1, max_size=40), max_size=8)
cuts = st.lists(st.integers(min_value=0, max_value=2000), max_size=12)


@st.composite
def responses(draw: st.DrawFn) -> tuple[bytes, int, list[tuple[bytes, bytes]], bytes]:
    """A valid response whose end shows, with 1xx before it: (bytes, status, headers, body)."""
    before = b"".join(draw(informational))
    extra = draw(headers)
    kind = draw(st.sampled_from(["length", "chunked", "trailers", "bodiless"]))
    if kind == "bodiless":
        status = draw(st.sampled_from([204, 304]))
        return before + head(status, *extra), status, extra, b""
    status = draw(st.integers(min_value=200, max_value=599).filter(lambda status: status not in (204, 304)))
    if kind == "length":
        body = draw(bodies)
        raw = before + head(status, *extra, length=len(body)) + body
        return raw, status, [*extra, (b"content-length", b"%d" % len(body))], body
    parts = draw(pieces)
    end = b"x-trailer: a\r\n\r\n" if kind == "trailers" else b"\r\n"
    raw = before + head(status, *extra, CHUNKED) + chunked(*parts)[:-2] + end
    return raw, status, [*extra, CHUNKED], b"".join(parts)


def split(raw: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted({cut % (len(raw) + 1) for cut in at}), len(raw)]
    return [raw[start:end] for start, end in pairwise(edges) if start < end]


def parsed(segments: list[bytes], *, head_only: bool = False) -> ResponseParser:
    parser = ResponseParser(head_only=head_only)
    for segment in segments:
        parser.feed(segment)
    return parser


def body_of(parser: ResponseParser) -> bytes:
    body = b""
    while parser.pieces:
        body += parser.take()
    assert parser.unread_bytes == 0
    return body


@given(responses(), cuts)
def test_any_cuts_give_the_same_response(
    response: tuple[bytes, int, list[tuple[bytes, bytes]], bytes], at: list[int]
) -> None:
    raw, status, expected, body = response
    parser = parsed(split(raw, at))
    assert (parser.status, parser.headers, parser.complete, parser.keep_alive) == (status, expected, True, True)
    assert body_of(parser) == body
    assert parser.end()


@given(responses(), st.integers(min_value=1, max_value=2000), cuts)
def test_a_truncated_response_is_never_complete(
    response: tuple[bytes, int, list[tuple[bytes, bytes]], bytes], missing: int, at: list[int]
) -> None:
    raw = response[0][: -(missing % len(response[0]) or 1)]
    parser = parsed(split(raw, at))
    assert not parser.complete
    assert not parser.end()


@given(responses(), st.binary(min_size=1, max_size=20), cuts)
@example((head(200, CHUNKED) + chunked(b"x"), 200, [], b"x"), b"\r", [])
@example((head(200, CHUNKED) + chunked(b"x"), 200, [], b"x"), b"\n", [])
@example((head(200, CHUNKED) + chunked(), 200, [], b""), b"\r\n\r\n", [])
def test_whatever_follows_in_the_same_segment_is_noticed(
    response: tuple[bytes, int, list[tuple[bytes, bytes]], bytes], excess: bytes, at: list[int]
) -> None:
    raw = response[0]
    *before, last = split(raw, [cut for cut in at if cut % (len(raw) + 1) < len(raw)])
    parser = parsed(before)
    with pytest.raises(ProtocolBroken):
        parser.feed(last + excess)


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=20), st.sampled_from([b"", head(200, CHUNKED)]))
def test_nonsense_is_refused_and_nothing_worse(segments: list[bytes], before: bytes) -> None:
    parser = ResponseParser(head_only=False)
    with suppress(ProtocolBroken):
        for segment in [before, *segments] if before else segments:
            if parser.complete:
                break
            parser.feed(segment)
    assert parser.unread_bytes == sum(map(len, parser.pieces))


def test_the_end_of_the_connection_ends_a_body_without_framing() -> None:
    parser = parsed([head(200), b"hel", b"lo"])
    assert not parser.complete
    assert parser.end()
    assert body_of(parser) == b"hello"
    assert not parser.keep_alive


def test_a_head_alone_is_the_answer_to_head_and_ends_the_connection() -> None:
    parser = parsed([head(200, length=5)], head_only=True)
    assert parser.complete
    assert not parser.keep_alive


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        (head(200, length=0), True),
        (head(200, (b"Connection", b"close"), length=0), False),
        (head(200, (b"Connection", b"x, Close"), length=0), False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n", True),
        (head(204), True),
        (head(204, (b"connection", b"close")), False),
        (head(200, (b"connection", b"upgrade"), (b"upgrade", b"h2c"), length=0), True),
    ],
)
def test_whether_the_connection_stays(raw: bytes, kept: bool) -> None:
    parser = parsed([raw])
    assert parser.complete
    assert parser.keep_alive is kept


def test_as_many_headers_as_allowed() -> None:
    assert len(parsed([head(200, *[(b"x", b"")] * (MAX_HEADERS - 1), length=0)]).headers) == MAX_HEADERS


@pytest.mark.parametrize("cut", [1, 1000, MAX_HEAD_BYTES])
def test_the_largest_head_is_read_and_one_byte_more_is_not(cut: int) -> None:
    frame = len(head(200, (b"x", b""), length=0))
    for size, fits in ((MAX_HEAD_BYTES, True), (MAX_HEAD_BYTES + 1, False)):
        raw = head(200, (b"x", b"y" * (size - frame)), length=0)
        assert len(raw) == size
        if fits:
            assert parsed([raw[:cut], raw[cut:]]).complete
        else:
            with pytest.raises(ProtocolBroken, match="larger than"):
                parsed([raw[:cut], raw[cut:]])


def test_a_large_body_does_not_count_as_head() -> None:
    body = b"x" * (2 * MAX_HEAD_BYTES)
    assert parsed([head(100) + head(200, length=len(body)) + body]).complete


def test_bodies_are_not_copied() -> None:
    segment = b"x" * 100_000
    parser = parsed([head(200, length=200_000), segment])
    assert parser.unread_bytes == 100_000
    assert parser.take() is segment


def test_trailers_are_not_headers() -> None:
    parser = parsed([head(200, CHUNKED) + b"0\r\nx: y\r\n\r\n"])
    assert parser.headers == [CHUNKED]
