"""An upstream's answer becomes the client's, and its connection is let go of as soon as nobody reads it any more."""

from __future__ import annotations

import asyncio

import pytest

from app.domain.errors import FaultKind, UpstreamFault
from app.domain.ports import RawHeaders, UpstreamReply
from app.gateway.relay import MAX_WHOLE_BYTES, relay, relay_at_hand
from quaymaster.operations import CONTAINERS_LIST, CONTAINERS_RETRIEVE, FILES_CONTENT, FILES_CREATE, Operation
from tests.exchanges import answered_exchange


class Answer(UpstreamReply):
    """An upstream's answer in pieces; an error among them is raised in its place. It has to be read."""

    def __init__(self, *pieces: bytes | BaseException, status: int = 200) -> None:
        self.status = status
        self.headers: RawHeaders = [(b"content-type", b"application/json")]
        self.pieces = list(pieces)
        self.closed = False

    async def read(self) -> bytes:
        assert not self.closed
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, BaseException):
            raise piece
        return piece

    def at_hand(self) -> bytes | None:
        return None

    async def aclose(self) -> None:
        self.closed = True


class AnswerAtHand(Answer):
    """One whose body is all here."""

    def at_hand(self) -> bytes | None:
        assert not self.closed
        self.closed = True
        return b"".join(piece for piece in self.pieces if isinstance(piece, bytes))


@pytest.mark.parametrize("status", [200, 204, 404, 500])
@pytest.mark.parametrize("operation", [CONTAINERS_RETRIEVE, FILES_CREATE, CONTAINERS_LIST])
async def test_what_is_at_hand_makes_the_reply_that_reading_it_makes(operation: Operation, status: int) -> None:
    expires_after = b'{"anchor":"last_active_at","minutes":2}'
    body = b'{"data":[],"id":"x_1","path":"a/b","last_active_at":1,"expires_after":%b}' % expires_after
    headers = [(b"content-type", b"application/json"), (b"x-request-id", b"req_1"), (b"date", b"now")]
    at_hand, in_pieces = AnswerAtHand(body, status=status), Answer(body[:9], body[9:], status=status)
    at_hand.headers = in_pieces.headers = headers
    asked, read = answered_exchange(), answered_exchange()
    reply = relay_at_hand(asked, operation, at_hand)
    other = await relay(read, operation, in_pieces)
    assert reply is not None
    assert (reply.status, reply.headers, reply.whole) == (other.status, other.headers, other.whole)
    for name in ("container_id", "file_id", "response_json", "response_object", "upstream_request_id"):
        assert getattr(asked, name) == getattr(read, name)
    await reply.aclose()


@pytest.mark.parametrize(("status", "at_once"), [(200, False), (404, True)])
async def test_a_file_is_passed_on_piece_by_piece_also_where_it_is_at_hand(status: int, at_once: bool) -> None:
    answer = AnswerAtHand(b"{}", status=status)
    assert (relay_at_hand(answered_exchange(), FILES_CONTENT, answer) is not None) is at_once
    assert answer.closed is at_once


async def test_what_has_to_be_read_is_not_at_hand() -> None:
    answer = Answer(b'{"id":', b'"cntr_1"}')
    assert relay_at_hand(answered_exchange(), CONTAINERS_RETRIEVE, answer) is None
    assert not answer.closed


async def test_a_whole_body_holds_no_upstream_any_more() -> None:
    answer = Answer(b'{"id":', b'"cntr_1"}')
    reply = await relay(answered_exchange(), CONTAINERS_RETRIEVE, answer)
    assert reply.whole == b'{"id":"cntr_1"}'
    assert answer.closed


async def test_a_refused_file_is_whole_too() -> None:
    answer = Answer(b"{}", status=404)
    reply = await relay(answered_exchange(), FILES_CONTENT, answer)
    assert reply.whole == b"{}"
    assert answer.closed


@pytest.mark.parametrize(
    "broken", [UpstreamFault(FaultKind.PROTOCOL, "it broke off", request_sent=True), asyncio.CancelledError()]
)
async def test_what_breaks_off_is_let_go_of(broken: BaseException) -> None:
    answer = Answer(b'{"id":', broken)
    with pytest.raises(type(broken)):
        await relay(answered_exchange(), CONTAINERS_RETRIEVE, answer)
    assert answer.closed


@pytest.mark.parametrize(
    ("operation", "pieces"),
    [(FILES_CONTENT, [b"abc", b"def"]), (CONTAINERS_RETRIEVE, [bytes(MAX_WHOLE_BYTES), b"x", b"y"])],
    ids=["file", "too-large"],
)
async def test_what_streams_is_held_until_it_is_closed(operation: Operation, pieces: list[bytes]) -> None:
    answer = Answer(*pieces)
    reply = await relay(answered_exchange(), operation, answer)
    assert reply.whole is None
    read = b""
    while piece := await reply.read():
        read += piece
    assert read == b"".join(pieces)
    assert not answer.closed
    await reply.aclose()
    assert answer.closed
