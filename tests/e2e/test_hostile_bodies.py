"""Clients that mean harm with what they send after the head, or with what they do not send.

See `test_hostile.py` for the rules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import psutil
import pytest

from app.api import protocol
from tests.e2e.gateway import RunningGateway
from tests.e2e.hostility import (
    CONTAINERS,
    FILES,
    MIB,
    create,
    harmless,
    in_chunks,
    unharmed_gateway,
    upload,
    wait_until,
    with_body,
)
from tests.e2e.raw import RawConnection, ask, head, raw_connection
from tests.e2e.serving import serving_gateway


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with unharmed_gateway(tmp_path_factory.mktemp("hostile")) as gateway:
        yield gateway


# Bodies made to be large once they are read.

EMPTY_FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n\r\n'
BOMBS = {
    "brackets": (create(b"[" + b"{}," * (30 * MIB - 1) + b"{}]"), 413, "request_too_large"),
    "brackets in a field": (create(b'{"name":[' + b"[]," * (30 * MIB - 4) + b"[]]}"), 413, "request_too_large"),
    "a great many names": (create(b"{" + b'"a":1,' * (15 * MIB - 1) + b'"a":1}'), 413, "request_too_large"),
    "blanks": (create(b" " * (90 * MIB)), 413, "request_too_large"),
    "a megabyte of brackets": (create(b"[" + b"[[]]," * (MIB // 5 - 20_000) + b"[]]"), 400, "invalid_type"),
    "a string of quotes": (create(b'{"name":"' + b'\\"' * (45 * MIB - 5) + b'"}'), 400, "string_above_max_length"),
    "a string of backslashes": (create(b'{"name":"' + b"\\" * (90 * MIB - 12) + b'"}'), 400, "string_above_max_length"),
    "brackets that nobody asked for": (
        with_body("GET", CONTAINERS, b"[" + b"{}," * (30 * MIB - 1) + b"{}]"),
        200,
        None,
    ),
    "a preamble": (upload(b"x" * (50 * MIB) + EMPTY_FILE + b"--b--\r\n"), 400, "invalid_multipart"),
    "a preamble of near boundaries": (upload(b"\r\n--" * (12 * MIB)), 400, "invalid_multipart"),
    "a part without an end": (upload(EMPTY_FILE), 400, "invalid_multipart"),
    "no part at all": (upload(b"nothing"), 400, "invalid_multipart"),
    "100,000 files": (upload(EMPTY_FILE * 100_000 + b"--b--\r\n"), 400, "invalid_multipart"),
    "100,000 providers": (
        upload(b'--b\r\nContent-Disposition: form-data; name="custom_llm_provider"\r\n\r\nlocal\r\n' * 100_000),
        400,
        "invalid_multipart",
    ),
    "a part of nothing but headers": (upload(b"--b\r\nX: " + b"a" * (50 * MIB)), 400, "invalid_multipart"),
    "a provider of 50 MB": (
        upload(b'--b\r\nContent-Disposition: form-data; name="custom_llm_provider"\r\n\r\n' + b"a" * (50 * MIB)),
        400,
        "invalid_multipart",
    ),
    "a boundary of 60,000 bytes": (
        with_body("POST", FILES, b"x", b"Content-Type: multipart/form-data; boundary=" + b"b" * 60_000),
        400,
        "invalid_multipart",
    ),
    "a content type of 60,000 bytes": (
        with_body("POST", FILES, b"x", b"Content-Type: multipart/form-data" + b"; a=b" * 12_000),
        400,
        "invalid_multipart",
    ),
}


@pytest.mark.parametrize(("request_bytes", "status", "code"), BOMBS.values(), ids=BOMBS)
async def test_no_body_takes_more_memory_than_its_size_allows(
    gateway: RunningGateway, request_bytes: bytes, status: int, code: str | None
) -> None:
    """90 MiB of JSON are held twice while they are joined, and twice more by the embedded provider behind."""
    async with harmless(gateway, 400):
        answer = await ask(gateway.port, request_bytes)
    assert answer is not None
    assert answer.status == status, answer
    assert answer.status == 200 or answer.error_code == code


async def test_a_large_body_is_let_go_of_when_its_request_is_over(gateway: RunningGateway) -> None:
    process = psutil.Process(gateway.process.pid)
    body = create(b'{"name":"' + b"a" * (64 * MIB) + b'"}')
    async with raw_connection(gateway.port) as connection:  # which stays open
        for _ in range(4):
            await connection.send(body)
            assert (await connection.answer()).status == 400
        wait_until(lambda: process.memory_info().rss < 200 * MIB)


# Lies about length.

HALVES = {
    "of a create": head("POST", CONTAINERS, b"Content-Length: 100") + b'{"name":"x"}',
    "of a large create": head("POST", CONTAINERS, b"Content-Length: %d" % (20 * MIB)) + b"x" * MIB,
    "of an upload": head("POST", FILES, b"Content-Length: 1000000", b"Content-Type: multipart/form-data; boundary=b")
    + EMPTY_FILE,
    "of a chunk": in_chunks(b'fff\r\n{"name":"x"}'),
    "of some chunks": in_chunks(b'c\r\n{"name":"x"}\r\n'),
    "of a chunk of many petabytes": in_chunks(b"fffffffffffffff\r\n{}"),
    "of a GET": head("GET", CONTAINERS, b"Content-Length: 100") + b"{}",
    "of a head": b"GET /v1/containers HTTP/1.1\r\nHost: x",
}


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
@pytest.mark.parametrize("leaving", ["closes", "resets"])
async def test_half_a_request_is_none(gateway: RunningGateway, half: bytes, leaving: str) -> None:
    before = gateway.client.get(CONTAINERS).json()
    async with harmless(gateway, 48), raw_connection(gateway.port) as connection:
        await connection.send(half)
        connection.leave() if leaving == "closes" else connection.reset()
    assert gateway.client.get(CONTAINERS).json() == before


async def test_what_follows_a_body_is_another_request(gateway: RunningGateway) -> None:
    body = b'{"name":"x"}'
    too_much = create(body) + b'{"name":"y"}'
    async with harmless(gateway, 16), raw_connection(gateway.port) as connection:
        await connection.send(too_much)
        made = await connection.answer()
        assert (made.status, made.json()["name"]) == (200, "x")
        assert made.headers["connection"] == "close"
        assert await connection.closed() == b""


# Requests sent ahead.


async def test_requests_sent_ahead_are_answered_in_their_order(gateway: RunningGateway) -> None:
    async with harmless(gateway, 16), raw_connection(gateway.port) as connection:
        ahead = [head("GET", f"/v1/containers/{number}") for number in range(20)]
        await connection.send(b"".join((*ahead, create(b'{"name":"last"}'))))
        for number in range(20):
            assert f"'{number}'" in (await connection.answer()).json()["error"]["message"]
        assert (await connection.answer()).json()["name"] == "last"


async def test_nobody_sends_more_ahead_than_is_held(gateway: RunningGateway) -> None:
    async with harmless(gateway, 32), raw_connection(gateway.port) as connection:
        with suppress(ConnectionError):
            await connection.send(b"GET /v1/containers HTTP/1.1\r\n\r\n" * 500_000)
        answers_read = (await connection.closed()).count(b"HTTP/1.1 401")
        assert answers_read <= protocol.MAX_AHEAD


async def test_what_came_before_a_broken_request_is_answered(gateway: RunningGateway) -> None:
    async with harmless(gateway, 16), raw_connection(gateway.port) as connection:
        await connection.send(head("GET", CONTAINERS) + create(b'{"name":"x"}') + b"\x00\x01\x02\r\n\r\n")
        assert (await connection.answer()).json()["object"] == "list"
        assert (await connection.answer()).json()["name"] == "x"
        assert await connection.closed() == b""


# Clients that take their time.


@pytest.mark.parametrize(
    "begun", [b"", b"\r\n", b"GET /v1/containers HTTP/1.1\r\nX: ", head("GET", CONTAINERS) + b"GET /"], ids=repr
)
async def test_a_head_has_to_arrive_in_time(tmp_path: Path, begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    async with serving_gateway(tmp_path) as gateway, raw_connection(gateway.port) as connection:
        await connection.send(begun)
        if begun.startswith(b"GET /v1/containers HTTP/1.1\r\nHost"):
            assert (await connection.answer()).status == 200
        await asyncio.wait_for(connection.closed(), 2)


async def test_a_byte_now_and_then_makes_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)

    async def drip(connection: RawConnection) -> None:
        while True:
            await connection.send(b"a")
            await asyncio.sleep(0.05)

    async with serving_gateway(tmp_path) as gateway, raw_connection(gateway.port) as connection:
        await connection.send(b"GET /v1/containers HTTP/1.1\r\nX: ")
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(drip(connection), 2)


async def test_five_hundred_of_them_keep_nobody_else_waiting(gateway: RunningGateway) -> None:
    async with harmless(gateway, 32), AsyncExitStack() as stack:
        for _ in range(500):
            connection = await stack.enter_async_context(raw_connection(gateway.port))
            await connection.send(b"GET /v1/containers HTTP/1.1\r\nX: ")
        async with asyncio.timeout(2):
            answer = await ask(gateway.port, head("GET", CONTAINERS))
        assert answer is not None
        assert answer.status == 200
