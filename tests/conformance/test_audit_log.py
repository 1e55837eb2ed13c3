"""The audit log: what is written down, and that nobody can change it unseen; over SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest
from sqlalchemy import Connection, delete, select, update

from app.domain.accounts import Limits
from app.domain.containers import Access
from app.domain.stores import AliasTaken, AuditVerdict, Deed
from app.storage import audit as storage
from app.storage.audit import SqlAuditLog
from app.storage.containers import SqlContainerStore
from app.storage.engine import Database
from app.storage.keys import SqlKeyStore
from app.storage.tables import audit
from tests.storage.containers import container
from tests.storage.keys import DEED, virtual_key

AN_ADMIN = Deed("0123456789abcdef", "key.update", "req_9")


@pytest.fixture
async def log(database: Database) -> SqlAuditLog:
    await database.migrate()
    return SqlAuditLog(database)


async def filled(log: SqlAuditLog, count: int = 5) -> None:
    for number in range(count):
        await log.append(DEED, f"team:{number}", {"number": number}, {"words": ["ü", "\ud800", "\0", 1.5e-9, None]})


async def test_a_key_is_written_down_before_and_after_without_its_secrets(log: SqlAuditLog, database: Database) -> None:
    store = SqlKeyStore(database)
    key = virtual_key(previous_secret_hash=b"p" * 32, metadata={"a": 1})
    await store.add(key, DEED)
    await store.change(key.key_id, lambda old: replace(old, limits=Limits(rpm_limit=5), tags=("x",)), AN_ADMIN)
    await store.delete([key.key_id], replace(AN_ADMIN, action="key.delete"))
    rows, total = await log.page(offset=0, limit=10)
    assert total == 3
    deleted, changed, added = rows
    assert [(row.number, row.actor, row.action, row.request_id) for row in (added, changed, deleted)] == [
        (1, "master", "key.test", "req_1"),
        (2, "0123456789abcdef", "key.update", "req_9"),
        (3, "0123456789abcdef", "key.delete", "req_9"),
    ]
    assert {row.subject for row in rows} == {f"key:{key.key_id}"}
    assert added.before is None
    assert deleted.after is None
    assert added.after == changed.before
    assert changed.after == deleted.before
    assert changed.before is not None
    assert changed.after is not None
    assert dict(changed.after) == dict(changed.before) | {"tags": ["x"], "limits": {"rpm_limit": 5}}
    assert not any("hash" in name for name in changed.after)
    assert await log.verify() == AuditVerdict(rows=3, head=deleted.hash.hex())


async def test_what_is_rolled_back_is_not_written_down(log: SqlAuditLog, database: Database) -> None:
    store = SqlKeyStore(database)
    await store.add(virtual_key(alias="prod"), DEED)
    with pytest.raises(AliasTaken):
        await store.add(virtual_key(alias="prod"), DEED)
    assert (await log.page(offset=0, limit=1))[1] == 1


async def test_containers_that_are_given_away_and_shared(log: SqlAuditLog, database: Database) -> None:
    store, crate = SqlContainerStore(database), container()
    await store.adopt(crate)
    assert (await log.page(offset=0, limit=1))[1] == 0
    await store.adopt(replace(crate, owner=None), Deed("master", "container.adopt"))
    await store.share(crate.container_id, "user:ann", Access.READ, Deed("master", "container.share"))
    await store.share(crate.container_id, "user:ann", Access.WRITE, Deed("master", "container.share"))
    await store.share(crate.container_id, "user:ann", None, Deed("master", "container.unshare"))
    assert not await store.share(crate.container_id, "user:ann", None, Deed("master", "container.unshare"))
    rows, _ = await log.page(offset=0, limit=10, subject=f"container:{crate.container_id}")
    assert [(row.action, row.before, row.after) for row in rows[::-1]] == [
        ("container.adopt", {"owner": "team:sea"}, {"owner": None}),
        ("container.share", {"shares": {}}, {"shares": {"user:ann": "read"}}),
        ("container.share", {"shares": {"user:ann": "read"}}, {"shares": {"user:ann": "write"}}),
        ("container.unshare", {"shares": {"user:ann": "write"}}, {"shares": {}}),
    ]


async def test_anybody_can_work_out_the_hashes(log: SqlAuditLog) -> None:
    """As docs/admin.md says it, with nothing of ours."""
    await filled(log)
    rows, _ = await log.page(offset=0, limit=10)
    previous = "0" * 64
    for row in rows[::-1]:
        content = {
            "number": row.number,
            "at": row.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f+00:00"),
            "actor": row.actor,
            "action": row.action,
            "subject": row.subject,
            "before": row.before,
            "after": row.after,
            "request_id": row.request_id,
            "previous_hash": previous,
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        previous = hashlib.sha256(text.encode()).hexdigest()
        assert row.hash.hex() == previous


async def test_an_empty_log_is_whole(log: SqlAuditLog) -> None:
    assert await log.verify() == AuditVerdict(rows=0)


async def test_a_long_log_is_read_some_rows_at_a_time(log: SqlAuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "ROWS_AT_ONCE", 2)
    await filled(log, 5)
    assert (await log.verify()).rows == 5
    await filled(log, 1)
    assert (await log.verify()).rows == 6


async def test_rows_that_are_added_at_the_same_time_stand_in_one_chain(database_url: str, log: SqlAuditLog) -> None:
    others = [Database.open(database_url) for _ in range(2)]
    try:
        logs = [log, *(SqlAuditLog(other) for other in others)]
        await asyncio.gather(*(logs[number % 3].append(DEED, f"key:{number}", None, None) for number in range(60)))
    finally:
        for other in others:
            await other.close()
    assert (await log.verify()).rows == 60


def change(**values: Any) -> Callable[[Connection], object]:
    return lambda connection: connection.execute(update(audit).where(audit.c.number == 3).values(**values))


def remove(*numbers: int) -> Callable[[Connection], object]:
    return lambda connection: connection.execute(delete(audit).where(audit.c.number.in_(numbers)))


def rewrite(connection: Connection) -> None:
    """Change a row and give it the right hash: the next row tells."""
    row = dict(connection.execute(select(audit).where(audit.c.number == 3)).mappings().one()) | {"actor": "nobody"}
    connection.execute(update(audit).where(audit.c.number == 3).values(actor="nobody", hash=storage.row_hash(row)))


def insert_one(connection: Connection) -> None:
    """Put a row after the third, and count the later ones on."""
    for number in (5, 4):
        connection.execute(update(audit).where(audit.c.number == number).values(number=number + 1))
    row = dict(connection.execute(select(audit).where(audit.c.number == 3)).mappings().one())
    row |= {"number": 4, "previous_hash": row["hash"]}
    connection.execute(audit.insert().values(**row | {"hash": storage.row_hash(row)}))


def swap(connection: Connection) -> None:
    for old, new in ((3, 99), (4, 3), (99, 4)):
        connection.execute(update(audit).where(audit.c.number == old).values(number=new))


@pytest.mark.parametrize(
    ("tamper", "broken_at"),
    [
        pytest.param(change(actor="nobody"), 3, id="actor"),
        pytest.param(change(action="key.new"), 3, id="action"),
        pytest.param(change(subject="team:other"), 3, id="subject"),
        pytest.param(change(before={"number": 7}), 3, id="before"),
        pytest.param(change(after=None), 3, id="after"),
        pytest.param(change(request_id=None), 3, id="request id"),
        pytest.param(change(previous_hash=bytes(32)), 3, id="previous hash"),
        pytest.param(change(hash=bytes(32)), 3, id="hash"),
        pytest.param(rewrite, 4, id="a row with its hash"),
        pytest.param(remove(1), 2, id="the first row removed"),
        pytest.param(remove(3), 4, id="a row removed"),
        pytest.param(insert_one, 5, id="a row inserted"),
        pytest.param(swap, 3, id="two rows swapped"),
    ],
)
async def test_tampering_is_seen(
    log: SqlAuditLog, database: Database, tamper: Callable[[Connection], object], broken_at: int
) -> None:
    await filled(log)
    assert (await log.verify()).broken_at is None
    await database.write(tamper)
    verdict = await log.verify()
    assert (verdict.broken_at, verdict.head) == (broken_at, None)
    assert verdict.rows < broken_at


async def test_that_the_last_rows_are_missing_shows_in_the_head_only(log: SqlAuditLog, database: Database) -> None:
    await filled(log)
    before = await log.verify()
    await database.write(remove(5))
    after = await log.verify()
    assert (after.rows, after.broken_at) == (4, None)
    assert after.head != before.head
