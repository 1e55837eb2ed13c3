"""The two clients, and the pools behind them: one per process, one per event loop, and none left open."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

import quaymaster
from quaymaster import AsyncQuaymaster, Quaymaster, QuaymasterError
from tests.fakes.scripted import ScriptedUpstream, answers, reply
from tests.local.hosting import hosted
from tests.sdk.ways import calling

pytestmark = pytest.mark.usefixtures("nothing_left")

GOOD = answers(reply(200, b'{"id":"c","created_at":1,"name":"x","status":"running"}'))
KEY = "sk-a-secret-key"


async def test_calls_share_a_connection(way: str) -> None:
    async with (
        ScriptedUpstream(GOOD) as upstream,
        calling(way, api_base=upstream.origin, api_key=KEY) as call,
    ):
        for _ in range(5):
            await call("retrieve_container", "c")
        assert (len(upstream.requests), upstream.connections) == (5, 1)


async def test_a_client_closes_its_connections_at_the_end() -> None:
    async with ScriptedUpstream(GOOD) as upstream:
        async with AsyncQuaymaster(api_base=upstream.origin, api_key=KEY) as client:
            await client.containers.retrieve("c")
        await asyncio.wait_for(upstream.idle(), 2)
        with Quaymaster(api_base=upstream.origin, api_key=KEY) as blocking:
            await asyncio.to_thread(blocking.containers.retrieve, "c")
        await asyncio.wait_for(upstream.idle(), 2)


async def test_a_client_is_of_no_use_once_closed() -> None:
    client, blocking = AsyncQuaymaster(api_key=KEY), Quaymaster(api_key=KEY)
    for _ in range(2):
        await client.close()
        blocking.close()
    with pytest.raises(QuaymasterError, match="closed"):
        await client.containers.retrieve("c")
    with pytest.raises(QuaymasterError, match="closed"):
        blocking.containers.retrieve("c")


def test_a_client_that_is_forgotten_closes_itself(tmp_path: Path) -> None:
    with hosted(tmp_path) as provider:
        client = Quaymaster(api_base=provider.url, api_key=KEY)
        client.containers.create(name="x")
        pool = client._transport._pools[os.getpid()]
        del client
        assert pool.is_closed


async def test_a_pool_of_ones_own_is_used_and_stays_open() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"id": "c", "created_at": 1, "name": "x", "status": "running"})

    mine = httpx.Client(transport=httpx.MockTransport(answer), headers={"x-mine": "1"}, auth=("user", "password"))
    with mine, Quaymaster(api_key=KEY, http_client=mine) as client:
        client.containers.retrieve("c")
        client.close()
        assert not mine.is_closed
    mine_async = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    async with mine_async:
        async with AsyncQuaymaster(api_key=KEY, http_client=mine_async) as client_async:
            await client_async.containers.retrieve("c")
        assert not mine_async.is_closed
    assert [request.headers["authorization"] for request in seen] == [f"Bearer {KEY}"] * 2


def test_a_client_says_where_it_sends_and_not_its_key(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("QUAYMASTER_API_BASE", "http://gateway:4000/v1/")
    environment.setenv("QUAYMASTER_API_KEY", KEY)
    for client in (Quaymaster(), AsyncQuaymaster()):
        assert client.base_url == "http://gateway:4000/v1"
        assert repr(client) == f"{type(client).__name__}('http://gateway:4000/v1')"
        assert KEY not in repr(vars(client))


async def test_a_client_adds_what_it_was_told_to_every_request() -> None:
    async with (
        ScriptedUpstream(GOOD) as upstream,
        AsyncQuaymaster(
            api_base=upstream.origin, api_key=KEY, default_headers={"X-Team": "a"}, default_query={"team": "a"}
        ) as client,
    ):
        await client.containers.retrieve("c")
        await client.containers.retrieve("c", extra_headers={"x-team": "b"}, extra_query={"team": "b"})
    assert [(each.header(b"x-team"), each.target) for each in upstream.requests] == [
        (b"a", b"/containers/c?team=a"),
        (b"b", b"/containers/c?team=b"),
    ]


def test_one_event_loop_after_another(tmp_path: Path) -> None:
    with hosted(tmp_path) as provider:
        there: dict[str, Any] = {"api_base": provider.url, "api_key": KEY}
        client = AsyncQuaymaster(**there)

        async def life() -> None:
            made = await client.containers.create(name="x")
            assert (await quaymaster.aretrieve_container(made.id, **there)).id == made.id
            await asyncio.gather(*[quaymaster.alist_containers(**there) for _ in range(20)])

        for _ in range(3):
            asyncio.run(life())
        asyncio.run(client.aclose())


def test_event_loops_side_by_side(tmp_path: Path) -> None:
    with hosted(tmp_path) as provider:
        there: dict[str, Any] = {"api_base": provider.url, "api_key": KEY}
        ready, failures = threading.Barrier(4), []

        async def life() -> None:
            for _ in range(5):
                await quaymaster.alist_containers(**there)
                ready.wait(10)

        def run() -> None:
            try:
                asyncio.run(life())
            except BaseException as error:
                failures.append(error)
                raise

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures


def test_threads_share_a_client(tmp_path: Path) -> None:
    with hosted(tmp_path) as provider, Quaymaster(api_base=provider.url, api_key=KEY) as client:
        made: list[str] = []
        threads = [
            threading.Thread(target=lambda: made.append(client.containers.create(name="x").id)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(made)) == 8
        assert len(client._transport._pools) == 1


FORKING = """
import os, sys
import quaymaster

there = {"api_base": sys.argv[1], "api_key": "sk-key"}
made = quaymaster.create_container("x", **there).id
child = os.fork()
for _ in range(20):
    assert quaymaster.retrieve_container(made, **there).id == made
if child:
    assert os.waitpid(child, 0)[1] == 0
    print("both")
"""


def test_a_forked_child_has_connections_of_its_own(tmp_path: Path) -> None:
    with hosted(tmp_path) as provider:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-X", "dev", "-c", FORKING, provider.url],
            env={"PYTHONPATH": str(Path(quaymaster.__file__).parents[1])},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert (done.stdout, done.stderr, done.returncode) == ("both\n", "", 0)


async def test_many_calls_at_once() -> None:
    async with (
        ScriptedUpstream(GOOD) as upstream,
        AsyncQuaymaster(api_base=upstream.origin, api_key=KEY) as client,
    ):
        await asyncio.gather(*[client.containers.retrieve("c") for _ in range(100)])
        assert len(upstream.requests) == 100


def test_the_blocking_functions_work_inside_a_running_loop_too(tmp_path: Path) -> None:
    """As in a notebook: they block it, and nothing worse."""

    async def cell(url: str) -> str:
        return quaymaster.create_container("x", api_base=url, api_key=KEY).name

    with hosted(tmp_path) as provider:
        assert asyncio.run(cell(provider.url)) == "x"
