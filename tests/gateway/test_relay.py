"""An upstream's answer becomes the client's, and its connection is let go of as soon as nobody reads it any more."""

from __future__ import annotations

import asyncio

import pytest

from app.domain.errors import FaultKind, UpstreamFault
from app.domain.ports import RawHeaders, UpstreamReply
from app.gateway.relay import MAX_WHOLE_BYTES, relay
from quaymaster.operations import CONTAINERS_RETRIEVE, FILES_CONTENT, Operation
from tests.exchanges import answered_exchange


class Answer(UpstreamReply):
    """An upstream's answer in pieces; an error among them is raised in its place."""

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

    async def aclose(self) -> None:
        self.closed = True


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
