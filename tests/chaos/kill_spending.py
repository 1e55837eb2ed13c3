"""Fifty times kill -9 while containers are made, used and deleted within budgets: do all the books agree afterwards?

    python -m tests.chaos.kill_spending --kills 50 --gateways 2 [--postgres]

One create in four fails, in every way there is. After each kill, and at the end, when what was left pending is decided:
balances are the sums of their entries, each container that the upstream has made is registered and paid for once, by
the key that wanted it, what never came about costs nothing, and whatever an answer said that it cost is booked under
its request. Then everything is deleted or expires, and nothing may be reserved any more. Takes about three minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg import sql

from tests.chaos.spending import Spending, spending, troubles, troubles_at_the_end
from tests.e2e.gateway import MASTER_KEY, ROOT, RunningGateway, clean_environment
from tests.e2e.rows import until
from tests.services import postgres_programs, postgres_server

MINUTES = 120.0


async def run(folder: Path, kills: int, seed: int, database_url: str | None) -> str:
    """Kill one gateway so many times; what there is to say of it. Raises AssertionError."""
    async with spending(folder, seed, database_url) as run:
        for _ in range(kills):
            async with run.gateway() as gateway:
                await run.until_killed(gateway)
            check(troubles(run))
        left = run.pending()
        async with run.gateway() as gateway:
            started_at = time.monotonic()
            await until(lambda: not run.pending(), MINUTES)
            seconds = time.monotonic() - started_at
            check(troubles(run) + troubles_at_the_end(run))
            await close_everything(run, gateway)
        return (
            f"{kills} kills, {len(run.port.made)} containers ({run.port.refused} creates refused by the upstream),"
            f" {left} pending after the last kill, decided {seconds:.0f} s later; {len(run.costs)} answers cost"
            f" {sum(run.costs.values()) / 1e9:.4f} USD, booked are {booked(run) / 1e9:.4f}; {dict(run.statuses)}"
        )


async def close_everything(run: Spending, gateway: RunningGateway) -> None:
    """Delete what lives, let the rest expire: nothing is reserved then, and the commands say that all is well."""
    await run.delete_all(gateway)
    check(troubles(run))
    assert not run.port.living, run.port.living
    run.expire()
    await until(lambda: not run.rows("SELECT * FROM holds WHERE closed_at IS NULL"), 30)
    check(troubles(run) + troubles_at_the_end(run))
    left = run.rows("SELECT * FROM balances WHERE reserved_nanousd != 0 OR containers != 0 OR memory_gb != 0")
    assert not left, left
    for command in ("verify-ledger", "verify-audit"):
        said = await asyncio.to_thread(verify, run, command)
        assert said.returncode == 0, (command, said.stdout, said.stderr)


def verify(run: Spending, command: str) -> subprocess.CompletedProcess[str]:
    """Have the database verified, as an operator does."""
    return subprocess.run(
        [sys.executable, "-m", "app", "db", command, "--config", str(run.folder / "gateway.yaml")],
        cwd=run.folder,
        env=clean_environment(
            QUAYMASTER_MASTER_KEY=MASTER_KEY,
            QUAYMASTER_DATA_DIR=str(run.folder / "data"),
            PYTHONPATH=str(ROOT),
            **run.environment,
        ),
        capture_output=True,
        text=True,
        check=False,
    )


def booked(run: Spending) -> int:
    """What was spent, by the ledger, in nano-USD."""
    return int(run.rows("SELECT sum(spent_nanousd) AS nanousd FROM ledger_entries")[0]["nanousd"])


def check(found: list[str]) -> None:
    """Raises AssertionError where there is trouble."""
    assert not found, f"{len(found)} troubles:\n" + "\n".join(found[:20])


async def main() -> None:
    """Run them all at once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--gateways", type=int, default=2)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument(
        "--postgres", action="store_true", help="one PostgreSQL, a database for each, instead of SQLite"
    )
    arguments = parser.parse_args()
    each = -(-arguments.kills // arguments.gateways)
    with tempfile.TemporaryDirectory(prefix="quaymaster-chaos-") as folder, ExitStack() as stack:
        databases: list[str | None] = [None] * arguments.gateways
        if arguments.postgres:
            programs = postgres_programs()
            assert programs is not None, "PostgreSQL is not installed"
            server = stack.enter_context(postgres_server(programs))
            databases = [new_database(server) for _ in databases]
        folders = [Path(tempfile.mkdtemp(dir=folder)) for _ in databases]
        runs = [run(one, each, arguments.seed + number, databases[number]) for number, one in enumerate(folders)]
        for line in await asyncio.gather(*runs):
            print(line)


def new_database(server: str) -> str:
    """Make a database there; its URL."""
    name = f"spending_{uuid4().hex}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return f"{server}/{name}"


if __name__ == "__main__":
    asyncio.run(main())
