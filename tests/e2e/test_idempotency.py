"""The same create more than once: by an Idempotency-Key, and by an SDK that did not get its answer."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from tests.e2e.raw import head, raw_connection
from tests.e2e.rows import containers, creations, let_leases_end, query, until
from tests.e2e.serving import ServingGateway, fronting
from tests.fakes.quay import Quay, answering, resetting
from tests.fakes.relay import Relay
from tests.logs import captured_log

BODY = {"name": "crate"}
ONCE = {"Idempotency-Key": "once"}
CREATE = head("POST", "/v1/containers", b"Content-Length: 16") + b'{"name":"crate"}'
RETRY = {"x-stainless-retry-count": "1"}


def sdk(url: str, key: str, **options: Any) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{url}/v1", api_key=key, **options)


async def post(
    gateway: ServingGateway,
    headers: dict[str, str],
    key: str | None = None,
    path: str = "/v1/containers",
    **fields: Any,
) -> httpx.Response:
    headers = headers | ({"Authorization": f"Bearer {key}"} if key else {})
    return await gateway.client.post(path, json=BODY | fields, headers=headers)


async def patiently(gateway: ServingGateway, headers: dict[str, str], while_status: int) -> httpx.Response:
    """What is answered when it is no longer this."""
    async with asyncio.timeout(15):
        while True:
            if (answer := await post(gateway, headers)).status_code != while_status:
                return answer
            await asyncio.sleep(0.1)


def code(answer: httpx.Response) -> Any:
    return answer.json()["error"]["code"]


# An SDK that did not get its answer.


async def test_an_sdk_whose_connection_was_cut_gets_what_was_made(tmp_path: Path) -> None:
    """The upstream has answered 200, the gateway too, and the network swallowed it."""
    quay = Quay()
    with captured_log() as log:
        async with fronting(tmp_path, quay) as (gateway, _), Relay(gateway.port) as relay:
            relay.swallow = 1
            key = await gateway.make_key(user_id="ann")
            async with sdk(f"http://127.0.0.1:{relay.port}", key) as client:
                made = await client.containers.with_raw_response.create(name="crate")
            assert relay.lost == 1
            assert made.headers["idempotent-replayed"] == "true"
            assert made.headers["x-quaymaster-deployment"] == "main"
            assert made.parse().id == quay.made[0]["id"]
            assert "expires_at" in (made.parse().model_extra or {})
        first, second = [event for event in log.events("request") if event["operation"] == "containers.create"]
    assert len(quay.made) == 1
    assert first["container_id"] == second["container_id"] == quay.made[0]["id"]
    assert (second["deployment"], second["attempts"]) == ("main", 0)


async def test_an_sdk_that_is_cut_off_twice_gets_it_at_the_third_time(tmp_path: Path) -> None:
    quay = Quay()
    async with fronting(tmp_path, quay) as (gateway, _), Relay(gateway.port) as relay:
        relay.swallow = 2
        async with sdk(f"http://127.0.0.1:{relay.port}", await gateway.make_key()) as client:
            assert (await client.containers.create(name="crate")).id == quay.made[0]["id"]
        assert relay.lost == 2
    assert len(quay.made) == 1


@pytest.mark.parametrize("first_ends", ["before the retry", "while it waits"])
async def test_an_sdk_that_lost_patience_gets_what_the_first_one_made(tmp_path: Path, first_ends: str) -> None:
    quay = Quay()
    quay.may_answer.clear()
    retried = asyncio.Event()

    async def note_retry(request: httpx.Request) -> None:
        if request.headers["x-stainless-retry-count"] == "0":
            return
        if first_ends == "before the retry":
            quay.may_answer.set()
        retried.set()

    async with fronting(tmp_path, quay) as (gateway, _):
        http = httpx.AsyncClient(event_hooks={"request": [note_retry]})
        async with sdk(gateway.url, await gateway.make_key(), timeout=1, http_client=http) as client:
            asking = asyncio.create_task(client.containers.create(name="crate"))
            await retried.wait()
            if first_ends == "while it waits":
                await asyncio.sleep(0.3)
                assert not asking.done()
                quay.may_answer.set()
            assert (await asking).id == quay.made[0]["id"]
    assert len(quay.made) == 1


async def test_an_sdk_whose_first_create_nobody_can_tell_the_end_of_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client left, then the upstream broke off: reconciliation finds what was made, and the retry gets that."""
    monkeypatch.setattr("app.main.RECONCILE_SECONDS", 0.2)
    quay = Quay()
    quay.instead.append(resetting)
    quay.may_answer.clear()
    async with fronting(tmp_path, quay) as (gateway, _):
        with pytest.raises(httpx.ReadTimeout):
            await gateway.client.post("/v1/containers", json=BODY, timeout=0.5)
        quay.may_answer.set()
        answer = await post(gateway, RETRY)
        assert (answer.status_code, answer.json()["id"]) == (200, quay.made[0]["id"])
        assert answer.json()["expires_at"] == quay.made[0]["last_active_at"] + 20 * 60
    assert len(quay.made) == 1


