"""Holds of expired containers are closed, however many those are."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from app.registry import closing
from app.registry.closing import Closing
from app.storage.creations import SqlCreationStore
from app.storage.engine import Database
from app.storage.ledger import GRACE, SqlLedger
from tests.logs import captured_log
from tests.storage.containers import ANSWER, at, container, creation
from tests.storage.spending import order


async def test_all_that_expired_is_closed_when_its_time_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "_AT_ONCE", 2)
    database = Database.open(f"sqlite:///{tmp_path}/quaymaster.db")
    await database.migrate()
    ledger, creations = SqlLedger(database), SqlCreationStore(database)
    for _ in range(5):
        made = creation()
        await creations.begin(made, order(), same_key_since=at(-1))
        await creations.complete(made.creation_id, container(), ANSWER)
    now: datetime = at(20) + GRACE
    chore = Closing(ledger, lambda: now)
    with captured_log() as log:
        await chore.close()
        now += timedelta(seconds=1)
        await chore.close()
        await chore.close()
    assert [event["holds"] for event in log.events("holds_closed")] == [5]
    (balance,) = (await ledger.balances(["key:0123456789abcdef"], now)).values()
    assert (balance.reserved_nanousd, balance.containers) == (0, 0)
    await database.close()
