"""A container for as long as a block lasts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from quaymaster import APIStatusError, Container, InternalServerError, QuaymasterError, container
from tests.fakes.scripted import ScriptedUpstream, answers, reply
from tests.sdk.served import CONTAINER

JSON = (b"content-type", b"application/json")
MADE = reply(200, json.dumps({"id": CONTAINER, "name": "crate", "created_at": 1, "status": "running"}).encode(), JSON)
DELETED = reply(200, json.dumps({"id": CONTAINER, "deleted": True}).encode(), JSON)
GONE = [
    reply(404, json.dumps({"error": {"message": f"Container with id '{CONTAINER}' not found."}}).encode(), JSON),
    reply(404, b'{"error": {"message": "Container has expired."}}', JSON),
    reply(400, b'{"error": {"message": "Container is expired."}}', JSON),
    reply(400, b'{"error": {"message": "Container is not running."}}', JSON),
]
FAILED = reply(500, b'{"error": {"message": "it failed"}}', JSON)
ASKED = [(b"POST", b"/v1/containers"), (b"DELETE", f"/v1/containers/{CONTAINER}".encode())]
BOTH = pytest.mark.parametrize("way", ["blocking", "asynchronous"])

pytestmark = pytest.mark.usefixtures("nothing_left")


class Stop(BaseException):
    """What is no Exception, as KeyboardInterrupt is none."""


async def entered(way: str, upstream: ScriptedUpstream, block: Callable[[Container], object]) -> None:
    """A block in a temporary container."""
    temporary = container("crate", api_base=f"{upstream.origin}/v1", api_key="a-key-of-the-test", max_retries=0)
    if way == "asynchronous":
        async with temporary as made:
            block(made)
        return

    def enter() -> None:
        with temporary as made:
            block(made)

    await asyncio.to_thread(enter)


def asked(upstream: ScriptedUpstream) -> list[tuple[bytes, bytes]]:
    return [(request.method, request.target) for request in upstream.requests]


@BOTH
async def test_it_is_made_and_deleted(way: str) -> None:
    seen: list[Container] = []
    async with ScriptedUpstream(answers(MADE, DELETED)) as upstream:
        await entered(way, upstream, seen.append)
    assert seen[0].id == CONTAINER
    assert asked(upstream) == ASKED
    assert json.loads(upstream.requests[0].body) == {"name": "crate"}


@BOTH
@pytest.mark.parametrize("error", [ZeroDivisionError, Stop])
async def test_it_is_deleted_after_an_error(way: str, error: type[BaseException]) -> None:
    def block(made: Container) -> None:
        raise error

    async with ScriptedUpstream(answers(MADE, DELETED)) as upstream:
        with pytest.raises(error):
            await entered(way, upstream, block)
    assert asked(upstream) == ASKED


async def test_it_is_deleted_after_its_block_is_cancelled() -> None:
    inside = asyncio.Event()

    async def block(origin: str) -> None:
        async with container("crate", api_base=f"{origin}/v1", api_key="a-key-of-the-test"):
            inside.set()
            await asyncio.Event().wait()

    async with ScriptedUpstream(answers(MADE, DELETED)) as upstream:
        task = asyncio.create_task(block(upstream.origin))
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert asked(upstream) == ASKED


@BOTH
@pytest.mark.parametrize("answer", GONE)
async def test_one_that_is_gone_by_then_is_no_error(way: str, answer: bytes) -> None:
    async with ScriptedUpstream(answers(MADE, answer)) as upstream:
        await entered(way, upstream, lambda made: None)
    assert asked(upstream) == ASKED


@BOTH
async def test_one_that_cannot_be_deleted_is_an_error(way: str) -> None:
    async with ScriptedUpstream(answers(MADE, FAILED)) as upstream:
        with pytest.raises(InternalServerError, match="it failed"):
            await entered(way, upstream, lambda made: None)


@BOTH
async def test_it_is_no_more_than_a_note_on_an_error_of_the_block(way: str) -> None:
    def block(made: Container) -> None:
        raise ZeroDivisionError

    async with ScriptedUpstream(answers(MADE, FAILED)) as upstream:
        with pytest.raises(ZeroDivisionError) as raised:
            await entered(way, upstream, block)
    [note] = raised.value.__notes__
    assert CONTAINER in note
    assert "it failed" in note


@BOTH
async def test_one_that_was_not_made_is_not_deleted(way: str) -> None:
    async with ScriptedUpstream(answers(FAILED)) as upstream:
        with pytest.raises(APIStatusError):
            await entered(way, upstream, lambda made: None)
    assert asked(upstream) == ASKED[:1]


async def test_it_is_entered_once() -> None:
    async with ScriptedUpstream(answers(MADE, DELETED)) as upstream:
        options: dict[str, Any] = {"api_base": f"{upstream.origin}/v1", "api_key": "a-key-of-the-test"}
        temporary = container("crate", **options)
        async with temporary:
            with pytest.raises(QuaymasterError, match="once"):
                async with temporary:
                    pass
    assert asked(upstream) == ASKED


async def test_a_misspelt_argument_is_named_at_once() -> None:
    with pytest.raises(TypeError, match="memory_limit"):
        container("crate", memory_limt="1g")  # type: ignore[call-arg]
