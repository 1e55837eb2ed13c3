"""Budgets over real sockets: what is refused, what is charged, and what is not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.gateway import forwarding_to
from tests.e2e.raw import head, raw_connection
from tests.e2e.rows import query, until
from tests.e2e.serving import ServingGateway, fronting, serving_gateway
from tests.fakes.quay import JSON, Quay, answering, resetting
from tests.fakes.scripted import Peer, ScriptedUpstream, reply

ROOM = 0.03
"""What the 20 minutes of a container of 1 GB cost, in USD."""
LEAST = "0.0075"


class Harbour(Quay):
    """A quay whose containers can be used and deleted."""

    async def __call__(self, peer: Peer) -> None:
        while True:
            request = await peer.request()
            if request.method == b"POST":
                await self._create(peer, request)
            elif request.method == b"DELETE":
                gone = {
                    "id": request.target.decode().rpartition("/")[2],
                    "object": "container.deleted",
                    "deleted": True,
                }
                await peer.send(reply(200, json.dumps(gone).encode(), JSON))
            elif request.target.startswith(b"/v1/containers/"):
                container_id = request.target.decode().rpartition("/")[2]
                (made,) = [one for one in self.made if one["id"] == container_id]
                await peer.send(reply(200, json.dumps(made).encode(), JSON))
            else:
                await peer.send(reply(200, self._page(request), JSON))


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def create(gateway: ServingGateway, key: str, **fields: Any) -> httpx.Response:
    return await gateway.client.post("/v1/containers", json={"name": "crate"} | fields, headers=bearer(key))


def balance(folder: Path, kind: str = "key") -> tuple[int, int, int]:
    """What the only account of this kind has reserved, spent and alive."""
    (row,) = query(folder, f"SELECT * FROM balances WHERE account LIKE '{kind}:%'")
    return row["reserved_nanousd"], row["spent_nanousd"], row["containers"]


@pytest.mark.parametrize("room", [1, 7])
async def test_of_many_at_once_exactly_as_many_as_there_is_room_for(tmp_path: Path, room: int) -> None:
    quay = Harbour()
    async with fronting(tmp_path, quay) as (gateway, _):
        key = await gateway.make_key(max_budget=room * ROOM, key_alias="crane")
        answers = await asyncio.gather(*(create(gateway, key) for _ in range(100)))
        assert len(quay.made) == room
        assert sum(answer.status_code == 200 for answer in answers) == room
        for refused in (answer for answer in answers if answer.status_code != 200):
            error = refused.json()["error"]
            assert (refused.status_code, error["code"], error["type"]) == (429, "budget_exceeded", "insufficient_quota")
            assert refused.headers["x-should-retry"] == "false"
            assert refused.headers["x-quaymaster-cost-usd"] == "0"
            assert "retry-after" not in refused.headers
            assert "'crane'" in error["message"]
        assert balance(tmp_path) == (room * 22_500_000, room * 7_500_000, room)
        metrics = (await gateway.client.get("/metrics")).text
        assert (
            f'quaymaster_limit_refusals_total{{account="key",limit="budget",shadow="false"}} {100 - room}.0' in metrics
        )


async def test_a_refusal_says_whose_budget_how_much_and_when(tmp_path: Path) -> None:
    async with fronting(tmp_path, Harbour()) as (gateway, _):
        key = await gateway.make_key(max_budget=0.04, budget_duration="1h", key_alias="crane")
        made = await create(gateway, key)
        assert made.headers["x-quaymaster-cost-usd"] == LEAST
        refused = await create(gateway, key)
    message = refused.json()["error"]["message"]
    assert message.startswith(
        "The budget of 0.04 USD per 1h of the key 'crane' has no room: 0.0075 USD are spent, 0.0225 USD are reserved"
        " for containers that are alive, and this one may cost 0.03 USD. It starts anew at 20"
    )
    assert 3500 < int(refused.headers["retry-after"]) <= 3600


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"max_containers": 1}, "The quota of 1 containers of the key 'crane' has no room: 1 are alive."),
        ({"max_memory_gb": 4}, "The quota of 4 GB of memory of the key 'crane' has no room: containers with 4 GB are"),
    ],
)
async def test_quotas_refuse_alike(tmp_path: Path, limits: dict[str, int], said: str) -> None:
    async with fronting(tmp_path, Harbour()) as (gateway, _):
        key = await gateway.make_key(key_alias="crane", **limits)
        assert (await create(gateway, key, memory_limit="4g")).status_code == 200
        refused = await create(gateway, key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_exceeded")
    assert refused.json()["error"]["message"].startswith(said)
    assert refused.headers["x-should-retry"] == "false"


async def test_a_deletion_settles_and_says_so(tmp_path: Path) -> None:
    async with fronting(tmp_path, Harbour()) as (gateway, _):
        key = await gateway.make_key()
        container_id = (await create(gateway, key)).json()["id"]
        query(tmp_path, "UPDATE holds SET started_at = datetime(started_at, '-450 seconds') || '.000000'")
        answer = await gateway.client.delete(f"/v1/containers/{container_id}", headers=bearer(key))
        assert answer.headers["x-quaymaster-cost-usd"] == "0.0045"  # eight minutes have begun, five are paid
        assert balance(tmp_path) == (0, 12_000_000, 0)
        entries = query(tmp_path, "SELECT kind, request_id FROM ledger_entries ORDER BY number")
        assert [entry["kind"] for entry in entries] == ["reserve", "settle", "settle", "release"]
        assert entries[-1]["request_id"] == answer.headers["x-request-id"]


async def test_everything_else_costs_nothing(tmp_path: Path) -> None:
    async with fronting(tmp_path, Harbour()) as (gateway, _):
        key = await gateway.make_key()
        container_id = (await create(gateway, key)).json()["id"]
        for path in (f"/v1/containers/{container_id}", "/v1/containers", "/v1/containers/cntr_unknown"):
            answer = await gateway.client.get(path, headers=bearer(key))
            assert answer.headers["x-quaymaster-cost-usd"] == "0"


async def test_a_use_that_prolongs_a_life_is_held_for_before_its_answer(tmp_path: Path) -> None:
    async with fronting(tmp_path, Harbour()) as (gateway, _):
        key = await gateway.make_key(max_budget=ROOM)
        container_id = (await create(gateway, key)).json()["id"]
        query(
            tmp_path,
            "UPDATE holds SET started_at = datetime(started_at, '-150 seconds') || '.000000',"
            " covered_until = datetime(covered_until, '-150 seconds') || '.000000'",
        )
        for _ in range(3):
            answer = await gateway.client.get(f"/v1/containers/{container_id}", headers=bearer(key))
            assert answer.status_code == 200
            assert balance(tmp_path)[0] == 22_500_000 + 3 * 1_500_000
        kinds = query(tmp_path, "SELECT kind FROM ledger_entries ORDER BY number")
        assert [entry["kind"] for entry in kinds] == ["reserve", "settle", "reserve"]


async def test_a_client_that_leaves_before_the_answer_has_used_the_container(tmp_path: Path) -> None:
    """Else whoever always leaves keeps a container alive that nobody pays for."""
    quay, asked = Harbour(), asyncio.Event()

    async def keeps_files_waiting(peer: Peer) -> None:
        while True:
            request = await peer.request()
            if request.method == b"GET":
                asked.set()
                await peer.gone()
                return
            await quay._create(peer, request)

    async with fronting(tmp_path, keeps_files_waiting) as (gateway, _):
        key = await gateway.make_key()
        container_id = (await create(gateway, key)).json()["id"]
        async with raw_connection(gateway.port) as client:
            authorization = f"Authorization: Bearer {key}\r\n".encode()
            await client.send(head("GET", f"/v1/containers/{container_id}/files", authorization=authorization))
            await asyncio.wait_for(asked.wait(), 5)
            client.leave()
        await until(lambda: balance(tmp_path) == (22_500_000 + 1_500_000, 7_500_000, 1))


async def test_what_the_client_has_already_is_a_use_too(tmp_path: Path) -> None:
    """An upstream that answers 304 has looked into the container."""
    quay = Harbour()

    async def nothing_new(peer: Peer) -> None:
        while True:
            request = await peer.request()
            await (peer.send(reply(304)) if request.method == b"GET" else quay._create(peer, request))

    async with fronting(tmp_path, nothing_new) as (gateway, _):
        key = await gateway.make_key()
        container_id = (await create(gateway, key)).json()["id"]
        headers = bearer(key) | {"If-None-Match": '"a"'}
        assert (await gateway.client.get(f"/v1/containers/{container_id}/files", headers=headers)).status_code == 304
        assert balance(tmp_path) == (22_500_000 + 1_500_000, 7_500_000, 1)


async def test_a_request_that_broke_off_has_used_the_container_and_one_that_never_left_has_not(tmp_path: Path) -> None:
    quay = Harbour()

    async def breaks_off(peer: Peer) -> None:
        while (request := await peer.request()).method == b"POST":
            await quay._create(peer, request)
        peer.reset()

    async with fronting(tmp_path, breaks_off) as (gateway, upstream):
        key = await gateway.make_key()
        broken, unreachable = [(await create(gateway, key)).json()["id"] for _ in range(2)]
        for container_id in (broken, unreachable):
            if container_id == unreachable:
                upstream.stop_listening()
            answer = await gateway.client.get(f"/v1/containers/{container_id}/files", headers=bearer(key))
            assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_unreachable")
        held = "SELECT container_id, reserved_nanousd FROM holds"
        await until(lambda: sum(row["reserved_nanousd"] for row in query(tmp_path, held)) > 2 * 22_500_000)
    assert {row["container_id"]: row["reserved_nanousd"] for row in query(tmp_path, held)} == {
        broken: 22_500_000 + 1_500_000,
        unreachable: 22_500_000,
    }


async def test_what_has_expired_is_settled_without_asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.main.CLOSE_SECONDS", 0.1)
    quay = Harbour()
    async with fronting(tmp_path, quay) as (gateway, upstream):
        await create(gateway, await gateway.make_key())
        asked = len(upstream.requests)
        query(tmp_path, "UPDATE holds SET covered_until = datetime(covered_until, '-30 minutes') || '.000000'")
        await until(lambda: balance(tmp_path)[2] == 0)
        assert balance(tmp_path) == (0, 30_000_000, 0)
        assert len(upstream.requests) == asked


@pytest.mark.parametrize("status", [400, 429])
async def test_a_create_that_fails_costs_nothing(tmp_path: Path, status: int) -> None:
    quay = Harbour()
    quay.instead.append(answering(status))
    async with fronting(tmp_path, quay) as (gateway, _):
        answer = await create(gateway, await gateway.make_key())
        assert (answer.status_code, answer.headers["x-quaymaster-cost-usd"]) == (status, "0")
        assert balance(tmp_path) == (0, 0, 0)


async def test_what_may_have_been_made_stays_held(tmp_path: Path) -> None:
    quay = Harbour()
    quay.instead.append(resetting)
    async with fronting(tmp_path, quay) as (gateway, _):
        assert (await create(gateway, await gateway.make_key())).status_code == 502
        assert balance(tmp_path) == (30_000_000, 0, 1)


async def test_an_upstream_that_cannot_be_reached_costs_nothing(tmp_path: Path) -> None:
    async with ScriptedUpstream(Harbour()) as upstream:
        origin = upstream.origin
    async with serving_gateway(tmp_path, forwarding_to(origin)) as gateway:
        assert (await create(gateway, await gateway.make_key())).status_code == 502
        assert balance(tmp_path) == (0, 0, 0)


async def test_a_client_that_leaves_is_charged_all_the_same(tmp_path: Path) -> None:
    quay = Harbour()
    quay.may_answer.clear()
    async with fronting(tmp_path, quay) as (gateway, _):
        key = await gateway.make_key(team_id="sea")
        asking = asyncio.create_task(create(gateway, key))
        await quay.creating.wait()
        asking.cancel()
        await until(lambda: query(tmp_path, "SELECT * FROM creations WHERE lost"))
        quay.may_answer.set()
        await until(lambda: balance(tmp_path, "team")[1])
        assert balance(tmp_path, "team") == (22_500_000, 7_500_000, 1)


async def test_a_create_that_is_asked_for_again_is_charged_once(tmp_path: Path) -> None:
    quay = Harbour()
    async with fronting(tmp_path, quay) as (gateway, _):
        key = await gateway.make_key(max_budget=ROOM)
        headers = bearer(key) | {"Idempotency-Key": "once"}
        answers = [
            await gateway.client.post("/v1/containers", json={"name": "crate"}, headers=headers) for _ in range(3)
        ]
        assert [answer.headers["x-quaymaster-cost-usd"] for answer in answers] == [LEAST, "0", "0"]
        assert len({answer.json()["id"] for answer in answers}) == len(quay.made) == 1
        assert balance(tmp_path)[1] == 7_500_000


async def test_a_client_says_how_long_a_container_lives(tmp_path: Path) -> None:
    quay = Harbour()
    quay.instead.append(answering(400))
    async with fronting(tmp_path, quay) as (gateway, _):
        key = await gateway.make_key(max_budget=ROOM / 2)
        assert (await create(gateway, key)).status_code == 429
        ten = {"anchor": "last_active_at", "minutes": 10}
        assert (await create(gateway, key, expires_after=ten)).status_code == 400
        (held,) = query(tmp_path, "SELECT * FROM ledger_entries WHERE kind = 'reserve'")
        assert held["reserved_nanousd"] == 15_000_000
