"""A request as bytes: whatever is accepted is read back as it was meant."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from httptools import HttpRequestParser
from hypothesis import example, given
from hypothesis import strategies as st

from app.upstream.wire_request import _MAX_CHECKED_NAMES, JOINED_BYTES, _checked_names, check_head, encode_request

HOST = b"example.com"


class Reader:
    """What a server makes of it."""

    def __init__(self) -> None:
        self.requests = 0
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.requests += 1


def read(raw: bytes) -> tuple[bytes, Reader]:
    reader = Reader()
    parser = HttpRequestParser(reader)
    parser.feed_data(raw)
    return parser.get_method(), reader


texts = st.text(alphabet="abGT09 /:\r\n\0\t\x7f-_é%?#", max_size=6).map(lambda text: text.encode("latin-1"))


@given(
    st.sampled_from([b"GET", b"POST", b"DELETE"]) | texts,
    texts.map(lambda text: b"/" + text) | texts,
    st.lists(st.tuples(texts.map(bytes.lower), texts), max_size=3),
    st.none() | st.binary(max_size=10),
)
@example(b"GET", b"/ HTTP/1.1\r\nx: y\r\n\r\nGET /", [], None)
def test_what_is_accepted_is_read_back_as_it_was_meant(
    method: bytes, target: bytes, headers: list[tuple[bytes, bytes]], body: bytes | None
) -> None:
    try:
        raw = encode_request(method, target, headers, body, HOST).head
    except ValueError:
        return
    if method not in (b"GET", b"POST", b"DELETE") or any(b"\x7f" in value for _, value in headers):
        return  # llhttp knows only the registered methods, and no DEL
    seen_method, reader = read(raw)
    own = [(b"host", HOST)], [(b"content-length", b"%d" % len(body or b""))]
    framed = body is not None or method == b"POST"
    sent = [(name, value.strip(b" \t")) for name, value in headers]
    assert (seen_method, reader.target, reader.requests) == (method, target, 1)
    assert [(name, value.strip(b" \t")) for name, value in reader.headers] == own[0] + sent + own[1] * framed
    assert reader.body == (body or b"")


async def one_byte() -> AsyncIterator[bytes]:
    yield b"x"


@given(
    st.sampled_from([b"GET", b"POST"]) | texts,
    texts.map(lambda text: b"/" + text) | texts,
    st.lists(st.tuples(st.sampled_from([b"a", b"b", b"host", b"content-length"]) | texts, texts), max_size=3),
)
@example(b"GET / HTTP/1.1\r\na: b", b"/", [])
@example(b"GET", b"/ HTTP/1.1\r\nx: y", [])
@example(b"GET /", b"/", [])
@example(b"GET", b"/", [(b"a", b"b"), (b"a", b"b\nc")])
@example(b"GET", b"/", [(b"a", b"b\0")])
@example(b"GET", b"/", [(b"", b"")])
@example(b"GET", b"/", [(b"content-length", b"1")])
def test_names_that_are_known_spare_no_check(method: bytes, target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    def complaint(check: Callable[[], object]) -> str | None:
        try:
            check()
        except ValueError as error:
            return str(error)
        return None

    encode_request(b"POST", b"/", [(b"a", b""), (b"b", b""), (b"content-length", b"1")], one_byte(), HOST)
    expected = complaint(lambda: check_head(method, target, headers, None))
    assert complaint(lambda: encode_request(method, target, headers, None, HOST)) == expected


def test_a_host_that_is_none_is_refused_too() -> None:
    with pytest.raises(ValueError, match="as another"):
        encode_request(b"GET", b"/", [], None, b"example.com\r\nx: y")


def test_only_so_many_names_are_remembered() -> None:
    encode_request(b"GET", b"/", [(b"x-%d" % number, b"") for number in range(2 * _MAX_CHECKED_NAMES)], None, HOST)
    assert len(_checked_names) == _MAX_CHECKED_NAMES
    _checked_names.clear()


@pytest.mark.parametrize(("size", "joined"), [(JOINED_BYTES, True), (JOINED_BYTES + 1, False)])
def test_a_small_body_goes_out_with_its_head(size: int, joined: bool) -> None:
    body = b"x" * size
    request = encode_request(b"POST", b"/", [], body, HOST)
    assert request.head.endswith(body) is joined
    assert request.body is body or joined


def test_messages_hold_no_values() -> None:
    secret: Any = b"sk-secret\n"
    for target, headers in ((b"/" + secret, []), (b"/", [(b"authorization", secret)]), (b"/", [(secret, b"")])):
        with pytest.raises(ValueError, match=r"holds|target|token") as caught:
            encode_request(b"GET", target, headers, None, HOST)
        assert "secret" not in str(caught.value)
