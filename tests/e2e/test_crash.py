"""kill -9 while containers are being made. `tests/chaos/kill_creates.py` does it a hundred times, in real time, and
`tests/chaos/kill_spending.py` fifty times."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.creating import Creating, creating
from tests.chaos.kill_spending import check, close_everything
from tests.chaos.spending import Spending, spending, troubles, troubles_at_the_end
from tests.e2e.rows import creations, let_leases_end, query, until

KILLS = 5


def let_two_minutes_pass(run: Creating | Spending) -> None:
    """For the upstream's containers as for the intents, and for whose turn it was to look for them."""
    let_leases_end(run.folder)
    query(run.folder, "DELETE FROM turns")
    for made in (run.quay if isinstance(run, Creating) else run.port).made:
        made["created_at"] -= 120


async def test_every_container_has_its_owner_after_a_kill(tmp_path: Path) -> None:
    reconciled = 0
    async with creating(tmp_path) as run:
        for _ in range(KILLS):
            async with run.gateway() as gateway:
                await until(lambda: all(one["state"] != "pending" for one in creations(tmp_path)))
                run.check()
                reconciled += sum("container_reconciled" in line for line in gateway.lines)
                await run.until_killed(gateway)
            let_two_minutes_pass(run)
        async with run.gateway() as gateway:
            await until(lambda: all(one["state"] != "pending" for one in creations(tmp_path)))
            run.check()
            reconciled += sum("container_reconciled" in line for line in gateway.lines)
        assert len(run.quay.made) >= KILLS
    assert reconciled, "no kill came between a container and its registration"


async def test_the_books_agree_after_a_kill(tmp_path: Path) -> None:
    async with spending(tmp_path) as run:
        for _ in range(KILLS):
            async with run.gateway() as gateway:
                await run.until_killed(gateway)
            check(troubles(run))
        let_two_minutes_pass(run)
        async with run.gateway() as gateway:
            await until(lambda: not run.pending())
            check(troubles(run) + troubles_at_the_end(run))
            await close_everything(run, gateway)
