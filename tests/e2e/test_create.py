"""Making a container: what is written down when, and what becomes of it when something fails."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.gateway.create import Creates
from tests.e2e.gateway import forwarding_to
from tests.e2e.rows import containers, creations, let_leases_end, query, until
from tests.e2e.serving import ServingGateway, fronting, serving_gateway
from tests.fakes.quay import JSON, Quay, answering, keeping_silent, resetting
from tests.fakes.relay import Relay
from tests.fakes.scripted import Peer, ScriptedUpstream, reply
from tests.logs import captured_log
from tests.services import free_port

BODY = {"name": "crate"}


async def create(gateway: ServingGateway, key: str | None = None, **fields: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return await gateway.client.post("/v1/containers", json=BODY | fields, headers=headers)


async def test_the_intent_is_there_before_the_upstream_hears_of_it(tmp_path: Path) -> None:
    async def looks(peer: Peer) -> None:
        await peer.request()
        (seen,) = creations(tmp_path)
        assert (seen["state"], seen["owner"], seen["deployment"], seen["name"], seen["memory_limit"]) == (
            "pending",
            "user:ann",
            "main",
            "crate",
            "4g",
        )
        await peer.send(reply(200, b'{"id":"cntr_1","object":"container","name":"crate"}', JSON))

    async with fronting(tmp_path, looks) as (gateway, _):
        key = await gateway.make_key(user_id="ann")
        answer = await create(gateway, key, memory_limit="4g")
        assert answer.status_code == 200
        (made,) = containers(tmp_path)
        assert (made["container_id"], made["owner"], made["deployment"]) == ("cntr_1", "user:ann", "main")
        (creation,) = creations(tmp_path)
        assert (creation["state"], creation["container_id"]) == ("done", "cntr_1")
        assert creation["answer_body"] == answer.content


async def test_the_names_of_creates_grow_with_time(tmp_path: Path) -> None:
    async with fronting(tmp_path, Quay()) as (gateway, _):
        for _ in range(8):
            await create(gateway)
        begun = [row["creation_id"] for row in sorted(creations(tmp_path), key=lambda row: str(row["started_at"]))]
    assert begun == sorted(set(begun))
    assert len(begun) == 8


async def test_a_created_container_is_its_owners_at_once(tmp_path: Path) -> None:
    quay = Quay()
    async with fronting(tmp_path, quay) as (gateway, upstream):
        ours, theirs = await gateway.make_key(team_id="us"), await gateway.make_key(team_id="them")
        made = (await create(gateway, ours)).json()
        path = f"/v1/containers/{made['id']}"
        asked = len(upstream.requests)
        answer = await gateway.client.get(path, headers={"Authorization": f"Bearer {theirs}"})
        assert (answer.status_code, len(upstream.requests)) == (404, asked)
        await gateway.client.get(path, headers={"Authorization": f"Bearer {ours}"})
        assert len(upstream.requests) == asked + 1


@pytest.mark.parametrize(
    ("status", "idempotency_key", "state", "kept"),
    [
        (400, None, "failed", True),
        (404, None, "failed", True),
        (401, None, None, False),
        (409, "once", None, False),
        (429, "once", None, False),
        (302, None, None, False),
        (500, None, "pending", False),
        (503, "once", "pending", True),
        (200, None, "pending", False),
    ],
)
async def test_an_answer_without_a_container(
    tmp_path: Path, status: int, idempotency_key: str | None, state: str | None, kept: bool
) -> None:
    """It comes back as it was, and what it means for the container is written down."""
    body = b'{"error":{"message":"no"}}'
    quay = Quay()
    quay.instead.append(answering(status, body))
    async with fronting(tmp_path, quay) as (gateway, _):
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        answer = await gateway.client.post("/v1/containers", json=BODY, headers=headers)
        assert (answer.status_code, answer.content) == (status, body)
        found = creations(tmp_path)
    assert [one["state"] for one in found] == ([] if state is None else [state])
    assert [one["answer_body"] for one in found] == ([] if state is None else [body if kept else None])


@pytest.mark.parametrize(("instead", "status"), [(resetting, 502), (keeping_silent, 504)])
async def test_a_container_that_may_have_been_made_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instead: Any, status: int
) -> None:
    monkeypatch.setattr("app.main.RECONCILE_SECONDS", 0.2)
    quay = Quay()
    quay.instead.append(instead)
    quay.may_answer.clear()
    async with fronting(tmp_path, quay, deployment={"timeouts": {"read_seconds": 0.5}}) as (gateway, _):
        key = await gateway.make_key(user_id="ann")
        asking = asyncio.create_task(create(gateway, key))
        await quay.creating.wait()
        quay.may_answer.set()
        answer = await asking
        assert (answer.status_code, answer.headers["x-should-retry"]) == (status, "false")
        (found,) = await until(lambda: containers(tmp_path))
        assert (found["container_id"], found["owner"]) == (quay.made[0]["id"], "user:ann")
        (creation,) = creations(tmp_path)
        assert creation["state"] == "done"
    assert len(quay.made) == 1


async def test_a_create_that_takes_its_time_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process goes on answering for it: nobody looks for it, though its first lease is long over."""
    monkeypatch.setattr("app.main.RECONCILE_SECONDS", 0.1)
    monkeypatch.setattr("app.main.LEASE_SECONDS", 0.6)
    monkeypatch.setattr("app.main.Creates", partial(Creates, lease_seconds=0.6))
    quay = Quay()
    quay.may_answer.clear()
    async with fronting(tmp_path, quay) as (gateway, _):
        asking = asyncio.create_task(create(gateway))
        await quay.creating.wait()
        first = creations(tmp_path)[0]["lease_until"]
        await asyncio.sleep(1.5)
        assert creations(tmp_path)[0]["lease_until"] > first
        assert quay.lists == 0
        quay.may_answer.set()
        assert (await asking).json()["id"] == quay.made[0]["id"]


