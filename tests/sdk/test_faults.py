"""A server that fails in every way that there is: the right class, in time, and nothing left behind."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import quaymaster
from quaymaster import APIConnectionError, APIError, APIResponseValidationError, APITimeoutError, InternalServerError
from tests.fakes.scripted import Peer, Script, ScriptedUpstream, accepts_only, answers_once, head, reply
from tests.sdk.ways import calling

pytestmark = pytest.mark.usefixtures("nothing_left")

ID = "cntr_" + "ab" * 24
FILE = "cfile_" + "cd" * 16
SILENCE_SECONDS = 0.1
"""How long a server may be silent in these tests."""
SOON_SECONDS = 2.5
"""By when an error must be there; all but a fraction of it is for a busy machine."""
CHUNKED = (b"transfer-encoding", b"chunked")
GZIPPED = (b"content-encoding", b"gzip")


async def silent(peer: Peer) -> None:
    await peer.request()
    await peer.gone()


async def stops_in_the_head(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\ncontent-le")
    await peer.gone()


async def stops_in_the_body(peer: Peer) -> None:
    await peer.request()
    await peer.send(head(200, length=10) + b"he")
    await peer.gone()


async def resets(peer: Peer) -> None:
    await peer.request()
    peer.reset()


async def resets_in_the_body(peer: Peer) -> None:
    await peer.request()
    await peer.send(head(200, length=10) + b"he")
    peer.reset()


async def closes_at_once(peer: Peer) -> None:
    await peer.request()


async def refuses_and_stops(peer: Peer) -> None:
    await peer.request()
    await peer.send(head(500, length=1000) + b'{"error": {')
    await peer.gone()


FAULTS: list[Any] = [
    pytest.param(silent, APITimeoutError, id="silence"),
    pytest.param(accepts_only, APITimeoutError, id="nothing is read"),
    pytest.param(stops_in_the_head, APITimeoutError, id="half a head"),
    pytest.param(stops_in_the_body, APITimeoutError, id="half a body"),
    pytest.param(resets, APIConnectionError, id="reset"),
    pytest.param(resets_in_the_body, APIConnectionError, id="reset in the body"),
    pytest.param(closes_at_once, APIConnectionError, id="no answer"),
    pytest.param(answers_once(head(200, length=10) + b"he"), APIConnectionError, id="too short"),
    pytest.param(answers_once(b"HTTP/1.1 200 OK\r\ncontent-"), APIConnectionError, id="a cut head"),
    pytest.param(answers_once(head(200, CHUNKED) + b"3\r\nhel\r\n"), APIConnectionError, id="no last chunk"),
    pytest.param(answers_once(head(200, CHUNKED) + b"zz\r\nhel\r\n0\r\n\r\n"), APIConnectionError, id="a bad chunk"),
    pytest.param(answers_once(b"SSH-2.0-OpenSSH_9.2\r\n"), APIConnectionError, id="not HTTP"),
    pytest.param(answers_once(head(200, (b"content-length", b"five"))), APIConnectionError, id="a length that is none"),
    pytest.param(
        answers_once(head(200, (b"content-length", b"5"), (b"content-length", b"6")) + b"hello!"),
        APIConnectionError,
        id="two lengths",
    ),
    pytest.param(answers_once(head(200, (b"x", b"y" * 200_000), length=0)), APIConnectionError, id="a huge head"),
    pytest.param(answers_once(reply(200, b"not gzip", GZIPPED)), APIResponseValidationError, id="not gzip"),
    pytest.param(refuses_and_stops, InternalServerError, id="a refusal that stops"),
]


@pytest.mark.parametrize(("script", "kind"), FAULTS)
async def test_a_fault_is_an_error_in_time(driver: str, script: Script, kind: type[APIError]) -> None:
    async with (
        ScriptedUpstream(script) as upstream,
        calling(driver, api_base=upstream.origin, api_key="sk-key", max_retries=0, timeout=SILENCE_SECONDS) as call,
    ):
        for name, *ids in (("retrieve_container", ID), ("retrieve_container_file_content", ID, FILE)):
            started = time.monotonic()
            with pytest.raises(APIError) as caught:
                await call(name, *ids)
            assert type(caught.value) is kind
            assert caught.value.message
            assert time.monotonic() - started < SOON_SECONDS
        await asyncio.wait_for(upstream.idle(), SOON_SECONDS)


async def test_the_next_call_is_none_the_worse(driver: str) -> None:
    whole = b'{"id":"c","created_at":1,"name":"x","status":"running"}'
    good = answers_once(reply(200, whole, (b"connection", b"close")))
    scripts: list[Script] = [each.values[0] for each in FAULTS]
    async with (
        ScriptedUpstream(*[script for fault in scripts for script in (fault, good)]) as upstream,
        calling(driver, api_base=upstream.origin, api_key="sk-key", max_retries=0, timeout=SILENCE_SECONDS) as call,
    ):
        for _ in scripts:
            with pytest.raises(APIError):
                await call("retrieve_container", ID)
            assert (await call("retrieve_container", ID)).id == "c"


async def test_nobody_there(driver: str) -> None:
    async with ScriptedUpstream(accepts_only) as upstream:
        origin = upstream.origin
    async with calling(driver, api_base=origin, api_key="sk-key", max_retries=0) as call:
        with pytest.raises(APIConnectionError) as caught:
            await call("create_container", "x")
        assert type(caught.value) is APIConnectionError
        with pytest.raises(APIConnectionError):
            await call("create_container_file", ID, b"content")


async def test_a_name_that_leads_nowhere(driver: str) -> None:
    async with calling(driver, api_base="http://no-such-host.invalid", api_key="sk-key", max_retries=0) as call:
        with pytest.raises(APIConnectionError):
            await call("retrieve_container", ID)


async def test_an_answer_that_does_not_end_is_not_kept(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quaymaster.answers.MAX_JSON_BYTES", 300_000)

    async def endless(peer: Peer) -> None:
        await peer.request()
        await peer.send(head(200, CHUNKED))
        while True:
            await peer.send(b"10000\r\n" + b" " * 0x10000 + b"\r\n")

    async with (
        ScriptedUpstream(endless) as upstream,
        calling(driver, api_base=upstream.origin, api_key="sk-key") as call,
    ):
        with pytest.raises(APIResponseValidationError, match="larger than 300000 bytes"):
            await call("list_containers")
        await asyncio.wait_for(upstream.idle(), SOON_SECONDS)


async def test_a_refusal_that_does_not_end_is_cut_short(driver: str) -> None:
    async def endless(peer: Peer) -> None:
        await peer.request()
        await peer.send(head(404, CHUNKED))
        while True:
            await peer.send(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")

    async with (
        ScriptedUpstream(endless) as upstream,
        calling(driver, api_base=upstream.origin, api_key="sk-key") as call,
    ):
        with pytest.raises(quaymaster.NotFoundError):
            await call("list_containers")
        await asyncio.wait_for(upstream.idle(), SOON_SECONDS)


async def test_a_time_is_more_than_none(driver: str) -> None:
    async with calling(driver, api_key="sk-key") as call:
        for wrong in (0, -1, float("nan")):
            with pytest.raises(quaymaster.InvalidArgumentError, match="timeout"):
                await call("list_containers", timeout=wrong)


@pytest.mark.parametrize("driver", ["async functions", "async client"])
@pytest.mark.parametrize("script", [silent, stops_in_the_head, stops_in_the_body, refuses_and_stops, accepts_only])
async def test_a_cancelled_call_lets_its_connection_go(driver: str, script: Script) -> None:
    reached = asyncio.Event()

    async def watched(peer: Peer) -> None:
        reached.set()
        await script(peer)

    async with (
        ScriptedUpstream(watched) as upstream,
        calling(driver, api_base=upstream.origin, api_key="sk-key") as call,
    ):
        running = asyncio.ensure_future(call("retrieve_container", ID))
        await reached.wait()
        await asyncio.sleep(0.05)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await asyncio.wait_for(upstream.idle(), SOON_SECONDS)


@pytest.mark.parametrize("driver", ["async functions", "async client"])
async def test_a_call_between_two_attempts_can_be_cancelled(driver: str) -> None:
    failing = answers_once(reply(503, b"{}", (b"retry-after", b"60")))
    async with (
        ScriptedUpstream(failing) as upstream,
        calling(driver, api_base=upstream.origin, api_key="sk-key") as call,
    ):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call("retrieve_container", ID), 0.2)
        assert len(upstream.requests) == 1


PROGRAM = """
import asyncio, sys
import quaymaster

there = {"api_base": sys.argv[1], "api_key": "sk-key", "max_retries": 0, "timeout": 0.1}

async def main():
    for _ in range(2):
        try:
            await quaymaster.aretrieve_container("cntr_1", **there)
        except quaymaster.APIError as error:
            print(type(error).__name__)

asyncio.run(main())
asyncio.run(main())
try:
    quaymaster.retrieve_container("cntr_1", **there)
except quaymaster.APIError as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize(
    ("script", "kind"), [FAULTS[3], FAULTS[5], FAULTS[-2], pytest.param(refuses_and_stops, InternalServerError)]
)
async def test_a_program_that_meets_a_fault_ends_quietly(script: Script, kind: type[APIError]) -> None:
    async with ScriptedUpstream(script) as upstream:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-c", PROGRAM, upstream.origin),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PYTHONPATH": str(Path(quaymaster.__file__).parents[1])},
        )
        printed, complaints = await process.communicate()
    assert (printed.decode().split(), complaints.decode()) == ([kind.__name__] * 5, "")
