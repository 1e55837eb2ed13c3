"""Rates, parallel slots and quotas over real sockets: what clients are told, and what upstreams never hear of."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import openai
import pytest

from tests.e2e.gateway import forwarding_to
from tests.e2e.serving import ServingGateway, serving_gateway
from tests.fakes.scripted import Peer, ScriptedUpstream, head
from tests.services import Server, redis_server

RATE = "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"


class Client:
    """Whoever has a key."""

    def __init__(self, gateway: ServingGateway, key: str) -> None:
        self.gateway = gateway
        self.key = key

    async def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}"} | request.pop("headers", {})
        return await self.gateway.client.request(method, f"/v1/{path}", headers=headers, **request)

    async def make(self, **fields: Any) -> str:
        made = await self.ask("POST", "containers", json={"name": "crate"} | fields)
        assert made.status_code == 200, made.text
        container: str = made.json()["id"]
        return container

    async def upload(self, container: str, content: bytes, **request: Any) -> httpx.Response:
        return await self.ask("POST", f"containers/{container}/files", files={"file": ("f.bin", content)}, **request)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[ServingGateway]:
    async with serving_gateway(tmp_path) as gateway:
        yield gateway


async def client_with(gateway: ServingGateway, **fields: Any) -> Client:
    return Client(gateway, await gateway.make_key(**fields))


async def metric(gateway: ServingGateway, line: str) -> float:
    text = (await gateway.client.get("/metrics")).text
    return next((float(row.rpartition(" ")[2]) for row in text.splitlines() if row.startswith(line)), 0.0)


def refused_for_quota(answer: httpx.Response) -> str:
    """What is said of a quota that has no room."""
    error = answer.json()["error"]
    assert answer.status_code == 429
    assert (error["type"], error["code"]) == ("insufficient_quota", "budget_exceeded")
    assert answer.headers["x-should-retry"] == "false"
    message: str = error["message"]
    return message


async def test_every_answer_of_a_limited_key_says_how_its_rate_stands(gateway: ServingGateway) -> None:
    client = await client_with(gateway, rpm_limit=4, allowed_operations=["containers.list", "containers.retrieve"])
    answers = [
        await client.ask("GET", "containers"),
        await client.ask("GET", "containers/cntr_0123456789abcdef"),
        await client.ask("POST", "containers", json={"name": "x"}),
        await client.ask("GET", "containers?custom_llm_provider=nobody"),
        await client.ask("GET", "containers"),
    ]
    assert [answer.status_code for answer in answers] == [200, 404, 403, 400, 429]
    assert [answer.headers[RATE[0]] for answer in answers] == ["4"] * 5
    assert [answer.headers[RATE[1]] for answer in answers] == ["3", "2", "1", "0", "0"]
    assert all(answer.headers[RATE[2]] in ("1m0s", "59s", "58s") for answer in answers)


async def test_a_refusal_names_whose_limit_and_when_to_come_again(gateway: ServingGateway) -> None:
    team = f"crew-{uuid4().hex}"
    made = await gateway.client.post("/team/new", json={"team_id": team, "rpm_limit": 1})
    assert made.status_code == 200, made.text
    one, other = [await client_with(gateway, team_id=team) for _ in range(2)]
    assert (await one.ask("GET", "containers")).status_code == 200
    refused = await other.ask("GET", "containers")
    error = refused.json()["error"]
    assert (refused.status_code, error["type"], error["code"]) == (429, "rate_limit_error", "rate_limit_exceeded")
    assert f"team:{team} has reached its limit of 1 requests a minute" in error["message"]
    seconds = int(refused.headers["retry-after"])
    assert 57 <= seconds <= 60
    assert seconds - 1 <= int(refused.headers["retry-after-ms"]) / 1000 <= seconds
    assert "x-should-retry" not in refused.headers
    assert await metric(gateway, 'quaymaster_limit_refusals_total{account="team",limit="requests",shadow="false"}') == 1


async def test_keys_without_limits_hear_of_none(gateway: ServingGateway) -> None:
    client = await client_with(gateway)
    for asking in (client.ask("GET", "containers"), gateway.client.get("/v1/containers")):
        answer = await asking
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


async def test_a_key_that_may_ask_nothing_is_not_told_to_come_again(gateway: ServingGateway) -> None:
    client = await client_with(gateway, rpm_limit=0)
    refused = await client.ask("GET", "containers")
    assert (refused.status_code, refused.headers["x-should-retry"]) == (429, "false")


async def test_the_sdk_sees_a_rate_limit_error(gateway: ServingGateway) -> None:
    key = await gateway.make_key(rpm_limit=1)
    async with openai.AsyncOpenAI(api_key=key, base_url=f"{gateway.url}/v1", max_retries=0) as sdk:
        await sdk.containers.list()
        with pytest.raises(openai.RateLimitError, match="limit of 1 requests a minute"):
            await sdk.containers.list()


async def test_a_shadow_is_counted_and_never_refused(gateway: ServingGateway) -> None:
    client = await client_with(
        gateway,
        shadow=True,
        rpm_limit=1,
        max_parallel_requests=0,
        max_creates_per_minute=0,
        max_upload_bytes_per_day=1,
        max_download_bytes_per_day=1,
        max_file_bytes=2,
        allowed_memory_limits=["4g"],
    )
    container = await client.make()
    uploaded = await client.upload(container, b"0123456789")
    assert uploaded.status_code == 200
    assert not [name for name in uploaded.headers if name.startswith("x-ratelimit")]
    for _ in range(2):
        content = await client.ask("GET", f"containers/{container}/files/{uploaded.json()['id']}/content")
        assert content.content == b"0123456789"
    for limit in ("requests", "parallel", "creates", "upload_bytes", "download_bytes", "file_bytes", "memory_limit"):
        labels = f'{{account="key",limit="{limit}",shadow="true"}}'
        assert await metric(gateway, f"quaymaster_limit_refusals_total{labels}") >= 1, limit


async def test_creates_have_a_minute_of_their_own(gateway: ServingGateway) -> None:
    client = await client_with(gateway, max_creates_per_minute=2)
    await client.make()
    await client.make()
    said = refused_for_quota(answer := await client.ask("POST", "containers", json={"name": "one too many"}))
    assert "new containers of key:" in said
    assert "2 a minute" in said
    assert 57 <= int(answer.headers["retry-after"]) <= 60
    listed = await client.ask("GET", "containers")
    assert len(listed.json()["data"]) == 2


async def test_a_hundred_creates_with_room_for_seven_make_seven(gateway: ServingGateway) -> None:
    client = await client_with(gateway, max_creates_per_minute=7)
    answers = await asyncio.gather(*(client.ask("POST", "containers", json={"name": "x"}) for _ in range(100)))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [429] * 93


async def test_memory_that_is_not_allowed_is_refused(gateway: ServingGateway) -> None:
    client = await client_with(gateway, allowed_memory_limits=["4g", "16g"])
    said = refused_for_quota(answer := await client.ask("POST", "containers", json={"name": "x"}))
    assert said.startswith("key:")
    assert "memory_limit of 1g; allowed: 4g, 16g" in said
    assert answer.json()["error"]["param"] == "memory_limit"
    refused_for_quota(await client.ask("POST", "containers", json={"name": "x", "memory_limit": "64g"}))
    refused_for_quota(await client.ask("POST", "containers", json={"name": "x", "memory_limit": ["4g"]}))
    assert (await client.ask("POST", "containers", json={"name": "x", "memory_limit": "4g"})).status_code == 200


@pytest.mark.parametrize("ahead", ["", '"pad": "' + 70_000 * "x" + '", '], ids=["small", "large"])
@pytest.mark.parametrize(
    ("said", "name"),
    [
        ('"memory_limit": "64g", "memory_limit": "1g"', "memory_limit"),
        ('"memory_limit": "64g", "memory\\u005flimit": "1g"', "memory_limit"),
        ('"memory_limit": "1g", "Memory_Limit": "64g"', "memory_limit"),
        ('"MEMORY_LIMIT" : "64g"', "memory_limit"),
        ('"file_ids": ["cfile_of_others"], "file_ids": []', "file_ids"),
    ],
)
async def test_nothing_that_counts_is_said_one_way_here_and_another_upstream(
    gateway: ServingGateway, said: str, name: str, ahead: str
) -> None:
    """Of two equal names parsers take different ones: what is looked at must be what is made."""
    client = await client_with(gateway)
    headers = {"content-type": "application/json"}
    body = f'{{{ahead}"metadata": {{"memory_limit": "x"}}, %s, "name": "crate"}}'
    refused = await client.ask("POST", "containers", content=body % said, headers=headers)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, name)
    assert refused.json()["error"]["message"] == f"Say '{name}' once, in lower case."
    once = await client.ask("POST", "containers", content=body % '"memory_limit": "1g"', headers=headers)
    assert "once" not in once.text


@pytest.mark.parametrize("size", [101, 70_000, 2_000_000])
async def test_a_file_that_is_too_large_is_refused(gateway: ServingGateway, size: int) -> None:
    team = f"crew-{uuid4().hex}"
    await gateway.client.post("/team/new", json={"team_id": team, "max_file_bytes": 100})
    client = await client_with(gateway, team_id=team, max_file_bytes=1000)
    container = await client.make()
    assert f"larger than team:{team} may upload (100 bytes)" in refused_for_quota(
        await client.upload(container, b"x" * size)
    )
    assert (await client.upload(container, b"x" * 100)).status_code == 200
    assert len((await client.ask("GET", f"containers/{container}/files")).json()["data"]) == 1


async def test_uploads_of_a_day_are_refused_before_a_byte_and_cut_in_the_middle(gateway: ServingGateway) -> None:
    client = await client_with(gateway, max_upload_bytes_per_day=300_000)
    container = await client.make()
    assert (await client.upload(container, b"x" * 100_000)).status_code == 200
    said = refused_for_quota(await client.upload(container, b"x" * 250_000))
    assert "upload quota of key:" in said
    assert "300000 bytes a day" in said
    assert "T00:00:00Z" in said

    async def pieces() -> AsyncIterator[bytes]:
        yield b'--b\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\n'
        for _ in range(50):
            yield b"x" * 10_000
        yield b"\r\n--b--\r\n"

    chunked = {"content-type": "multipart/form-data; boundary=b"}
    refused_for_quota(await client.ask("POST", f"containers/{container}/files", content=pieces(), headers=chunked))
    refused_for_quota(await client.upload(container, b"x"))
    assert len((await client.ask("GET", f"containers/{container}/files")).json()["data"]) == 1


async def test_downloads_of_a_day_are_refused_when_they_are_used_up(gateway: ServingGateway) -> None:
    client = await client_with(gateway, max_download_bytes_per_day=150_000)
    container = await client.make()
    file = (await client.upload(container, b"x" * 100_000)).json()["id"]
    content = f"containers/{container}/files/{file}/content"
    assert [len((await client.ask("GET", content)).content) for _ in range(2)] == [100_000, 100_000]
    assert "download quota of key:" in refused_for_quota(await client.ask("GET", content))
    assert (await client.ask("GET", f"containers/{container}/files/{file}")).status_code == 200


async def test_what_was_moved_today_outlives_a_restart(tmp_path: Path) -> None:
    async with serving_gateway(tmp_path) as gateway:
        client = await client_with(gateway, max_upload_bytes_per_day=50_000)
        container = await client.make()
        assert (await client.upload(container, b"x" * 30_000)).status_code == 200
    async with serving_gateway(tmp_path) as gateway:
        client = Client(gateway, client.key)
        refused_for_quota(await client.upload(container, b"x" * 30_000))


@asynccontextmanager
async def holding(folder: Path) -> AsyncIterator[tuple[Client, asyncio.Event]]:
    """A client with one slot, and an upstream whose files come to their end when the event is set."""
    go_on = asyncio.Event()

    async def slow(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(head(200, (b"content-type", b"application/octet-stream"), length=100) + b"x" * 50)
            await go_on.wait()
            await peer.send(b"x" * 50)

    async with (
        ScriptedUpstream(slow) as upstream,
        serving_gateway(folder, forwarding_to(upstream.origin)) as gateway,
    ):
        yield await client_with(gateway, max_parallel_requests=1, container_scope="all"), go_on


async def slot_is_free(client: Client) -> None:
    """Ask until there is a slot: it is given back just after an answer's last byte."""
    async with asyncio.timeout(10):
        while (await client.ask("GET", "containers?custom_llm_provider=nobody")).status_code == 429:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


