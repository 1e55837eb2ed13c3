"""Plain heads: where they are read without llhttp, they are read as llhttp reads them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.upstream.wire_head import MAX_HEADERS, read_plain_head
from app.upstream.wire_response import MAX_HEAD_BYTES, ProtocolBroken, ResponseParser
from tests.fakes.scripted import head, reply

NGINX = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sat, 21 Nov 2026 18:00:00 GMT\r\n"
    b"Content-Type: application/json\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n{}"
)

LINES = [
    *[b"Server: nginx", b"X-Id: a  b", b"set-cookie: a", b"connection: Keep-Alive", b"Date: a, b:c"],
    *[b"Connection: close", b"connection: keep-alive, close", b"Upgrade: h2c", b"proxy-connection: close"],
    *[b"Content-Length: 5", b"content-length: 05", b"content-length: +5", b"content-length: 5,5", b"content-length:"],
    *[b"Transfer-Encoding: chunked", b"transfer-encoding: gzip", b"connection: upgrade", b"connection: a"],
    *[b"x: a ", b"x:  a", b"x : a", b"x:a", b"x:", b"x: ", b" x: a", b"x", b": a", b"", b"a b: c"],
    *[b"x: a\0", b"x: a\rb", b"x: a\nb", b"x: a\tb", b"x: \x7f", b"x: \xc3\xa9", b"\xe9: a", b"x\0: a"],
]
STARTS = [
    *[b"HTTP/1.1 200 OK", b"HTTP/1.1 200 ", b"HTTP/1.1 404 Not Found"],
    *[b"HTTP/1.1 200", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 a", b"HTTP/1.1 100 a", b"HTTP/1.1 2000 a", b"HTTP/1.1 20 a"],
    *[b"HTTP/1.1 200 a\0", b"HTTP/1.1 200 a\rb", b"HTTP/1.1 200 a\nx: b", b"HTTP/1.1  200 a", b"HTTP/1.12 200 a"],
    *[b"HTTP/1.1 200 \x7f", b"HTTP/1.1 200 a\tb", b"HTTP/1.1 200 \xc3\xa9", b"HTTP/1.1 600 a", b"http/1.1 200 a"],
]
LINE_ENDS = [b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r\n", b"\r\n ", b""]
PAIRS = [
    *[start + b"\r\n" + line + b"\r\n" for start in STARTS for line in LINES],
    *[STARTS[0] + start_end + line + line_end for start_end in LINE_ENDS for line in LINES for line_end in LINE_ENDS],
]
"""A start and one line, of which mostly one is not plain."""


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """Heads that are plain, nearly plain or wrong."""
    some = [*draw(st.lists(st.sampled_from(LINES[:5]) | st.sampled_from(LINES), max_size=3)), b"Content-Length: 5"]
    parts = [draw(st.sampled_from(STARTS[:3]) | st.sampled_from(STARTS)), *draw(st.permutations(some))]
    return b"\r\n".join(parts) + b"\r\n\r\n"


def by_llhttp(raw: bytes) -> ResponseParser:
    parser = ResponseParser(head_only=False)
    parser._take_head(raw)
    return parser


def compare(raw: bytes) -> None:
    """A plain head is what llhttp makes of it."""
    plain = read_plain_head(raw, MAX_HEAD_BYTES)
    if plain is None:
        return
    status, headers, content_length, size = plain
    parser = by_llhttp(raw[:size])
    assert (parser.status, parser.headers, parser._remaining) == (status, headers, content_length)
    assert parser.keep_alive
    assert parser._chunks is None


@pytest.mark.parametrize("length", [b"", b"Content-Length: 5\r\n"])
def test_nothing_is_plain_that_llhttp_reads_otherwise(length: bytes) -> None:
    for pair in PAIRS:
        compare(pair + length + b"\r\n")


@given(heads())
@example(NGINX)
@example(b"HTTP/1.1 200 OK\r\nset-cookie: a\r\nset-cookie: b\r\ncontent-length: 5\r\n\r\n")
@example(b"HTTP/1.1 200 OK\r\nconnection: keep-alive\r\nConnection: Keep-Alive\r\ncontent-length: 00005\r\n\r\n")
@example(b"HTTP/1.1 200 OK\r\nx: a  b\r\ncontent-length: 123456789012345678\r\n\r\n")
def test_nor_is_any_combination(raw: bytes) -> None:
    compare(raw)


@given(heads() | st.sampled_from([pair + b"Content-Length: 5\r\n\r\n" for pair in PAIRS]), st.binary(max_size=7))
def test_the_verdict_is_the_same_with_and_without(raw: bytes, body: bytes) -> None:
    def verdict(parser: ResponseParser, *segments: bytes) -> object:
        try:
            for segment in segments:
                parser.feed(segment)
        except ProtocolBroken:
            return "broken"
        if not parser.status:
            return "unfinished"
        return parser.status, parser.headers, parser.complete, parser.keep_alive, list(parser.pieces)

    in_one, in_two = ResponseParser(head_only=False), ResponseParser(head_only=False)
    whole = verdict(in_one, raw)
    assert whole == verdict(in_two, raw[:1], raw[1:])  # a head in two segments is left to llhttp
    if whole not in ("broken", "unfinished") and not in_one.complete and body:
        assert verdict(in_one, body) == verdict(in_two, body)


def test_what_nginx_answers_is_plain() -> None:
    plain = read_plain_head(NGINX, MAX_HEAD_BYTES)
    assert plain is not None
    assert plain[0] == 200
    assert plain[1][3:] == [(b"content-length", b"2"), (b"connection", b"keep-alive")]
    assert NGINX[plain[3] :] == b"{}"


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        head(200),
        head(204, length=0),
        head(100),
        head(200, (b"connection", b"close"), length=0),
        head(200, (b"upgrade", b"h2c"), length=0),
        head(200, (b"transfer-encoding", b"chunked"), length=0),
        head(200, (b"content-length", b"0"), length=0),
        head(200, (b"content-length", b"1" * 19)),
        head(200, (b"x", b""), length=0),
        head(200, (b"x", b"a "), length=0),
        head(200, (b"x", b"\xc3\xa9"), length=0),
        head(200, (b"x", b"y" * 600), length=0),
        head(200, *[(b"x", b"y")] * MAX_HEADERS, length=0),
        reply(200, b"")[:-1],
    ],
)
def test_all_else_is_left_to_llhttp(raw: bytes) -> None:
    assert read_plain_head(raw, MAX_HEAD_BYTES) is None


def test_a_head_larger_than_allowed_is_not_plain() -> None:
    assert read_plain_head(NGINX, len(NGINX) - 2) is not None
    assert read_plain_head(NGINX, len(NGINX) - 3) is None
