"""One of three deployments falls ill under load: who notices, for how long, and how it comes back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.chaos.sick_deployment import AT_ONCE, opened_fleet, outage
from tests.e2e.rows import query, until
from tests.fakes.sickly import Illness

CREATES = 300
FEW = 12
"""How many may notice: those whose requests were on their way when it fell ill, and those it took to see it."""


@pytest.mark.parametrize("how", ["refuses", "fails", "resets", "hangs"])
async def test_after_the_first_few_requests_no_client_notices(tmp_path: Path, how: Illness) -> None:
    """`python -m tests.chaos.sick_deployment` does the same for longer."""
    async with opened_fleet(tmp_path, routing={"retry_deadline_seconds": 0.5}) as it:
        await it.warmed_up()
        homes = {row["deployment"]: row["container_id"] for row in query(tmp_path, "SELECT * FROM containers")}
        seen = await outage(it, how, CREATES)
        print(f"b {how}: {seen}")
        assert 0 < len(seen.failed) <= seen.sent_there <= FEW
        assert how == "hangs" or max(seen.failed) < 100  # who waits for it keeps others away, and knows no more yet
        assert how == "hangs" or not await it.is_closed(
            "b"
        )  # one that hangs is busy: who chooses the idle goes elsewhere
        before = len(it.berths["b"].asked)
        answer = await it.retrieve(homes["b"])  # where else should it be
        assert answer.status_code == {"refuses": 401, "fails": 500, "resets": 502, "hangs": 504}[how]
        assert answer.headers["x-quaymaster-deployment"] == "b"
        assert f"GET /v1/containers/{homes['b']}" in it.berths["b"].asked[before:]
        for name in "ac":
            assert (await it.retrieve(homes[name])).status_code == 200


async def test_where_all_are_ill_clients_are_told_when_to_come_back(tmp_path: Path) -> None:
    async with opened_fleet(tmp_path, routing={"cooldown_seconds": 60}) as it:
        for berth in it.berths.values():
            berth.how = "refuses"
        assert [(await it.create()).status_code for _ in range(3)] == [401] * 3
        asked = [len(berth.asked) for berth in it.berths.values()]
        assert asked == [1, 1, 1]
        answer = await it.create()
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "no_healthy_deployment"
        assert 50 <= int(answer.headers["retry-after"]) <= 60
        assert "a (refused), b (refused), c (refused)" in answer.json()["error"]["message"]
        assert [len(berth.asked) for berth in it.berths.values()] == asked
        states = await it.states()
        assert {name: (each["state"], each["reason"]) for name, each in states.items()} == dict.fromkeys(
            "abc", ("open", "refused")
        )
        assert 50 < states["a"]["retry_after_seconds"] <= 60
        assert [await it.state_in_metrics(name) for name in "abc"] == ["open"] * 3
        assert query(tmp_path, "SELECT * FROM creations WHERE state = 'pending'") == []


@pytest.mark.parametrize("how", ["refuses", "resets", "hangs"])
async def test_it_comes_back_by_a_probe_that_no_client_pays_for(tmp_path: Path, how: Illness) -> None:
    async with opened_fleet(tmp_path, routing={"cooldown_seconds": 0.3}) as it:
        ill = it.berths["b"]
        ill.how = how
        while await it.is_closed("b"):
            await it.load(AT_ONCE)
        creates = sum(line.startswith("POST") for line in ill.asked)
        assert {answer.status_code for _, answer in await it.load(30)} == {200}
        await until(lambda: any(line.startswith("GET") for line in ill.asked))  # a probe that finds it ill
        ill.how = None
        async with asyncio.timeout(10):
            while not await it.is_closed("b"):  # each look is a request: no pause is needed in between
                pass
        assert await it.state_in_metrics("b") == "closed"
        assert sum(line.startswith("POST") for line in ill.asked) == creates  # meanwhile nobody's was risked
        assert all(line.startswith("GET /v1/containers?") for line in ill.asked if line.startswith("GET"))
        assert {answer.status_code for _, answer in await it.load(30)} == {200}
        assert sum(line.startswith("POST") for line in ill.asked) > creates