async def test_where_the_first_create_failed_without_an_answer_a_retry_makes_one(tmp_path: Path) -> None:
    quay = Quay()
    quay.instead.append(answering(409))
    quay.may_answer.clear()
    async with fronting(tmp_path, quay) as (gateway, _):
        with pytest.raises(httpx.ReadTimeout):
            await gateway.client.post("/v1/containers", json=BODY, timeout=0.5)
        asking = asyncio.create_task(post(gateway, RETRY))
        await asyncio.sleep(0.2)
        assert not asking.done()
        quay.may_answer.set()
        answer = await asking
        assert (answer.status_code, answer.json()["id"]) == (200, quay.made[1]["id"])
        assert "idempotent-replayed" not in answer.headers


async def lose_one(gateway: ServingGateway, folder: Path, key: str) -> None:
    """Make a container, and leave before the answer is certain to have come."""
    authorization = f"Authorization: Bearer {key}\r\n".encode()
    async with raw_connection(gateway.port) as client:
        lines = (b"Content-Length: 16", b"Content-Type: application/json")
        await client.send(head("POST", "/v1/containers", *lines, authorization=authorization) + b'{"name":"crate"}')
        await client.answer()
    await until(lambda: creations(folder)[-1]["lost"])


async def test_a_lost_answer_is_given_to_one_retry(tmp_path: Path) -> None:
    quay = Quay()
    async with fronting(tmp_path, quay) as (gateway, _):
        key = await gateway.make_key()
        await lose_one(gateway, tmp_path, key)
        first, second = await post(gateway, RETRY, key), await post(gateway, RETRY, key)
        assert [first.json()["id"], second.json()["id"]] == [one["id"] for one in quay.made]
    assert len(quay.made) == 2


OTHERS: list[dict[str, Any]] = [
    {"headers": {}},
    {"headers": {"x-stainless-retry-count": "0"}},
    {"headers": {"x-stainless-retry-count": "-1"}},
    {"headers": {"x-stainless-retry-count": "many"}},
    {"headers": RETRY | ONCE},
    {"headers": RETRY, "memory_limit": "4g"},
    {"headers": RETRY, "path": "/v1/containers?x=1"},
    {"headers": RETRY | {"x-quaymaster-deployment": "main"}},
]


@pytest.mark.parametrize("other", OTHERS)
async def test_what_is_no_retry_of_a_lost_create_makes_another(tmp_path: Path, other: dict[str, Any]) -> None:
    quay = Quay()
    async with fronting(tmp_path, quay) as (gateway, _):
        key = await gateway.make_key(team_id="us", allowed_deployments=["*"])
        await lose_one(gateway, tmp_path, key)
        answer = await post(gateway, key=key, **other)
        assert answer.json()["id"] == quay.made[1]["id"]


async def test_another_key_of_the_same_team_did_not_lose_it(tmp_path: Path) -> None:
    quay = Quay()
    async with fronting(tmp_path, quay) as (gateway, _):
        await lose_one(gateway, tmp_path, await gateway.make_key(team_id="us"))
        answer = await post(gateway, RETRY, await gateway.make_key(team_id="us"))
        assert answer.json()["id"] == quay.made[1]["id"]