CONTENT = "containers/cntr_0123456789abcdef/files/cfile_0123456789abcdef/content"


async def test_a_download_holds_its_slot_to_its_end(tmp_path: Path) -> None:
    async with holding(tmp_path) as (client, go_on):
        headers = {"Authorization": f"Bearer {client.key}"}
        async with client.gateway.client.stream("GET", f"/v1/{CONTENT}", headers=headers) as download:
            assert download.status_code == 200
            refused = await client.ask("GET", "containers")
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            assert "limit of 1 requests at the same time" in refused.json()["error"]["message"]
            go_on.set()
            assert len(await download.aread()) == 100
        await slot_is_free(client)


async def test_a_client_that_leaves_frees_its_slot(tmp_path: Path) -> None:
    async with holding(tmp_path) as (client, _):
        headers = {"Authorization": f"Bearer {client.key}"}
        async with client.gateway.client.stream("GET", f"/v1/{CONTENT}", headers=headers) as download:
            assert download.status_code == 200
        await slot_is_free(client)


@pytest.fixture
def redis() -> Iterator[Server]:
    with redis_server() as server:
        yield server


def sharing(server: Server, **limits: Any) -> str:
    return json.dumps({"redis_url": server.url, "limits": limits})


@pytest.mark.service
async def test_a_gateway_outlives_its_redis_and_says_so(tmp_path: Path, redis: Server) -> None:
    async with serving_gateway(tmp_path, sharing(redis)) as gateway:
        client = await client_with(gateway, rpm_limit=1000, max_parallel_requests=100)
        assert await metric(gateway, "quaymaster_limits_alone") == 0
        for turn in range(2):
            assert (await client.ask("GET", "containers")).status_code == 200
            await asyncio.to_thread(redis.stop)
            answers = await asyncio.gather(*(client.ask("GET", "containers") for _ in range(30)))
            assert {answer.status_code for answer in answers} == {200}
            assert await metric(gateway, "quaymaster_limits_alone") == 1
            assert await metric(gateway, "quaymaster_limits_judged_alone_total") >= 30 * (turn + 1)
            await asyncio.to_thread(redis.start)
            async with asyncio.timeout(5):
                while await metric(gateway, "quaymaster_limits_alone"):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)


@pytest.mark.service
async def test_where_the_settings_say_so_nobody_is_served_without_redis(tmp_path: Path, redis: Server) -> None:
    async with serving_gateway(tmp_path, sharing(redis, when_redis_is_down="refuse")) as gateway:
        client = await client_with(gateway, rpm_limit=1000)
        await asyncio.to_thread(redis.stop)
        refused = await client.ask("GET", "containers")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
        assert refused.headers["retry-after"] == "1"
        assert (await gateway.client.get("/v1/containers")).status_code == 200


@pytest.mark.service
async def test_two_gateways_with_one_redis_count_together(tmp_path: Path, redis: Server) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    config = json.dumps(
        {"redis_url": redis.url, "database_url": f"sqlite:///{tmp_path}/q.db", "limits": {"redis_timeout_seconds": 1}}
    )
    async with serving_gateway(folders[0], config) as one, serving_gateway(folders[1], config) as two:
        client = await client_with(one, rpm_limit=10)
        clients = [client, Client(two, client.key)]
        answers = await asyncio.gather(*(clients[turn % 2].ask("GET", "containers") for turn in range(30)))
        assert sorted(answer.status_code for answer in answers) == [200] * 10 + [429] * 20
