"""Forgetting what is long over."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from app.domain.containers import CreationState, Ending
from app.domain.requests import RequestRow
from app.registry.retention import REQUESTS_AT_ONCE, RequestRetention, Retention
from tests.logs import captured_log
from tests.registry.harbour import Harbour
from tests.storage.containers import ANSWER, creation
from tests.storage.keys import NOON
from tests.storage.spending import order


async def test_the_dead_are_kept_for_so_many_days(harbour: Harbour) -> None:
    for name, days in (("cntr_new", 29.9), ("cntr_old", 30.1)):
        await harbour.add(name, hours_old=24 * 40)
        await harbour.containers.end(name, Ending.DELETED, NOON - timedelta(days=days))
    await harbour.add("cntr_alive", hours_old=24 * 40)
    with captured_log() as log:
        await Retention(harbour.containers, retain_days=30, clock=harbour.clock).scheduled()
    assert await harbour.containers.registered(["cntr_new", "cntr_old", "cntr_alive"]) == {"cntr_new", "cntr_alive"}
    assert [event["rows"] for event in log.events("registry_purged")] == [1]


async def test_an_answer_is_kept_as_long_as_its_idempotency_key_stands_for_it(harbour: Harbour) -> None:
    kept = creation(started_at=NOON - timedelta(hours=23.9), idempotency_key="a")
    over = creation(started_at=NOON - timedelta(hours=24.1), idempotency_key="b")
    pending = creation(started_at=NOON - timedelta(hours=24.1), idempotency_key="c")
    for each in (kept, over, pending):
        await harbour.creations.begin(each, order(), same_key_since=NOON - timedelta(days=9))
    for each in (kept, over):
        await harbour.creations.fail(each.creation_id, ANSWER)
    await Retention(harbour.containers, retain_days=30, clock=harbour.clock).scheduled()
    found = [await harbour.creations.get(each.creation_id) for each in (kept, over, pending)]
    assert [each and each.state for each in found] == [CreationState.FAILED, None, CreationState.PENDING]


async def test_one_process_forgets_for_all(harbour: Harbour) -> None:
    first, second = (Retention(harbour.containers, retain_days=0, clock=harbour.clock) for _ in range(2))
    await first.scheduled()
    await harbour.add("cntr_1")
    await harbour.containers.end("cntr_1", Ending.DELETED, NOON - timedelta(days=1))
    await second.scheduled()
    assert await harbour.status("cntr_1") == "deleted"


class Shelf:
    """So many rows that are old enough."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.asked: list[tuple[datetime, int]] = []

    def add(self, rows: Sequence[RequestRow]) -> None:
        raise NotImplementedError

    async def purge(self, before: datetime, limit: int) -> int:
        self.asked.append((before, limit))
        gone = min(limit, self.rows)
        self.rows -= gone
        return gone


async def test_requests_are_forgotten_in_small_batches_by_one_process(harbour: Harbour) -> None:
    shelf = Shelf(2 * REQUESTS_AT_ONCE + 1)
    for _ in range(2):
        await RequestRetention(shelf, harbour.containers, retain_days=30, clock=harbour.clock).scheduled()
    assert shelf.rows == 0
    assert shelf.asked == [(NOON - timedelta(days=30), REQUESTS_AT_ONCE)] * 3