async def test_an_answer_lost_long_ago_is_not_looked_for(tmp_path: Path) -> None:
    quay = Quay()
    async with fronting(tmp_path, quay) as (gateway, _):
        key = await gateway.make_key()
        await lose_one(gateway, tmp_path, key)
        query(tmp_path, "UPDATE creations SET started_at = datetime(started_at, '-11 minutes')")
        assert (await post(gateway, RETRY, key)).json()["id"] == quay.made[1]["id"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_container_that_was_used_was_not_lost(tmp_path: Path, method: str) -> None:
    """Whoever used it, or deleted it, had got the answer."""
    quay = Quay()
    async with fronting(tmp_path, quay) as (gateway, _):
        key = await gateway.make_key()
        await lose_one(gateway, tmp_path, key)
        quay.made[0]["last_active_at"] += 60
        path, bearer = f"/v1/containers/{quay.made[0]['id']}", {"Authorization": f"Bearer {key}"}
        assert (await gateway.client.request(method, path, headers=bearer)).status_code == 200
        before = containers(tmp_path)[0]
        await until(lambda: containers(tmp_path)[0]["last_active_at"] != before["last_active_at"] or before["ending"])
        assert (await post(gateway, RETRY, key)).json()["id"] == quay.made[1]["id"]


async def test_a_container_that_was_only_listed_may_have_been_lost(tmp_path: Path) -> None:
    quay = Quay()
    async with fronting(tmp_path, quay, registry={"refresh_seconds": 1}) as (gateway, _):
        key = await gateway.make_key()
        await lose_one(gateway, tmp_path, key)
        seen_at = containers(tmp_path)[0]["seen_at"]
        await gateway.client.get("/v1/containers", headers={"Authorization": f"Bearer {key}"})
        await until(lambda: containers(tmp_path)[0]["seen_at"] != seen_at)
        assert (await post(gateway, RETRY, key)).json()["id"] == quay.made[0]["id"]


async def test_who_goes_on_has_got_the_answer(tmp_path: Path) -> None:
    """Another request on the same connection: however soon it ends then, nothing was lost."""
    quay = Quay()
    async with fronting(tmp_path, quay) as (gateway, _):
        async with raw_connection(gateway.port) as client:
            await client.send(CREATE)
            await client.answer()
            await client.send(head("GET", "/v1/containers"))
            await client.answer()
        await gateway.client.get("/v1/containers")
        assert (await post(gateway, RETRY)).json()["id"] == quay.made[1]["id"]


async def test_an_end_long_after_the_answer_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.api.protocol.DOUBT_SECONDS", 0.1)
    quay = Quay()
    async with fronting(tmp_path, quay) as (gateway, _):
        async with raw_connection(gateway.port) as client:
            await client.send(CREATE)
            await client.answer()
            await asyncio.sleep(0.2)
        await gateway.client.get("/v1/containers")
        assert (await post(gateway, RETRY)).json()["id"] == quay.made[1]["id"]


async def test_an_answer_of_500_is_not_looked_for(tmp_path: Path) -> None:
    """Whether it arrived or not: the retry makes another at once."""
    quay = Quay()
    quay.instead.append(answering(500))
    async with fronting(tmp_path, quay) as (gateway, _):
        async with raw_connection(gateway.port) as client:
            await client.send(CREATE)
            assert (await client.answer()).status == 500
        await gateway.client.get("/v1/containers")
        assert (await post(gateway, RETRY)).json()["id"] == quay.made[1]["id"]


async def test_a_client_that_leaves_while_the_intent_is_written_is_not_forgotten(tmp_path: Path) -> None:
    quay = Quay()
    async with fronting(tmp_path, quay) as (gateway, _):
        async with raw_connection(gateway.port) as client:
            with closing(sqlite3.connect(tmp_path / "data" / "quaymaster.db")) as busy:
                busy.execute("BEGIN IMMEDIATE")
                await client.send(CREATE)
                await gateway.client.get("/v1/containers")
                client.leave()
                await gateway.client.get("/v1/containers")
                assert quay.made == []
                busy.rollback()
        assert (await until(lambda: creations(tmp_path)))[0]["owner"] == "master"
        assert (await post(gateway, RETRY)).json()["id"] == quay.made[0]["id"]
    assert len(quay.made) == 1


async def test_a_retry_waits_until_the_loss_is_written_down(tmp_path: Path) -> None:
    quay = Quay()
    async with fronting(tmp_path, quay) as (gateway, _):
        query(tmp_path, "CREATE TRIGGER no BEFORE UPDATE OF lost ON creations BEGIN SELECT no_such_function(); END")
        async with raw_connection(gateway.port) as client:
            await client.send(CREATE)
            await client.answer()
        asking = asyncio.create_task(post(gateway, RETRY))
        await asyncio.sleep(0.3)
        assert not asking.done()
        query(tmp_path, "DROP TRIGGER no")
        assert (await asking).json()["id"] == quay.made[0]["id"]
    assert len(quay.made) == 1


async def test_a_retry_whose_client_leaves_waits_no_longer(tmp_path: Path) -> None:
    """And the next retry finds what it waited for."""
    quay = Quay()
    quay.may_answer.clear()
    with captured_log() as log:
        async with fronting(tmp_path, quay) as (gateway, _):
            for headers in ({}, RETRY):
                with pytest.raises(httpx.ReadTimeout):
                    await gateway.client.post("/v1/containers", json=BODY, headers=headers, timeout=0.5)
            (line,) = await until(lambda: log.events("request"))
            assert (line["outcome"], line["status"], line["attempts"]) == ("client_gone", None, 0)
            asking = asyncio.create_task(post(gateway, RETRY))
            await until(lambda: not creations(tmp_path)[0]["lost"])
            quay.may_answer.set()
            assert (await asking).json()["id"] == quay.made[0]["id"]
    assert len(quay.made) == 1


async def test_identical_creates_at_once_make_as_many(tmp_path: Path) -> None:
    quay = Quay()
    async with fronting(tmp_path, quay) as (gateway, _), sdk(gateway.url, await gateway.make_key()) as client:
        made = await asyncio.gather(*(client.containers.create(name="crate") for _ in range(5)))
    assert {one.id for one in made} == {one["id"] for one in quay.made}
    assert len(quay.made) == 5


async def test_a_retry_after_an_answer_of_500_makes_another(tmp_path: Path) -> None:
    quay = Quay()
    quay.instead.append(answering(500))
    async with fronting(tmp_path, quay) as (gateway, _), sdk(gateway.url, await gateway.make_key()) as client:
        assert (await client.containers.create(name="crate")).id == quay.made[1]["id"]
    assert len(quay.made) == 2


# An idempotency key.


async def test_the_same_key_is_answered_as_before(tmp_path: Path) -> None:
    quay = Quay()
    async with fronting(tmp_path, quay) as (gateway, _):
        ours, ours_too, theirs = [await gateway.make_key(team_id=team) for team in ("us", "us", "them")]
        first, again = await post(gateway, ONCE, ours), await post(gateway, ONCE, ours_too)
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert again.headers["content-type"] == first.headers["content-type"]
        assert again.headers["idempotent-replayed"] == "true"
        assert "idempotent-replayed" not in first.headers
        other = await post(gateway, ONCE, theirs)
        assert other.json()["id"] == quay.made[1]["id"]
    assert len(quay.made) == 2


@pytest.mark.parametrize("fields", [{"memory_limit": "4g"}, {"name": "box"}, {"path": "/v1/containers?x=1"}])
async def test_the_same_key_with_another_request_is_refused(tmp_path: Path, fields: dict[str, Any]) -> None:
    quay = Quay()
    async with fronting(tmp_path, quay) as (gateway, _):
        await post(gateway, ONCE)
        answer = await post(gateway, ONCE, **fields)
        assert (answer.status_code, code(answer)) == (400, "idempotency_key_reused")
    assert len(quay.made) == 1


async def test_the_same_key_while_the_first_goes_on_may_come_again(tmp_path: Path) -> None:
    quay = Quay()
    quay.may_answer.clear()
    async with fronting(tmp_path, quay) as (gateway, _):
        asking = asyncio.create_task(post(gateway, ONCE))
        await quay.creating.wait()
        answer = await post(gateway, ONCE)
        assert (answer.status_code, code(answer)) == (409, "idempotency_key_in_use")
        assert (answer.headers["x-should-retry"], answer.headers["retry-after"]) == ("true", "1")
        quay.may_answer.set()
        assert (await asking).json() == (await post(gateway, ONCE)).json()
    assert len(quay.made) == 1


@pytest.mark.parametrize("status", [400, 422, 500, 503])
async def test_a_failure_is_answered_as_before(tmp_path: Path, status: int) -> None:
    quay = Quay()
    quay.instead.append(answering(status))
    async with fronting(tmp_path, quay) as (gateway, upstream):
        first = await post(gateway, ONCE)
        asked = len([it for it in upstream.requests if it.method == b"POST"])
        again = await post(gateway, ONCE)
        assert (first.status_code, again.status_code, again.content) == (status, status, first.content)
        assert again.headers["idempotent-replayed"] == "true"
        assert len([it for it in upstream.requests if it.method == b"POST"]) == asked


async def test_what_a_500_made_finds_its_owner_and_the_500_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.main.RECONCILE_SECONDS", 0.2)
    quay = Quay()
    quay.instead.append(answering(500))
    async with fronting(tmp_path, quay) as (gateway, _):
        first = await post(gateway, ONCE, await gateway.make_key(team_id="us"))
        found = await until(lambda: containers(tmp_path))
        assert [(one["container_id"], one["owner"]) for one in found] == [(quay.made[0]["id"], "team:us")]
        again = await post(gateway, ONCE, await gateway.make_key(team_id="us"))
        assert (again.status_code, again.content) == (500, first.content)


@pytest.mark.parametrize("status", [401, 402, 403, 408, 409, 425, 429])
async def test_what_may_be_over_the_next_time_is_tried_again(tmp_path: Path, status: int) -> None:
    quay = Quay()
    quay.instead.append(answering(status))
    routing = {"cooldown_seconds": 0.1}
    async with fronting(tmp_path, quay, routing=routing) as (gateway, _):
        assert (await post(gateway, ONCE)).status_code == status
        again = await patiently(gateway, ONCE, 503)
        assert again.status_code == 200
        assert "idempotent-replayed" not in again.headers


async def test_a_key_is_free_again_after_a_day(tmp_path: Path) -> None:
    quay = Quay()
    async with fronting(tmp_path, quay) as (gateway, _):
        await post(gateway, ONCE)
        query(tmp_path, "UPDATE creations SET started_at = datetime(started_at, '-24 hours')")
        assert (await post(gateway, ONCE, name="box")).json()["id"] == quay.made[1]["id"]


async def test_after_a_crash_the_key_finds_what_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process that died leaves: an intent whose lease runs out, and a container."""
    monkeypatch.setattr("app.main.RECONCILE_SECONDS", 0.2)
    quay = Quay()
    quay.may_answer.clear()
    async with fronting(tmp_path, quay) as (gateway, _):
        asking = asyncio.create_task(post(gateway, ONCE))
        await quay.creating.wait()
        asking.cancel()
        let_leases_end(tmp_path)
        answer = await patiently(gateway, ONCE, 409)
        assert (answer.status_code, answer.json()["id"]) == (200, quay.made[0]["id"])
        quay.may_answer.set()
    assert len(quay.made) == 1


@pytest.mark.parametrize("key", [b"", b" ", b"x" * 256, b"a\tb", b"\x80"])
async def test_a_key_that_is_none_is_refused(tmp_path: Path, key: bytes) -> None:
    quay = Quay()
    async with fronting(tmp_path, quay) as (gateway, _):
        async with raw_connection(gateway.port) as client:
            await client.send(head("POST", "/v1/containers", b"Content-Length: 16", b"Idempotency-Key: " + key))
            await client.send(b'{"name":"crate"}')
            answer = await client.answer()
        assert (answer.status, answer.error_code) == (400, "invalid_value")
        assert answer.json()["error"]["param"] == "Idempotency-Key"
    assert quay.made == []


async def test_the_longest_key_is_taken(tmp_path: Path) -> None:
    quay = Quay()
    async with fronting(tmp_path, quay) as (gateway, _):
        for _ in range(2):
            assert (await post(gateway, {"Idempotency-Key": "~" * 255})).json()["id"] == quay.made[0]["id"]


async def test_an_sdk_may_send_a_key_of_its_own(tmp_path: Path) -> None:
    quay = Quay()
    async with fronting(tmp_path, quay) as (gateway, _), Relay(gateway.port) as relay:
        relay.swallow = 1
        async with sdk(f"http://127.0.0.1:{relay.port}", await gateway.make_key()) as client:
            made = await client.containers.create(name="crate", extra_headers=ONCE)
            assert made.id == quay.made[0]["id"]
            with pytest.raises(openai.BadRequestError, match="Idempotency-Key"):
                await client.containers.create(name="box", extra_headers=ONCE)
    assert len(quay.made) == 1
