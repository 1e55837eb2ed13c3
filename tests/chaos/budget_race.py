"""A thousand creates at once with room for exactly k, over real sockets: SQLite in one process, PostgreSQL in three.

    python -m tests.chaos.budget_race --creates 1000 --room 1 7 100

Exactly k containers are made upstream, every loser gets a clean 429, and the books agree to the nano-USD. Prints how
long each run took, and fails at the first that is otherwise. PostgreSQL is started from Debian's package.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg

from app.domain.money import to_nanousd, usd_text
from app.domain.spending import Balance
from app.storage.engine import Database
from app.storage.ledger import SqlLedger
from tests.e2e.gateway import forwarding_to, running_gateway
from tests.fakes.quay import Quay
from tests.fakes.scripted import ScriptedUpstream
from tests.services import postgres_programs, postgres_server

WHOLE, LEAST = to_nanousd("0.03"), to_nanousd("0.0075")
AT_ONCE = 100
"""How many are on their way at the same time: httpx's pool takes a time for each request that grows with all."""


async def race(folder: Path, database_url: str, processes: int, creates: int, room: int) -> Counter[int]:
    """Send so many creates to so many gateways; how many got which status. Raises AssertionError."""
    quay = Quay()
    async with ScriptedUpstream(quay) as upstream:
        with ExitStack() as stack:
            gateways = []
            for number in range(processes):
                own = folder / f"{number}"
                own.mkdir()
                gateways.append(
                    await asyncio.to_thread(
                        stack.enter_context,
                        running_gateway(own, forwarding_to(upstream.origin), DATABASE_URL=database_url),
                    )
                )
            key = await asyncio.to_thread(
                gateways[0].make_key, team_id="sea", max_budget=float(usd_text(room * WHOLE)), key_alias="crane"
            )
            answers = await _answers([gateway.url for gateway in gateways], key, creates)
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses == Counter({200: room, 429: creates - room}), statuses
    assert len(quay.made) == room, len(quay.made)
    for answer in answers:
        if answer.status_code == 429:
            assert answer.json()["error"]["code"] == "budget_exceeded"
            assert answer.headers["x-should-retry"] == "false"
    await _check(database_url, room)
    return statuses


async def _answers(urls: list[str], key: str, creates: int) -> list[httpx.Response]:
    answers: list[httpx.Response] = []
    left = iter(range(creates))

    async def send(client: httpx.AsyncClient) -> None:
        for number in left:
            url = f"{urls[number % len(urls)]}/v1/containers"
            answers.append(await client.post(url, json={"name": "crate"}))

    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
        await asyncio.gather(*(send(client) for _ in range(AT_ONCE)))
    return answers


async def _check(database_url: str, room: int) -> None:
    database = Database.open(database_url)
    try:
        ledger = SqlLedger(database)
        assert await ledger.verify() == []
        (team,) = (await ledger.balances(["team:sea"], datetime.now(UTC))).values()
        assert team == Balance(
            account="team:sea",
            spent_nanousd=room * LEAST,
            total_spent_nanousd=room * LEAST,
            reserved_nanousd=room * (WHOLE - LEAST),
            containers=room,
            memory_gb=room,
        ), team
    finally:
        await database.close()


def main() -> None:
    """Run them all, and print how long each took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--creates", type=int, default=1000)
    parser.add_argument("--room", type=int, nargs="+", default=[1, 7, 100])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="quaymaster-race-") as folder, ExitStack() as stack:
        programs = postgres_programs()
        server = None if programs is None else stack.enter_context(postgres_server(programs))
        for room in arguments.room:
            runs = [(f"sqlite:///{folder}/{room}.db", 1)]
            if server is not None:
                name = f"race_{uuid4().hex}"
                with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
                    connection.execute(f"CREATE DATABASE {name}")
                runs.append((f"{server}/{name}", 3))
            for url, processes in runs:
                own = Path(folder, uuid4().hex)
                own.mkdir()
                begun = time.monotonic()
                asyncio.run(race(own, url, processes, arguments.creates, room))
                print(
                    f"{url.partition(':')[0]}, {processes} processes: {arguments.creates} creates with room for {room}:"
                    f" exactly {room} were made ({time.monotonic() - begun:.1f} s with the start)"
                )


if __name__ == "__main__":
    main()
