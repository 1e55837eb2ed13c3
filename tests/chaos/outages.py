"""PostgreSQL, or Redis, stopped for 10 s under load and started again, with three workers behind one address.

    python -m tests.chaos.outages --seconds 10

No answer is a 500 or has another shape than OpenAI's, creates work again within 5 s of the server's return, and in the
end every container that was made is paid for once and owned, and nothing else is. Prints what was answered, and when.
Both servers are started from Debian's packages. Takes about two minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal
from uuid import uuid4

import httpx
import psycopg

from app.domain.money import to_nanousd
from app.domain.spending import Balance
from app.storage.engine import Database
from app.storage.ledger import SqlLedger
from tests.e2e.gateway import RunningGateway, forwarding_to, running_gateway
from tests.fakes.quay import Quay
from tests.fakes.scripted import ScriptedUpstream
from tests.services import Server, missing, postgres_programs, postgres_that_stops, redis_server

WHOLE: Final = to_nanousd("0.03")
LEAST: Final = to_nanousd("0.0075")
CLIENTS: Final = 8
RECOVERY_SECONDS: Final = 5.0
SETTLED_SECONDS: Final = 120.0
"""A create whose end nobody saw is found when its lease is over."""

Which = Literal["postgres", "redis"]


@dataclass
class Run:
    """What was answered in each phase, and how long after the server's return creates worked again."""

    answers: dict[str, Counter[int]] = field(default_factory=dict)
    phase: str = "before"
    recovery_seconds: float = 0.0
    made: int = 0

    async def take(self, asked: Awaitable[httpx.Response]) -> httpx.Response:
        """Count an answer, under the phase in which it was asked for and came, if that is one.

        Raises AssertionError where no client of OpenAI's would understand it.
        """
        asked_in = self.phase
        answer = await asked
        phase = asked_in if asked_in == self.phase else "in between"
        self.answers.setdefault(phase, Counter())[answer.status_code] += 1
        assert answer.status_code != 500, answer.text
        if answer.status_code >= 400:
            assert answer.json()["error"].keys() >= {"message", "type", "code", "param"}, answer.text
        return answer


async def outage(folder: Path, which: Which, seconds: float, *, workers: int = 3) -> Run:
    """Stop one of the servers for so long. Raises AssertionError."""
    programs = postgres_programs()
    if programs is None:
        missing("PostgreSQL (Debian's package `postgresql`)")
    with ExitStack() as stack:
        servers = {
            "postgres": await asyncio.to_thread(stack.enter_context, postgres_that_stops(programs)),
            "redis": await asyncio.to_thread(stack.enter_context, redis_server()),
        }
        name = f"quay_{uuid4().hex}"
        with psycopg.connect(f"{servers['postgres'].url}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        database_url = f"{servers['postgres'].url}/{name}"
        quay = Quay()
        async with ScriptedUpstream(quay) as upstream:
            settings = forwarding_to(upstream.origin, server={"workers": workers})
            context = running_gateway(folder, settings, DATABASE_URL=database_url, REDIS_URL=servers["redis"].url)
            gateway = await asyncio.to_thread(stack.enter_context, context)
            run = await _under_load(gateway, servers[which], seconds)
            run.made = len(quay.made)
            await _until_settled(gateway, database_url, quay)
    return run


async def _under_load(gateway: RunningGateway, server: Server, seconds: float) -> Run:
    run = Run()
    key = await asyncio.to_thread(gateway.make_key, team_id="sea", rpm_limit=1_000_000, max_parallel_requests=1000)
    headers = {"Authorization": f"Bearer {key}"}

    stopped = asyncio.Event()

    async def load() -> None:
        async with httpx.AsyncClient(base_url=f"{gateway.url}/v1/containers", headers=headers, timeout=30) as client:
            while not stopped.is_set():
                await run.take(client.post("", json={"name": "crate"}))
                await run.take(client.get("", params={"limit": 5}))

    async def works() -> bool:
        """Whether new connections, and so all of the workers, make containers."""
        async with httpx.AsyncClient(headers=headers, timeout=30) as client:
            url, closing = f"{gateway.url}/v1/containers", {"connection": "close"}
            made = [run.take(client.post(url, json={"name": "probe"}, headers=closing)) for _ in range(3 * CLIENTS)]
            answers = await asyncio.gather(*made)
        return all(answer.status_code == 200 for answer in answers)

    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(load())
        await asyncio.sleep(1)
        run.phase = "while it went"
        await asyncio.to_thread(server.stop)
        run.phase = "while it was away"
        await asyncio.sleep(seconds)
        run.phase = "while it came back"
        await asyncio.to_thread(server.start)
        back_at = time.monotonic()
        while not await works():
            assert time.monotonic() - back_at < RECOVERY_SECONDS, run.answers
        run.recovery_seconds = time.monotonic() - back_at
        run.phase = "after"
        await asyncio.sleep(1)
        stopped.set()
    assert set(run.answers["after"]) == {200}, run.answers
    return run


async def _until_settled(gateway: RunningGateway, database_url: str, quay: Quay) -> None:
    """Wait until everything that was made is owned and paid for, once, and nothing else is."""
    made = len(quay.made)
    right = Balance(
        account="team:sea",
        spent_nanousd=made * LEAST,
        total_spent_nanousd=made * LEAST,
        reserved_nanousd=made * (WHOLE - LEAST),
        containers=made,
        memory_gb=made,
    )
    database = Database.open(database_url)
    try:
        ledger, deadline = SqlLedger(database), time.monotonic() + SETTLED_SECONDS
        while True:
            wrong = await ledger.verify()
            assert wrong == [], wrong
            (team,) = (await ledger.balances(["team:sea"], datetime.now(UTC))).values()
            if team == right:
                break
            assert time.monotonic() < deadline, (team, right)
            await asyncio.sleep(0.5)
    finally:
        await database.close()
    listed = await asyncio.to_thread(lambda: gateway.client.get("/container/list?owner=team:sea&size=1").json())
    assert listed["total_count"] == made, (listed["total_count"], made)


async def main() -> None:
    """Stop the one, then the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--which", choices=("postgres", "redis"), nargs="+", default=["postgres", "redis"])
    arguments = parser.parse_args()
    for which in arguments.which:
        with tempfile.TemporaryDirectory(prefix="quaymaster-outage-") as folder:
            run = await outage(Path(folder), which, arguments.seconds)
        told = json.dumps({phase: dict(counts) for phase, counts in run.answers.items()})
        print(f"{which}: works again after {run.recovery_seconds:.2f} s, {run.made} containers made, answers {told}")


if __name__ == "__main__":
    asyncio.run(main())