async def test_a_client_that_left_has_its_container_all_the_same(tmp_path: Path) -> None:
    quay = Quay()
    quay.may_answer.clear()
    async with fronting(tmp_path, quay) as (gateway, _):
        key = await gateway.make_key(user_id="ann")
        asking = asyncio.create_task(create(gateway, key))
        await quay.creating.wait()
        asking.cancel()
        await until(lambda: creations(tmp_path)[0]["lost"])
        quay.may_answer.set()
        (found,) = await until(lambda: containers(tmp_path))
        assert (found["container_id"], found["owner"]) == (quay.made[0]["id"], "user:ann")


async def test_another_owners_container_is_nobodys_answer(tmp_path: Path) -> None:
    quay = Quay()
    with captured_log() as log:
        async with fronting(tmp_path, quay) as (gateway, _):
            ours, theirs = await gateway.make_key(user_id="us"), await gateway.make_key(user_id="them")
            made = (await create(gateway, ours)).json()
            quay.instead.append(answering(200, json.dumps(quay.made[0]).encode()))
            answer = await create(gateway, theirs)
            assert answer.status_code == 502
            assert answer.json()["error"]["code"] == "container_taken"
            assert made["id"] not in answer.text
            (found,) = containers(tmp_path)
            assert found["owner"] == "user:us"
            assert [one["state"] for one in creations(tmp_path)] == ["done"]
        (event,) = log.events("container_taken")
    assert event["level"] == "error"


# The database.


async def test_without_a_database_nothing_reaches_the_upstream(tmp_path: Path) -> None:
    quay = Quay()
    async with fronting(tmp_path, quay) as (gateway, upstream):
        query(tmp_path, "ALTER TABLE creations RENAME TO elsewhere")
        answer = await create(gateway)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
        assert "retry-after" in answer.headers
        query(tmp_path, "ALTER TABLE elsewhere RENAME TO creations")
        assert (await create(gateway)).status_code == 200
    assert len(quay.made) == len([it for it in upstream.requests if it.method == b"POST"]) == 1


@pytest.mark.service
async def test_with_its_postgresql_cut_off_nothing_reaches_the_upstream(tmp_path: Path, postgres_url: str) -> None:
    quay = Quay()
    start, _, rest = postgres_url.rpartition(":")
    port, _, name = rest.partition("/")
    async with Relay(int(port)) as relay:
        database = f"{start}:{relay.port}/{name}"
        async with fronting(tmp_path, quay, database_url=database) as (gateway, upstream):
            assert (await create(gateway)).status_code == 200
            await relay.cut()
            asked = len(upstream.requests)
            answer = await create(gateway)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
            assert [it for it in upstream.requests[asked:] if it.method == b"POST"] == []
    assert len(quay.made) == 1


async def test_a_database_that_is_away_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    quay = Quay()
    quay.may_answer.clear()
    async with fronting(tmp_path, quay) as (gateway, _):
        asking = asyncio.create_task(create(gateway))
        await quay.creating.wait()
        query(tmp_path, "ALTER TABLE containers RENAME TO elsewhere")
        quay.may_answer.set()
        await asyncio.sleep(0.5)
        assert not asking.done()
        query(tmp_path, "ALTER TABLE elsewhere RENAME TO containers")
        answer = await asking
        assert (answer.status_code, answer.json()["id"]) == (200, quay.made[0]["id"])
        assert [one["state"] for one in creations(tmp_path)] == ["done"]


async def test_what_could_not_be_registered_is_found_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a retry by an SDK gets it rather than another one."""
    monkeypatch.setattr("app.gateway.create.RECORD_SECONDS", 0.3)
    monkeypatch.setattr("app.main.RECONCILE_SECONDS", 0.2)
    quay = Quay()
    quay.may_answer.clear()
    async with fronting(tmp_path, quay) as (gateway, _):
        asking = asyncio.create_task(create(gateway))
        await quay.creating.wait()
        query(tmp_path, "ALTER TABLE containers RENAME TO elsewhere")
        quay.may_answer.set()
        assert (await asking).status_code == 503
        query(tmp_path, "ALTER TABLE elsewhere RENAME TO containers")
        let_leases_end(tmp_path)
        again = await gateway.client.post("/v1/containers", json=BODY, headers={"x-stainless-retry-count": "1"})
        assert (again.status_code, again.json()["id"]) == (200, quay.made[0]["id"])
        assert again.headers["idempotent-replayed"] == "true"
    assert len(quay.made) == 1


# Failover.


def two_deployments(first: str, second: str) -> str:
    """Settings with two deployments, of which the first is chosen first."""
    other = {"name": "other", "provider": "openai", "api_base": f"{second}/v1", "api_key": "sk-2", "weight": 0.001}
    return forwarding_to(first, others=[other], routing={"policy": "round-robin"})


async def test_where_the_first_deployment_refuses_another_makes_it(tmp_path: Path) -> None:
    quay = Quay()
    async with (
        ScriptedUpstream(quay) as upstream,
        serving_gateway(tmp_path, two_deployments(f"http://127.0.0.1:{free_port()}", upstream.origin)) as gateway,
    ):
        answer = await create(gateway)
        assert answer.status_code == 200
        assert answer.headers["x-quaymaster-deployment"] == "other"
        assert answer.headers["x-quaymaster-attempts"] == "2"
        (made,) = containers(tmp_path)
        assert made["deployment"] == "other"
        assert [(one["deployment"], one["state"]) for one in creations(tmp_path)] == [("other", "done")]


async def test_what_an_upstream_may_have_is_not_made_elsewhere(tmp_path: Path) -> None:
    first, second = Quay(), Quay()
    first.instead.append(resetting)
    async with (
        ScriptedUpstream(first) as one,
        ScriptedUpstream(second) as other,
        serving_gateway(tmp_path, two_deployments(one.origin, other.origin)) as gateway,
    ):
        assert (await create(gateway)).status_code == 502
    assert (len(first.made), len(second.made)) == (1, 0)


async def test_a_deployment_that_was_named_is_the_only_one(tmp_path: Path) -> None:
    quay = Quay()
    async with (
        ScriptedUpstream(quay) as upstream,
        serving_gateway(tmp_path, two_deployments(f"http://127.0.0.1:{free_port()}", upstream.origin)) as gateway,
    ):
        headers = {"x-quaymaster-deployment": "main"}
        answer = await gateway.client.post("/v1/containers", json=BODY, headers=headers)
        assert (answer.status_code, answer.headers["x-quaymaster-deployment"]) == (502, "main")
        assert creations(tmp_path) == []
    assert quay.made == []


async def test_a_failover_that_cannot_be_written_down_does_not_happen(tmp_path: Path) -> None:
    quay = Quay()
    async with (
        ScriptedUpstream(quay) as upstream,
        serving_gateway(tmp_path, two_deployments(f"http://127.0.0.1:{free_port()}", upstream.origin)) as gateway,
    ):
        query(
            tmp_path,
            "CREATE TRIGGER no BEFORE UPDATE OF deployment ON creations BEGIN SELECT no_such_function(); END",
        )
        answer = await create(gateway)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
    assert quay.made == []
