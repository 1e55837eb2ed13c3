"""No statement of the registry reads a whole table, however much others have in it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Connection, event, insert, text

from app.domain.accounts import AccountKind
from app.domain.containers import Access, CreationState, Ending
from app.domain.ports import ContainerFilter, ContainerQuery, Observations, SeenFile
from app.domain.reports import EntryFilter
from app.storage import prepared, tables
from app.storage.containers import SqlContainerStore
from app.storage.creations import SqlCreationStore
from app.storage.engine import Database
from app.storage.ledger import USES, SqlLedger
from app.storage.reports import SqlSpendReports
from tests.storage.containers import ANSWER, at, container, creation, register, sighting
from tests.storage.spending import account, order
from tests.storage.test_together import at_once

FOREIGN = 2000
BIG = "containers|container_shares|container_files|creations|balances|holds|ledger_entries"
ORDERED = "ix_containers_created_at_number"
"""The one index that may be walked from its end, and only for an operator's pages: it gives them their order."""

WHOLE_TABLE = re.compile(rf"Seq Scan on ({BIG})\b|SCAN ({BIG})(?! USING INDEX {ORDERED})")
OF_EVERYBODY = re.compile(r"ix_containers_(end|expiring|status|created_at)")
"""Indexes that know nothing of owners: by them a page of one's own would be looked for among everybody's."""
COUNT_OF_ALL = "SELECT count(*) AS count_1 \nFROM containers"

Statements = dict[str, Any]


@pytest.fixture
async def crowded(database: Database) -> Database:
    """A database full of what is others'."""
    await database.migrate()
    others = [
        container(
            owner=f"user:{number % 100}",
            deployment=f"d{number % 20}",
            key_id=f"{number % 100}",
            created_at=at(number / 60),
            last_active_at=at(number / 60),
            status="running" if number % 50 else "expired",
            document=b"x" * 300,
        )
        for number in range(FOREIGN)
    ]
    await register(database, others)
    await database.write(_fill)
    return database


def _fill(connection: Connection) -> None:
    for table, values in {
        "container_files": "'f' || c.number || '-' || n.number, 1",
        "container_shares": "'user:' || ((c.number * 10 + n.number) % 990), 'read'",
    }.items():
        pairs = "FROM containers c, containers n WHERE n.number <= 10"
        connection.execute(text(f"INSERT INTO {table} SELECT c.number, {values} {pairs}"))
    begun = [
        {
            "creation_id": uuid4().hex,
            "owner": f"user:{number % 100}",
            "key_id": f"{number % 100}",
            "deployment": "here",
            "name": "crate",
            "fingerprint": number.to_bytes(32),
            "started_at": at(number),
            "lease_until": at(number),
            "idempotency_key": f"{number}",
            "state": CreationState.DONE,
            "lost": number % 2 == 0,
        }
        for number in range(FOREIGN)
    ]
    connection.execute(insert(tables.creations), begun)
    held = [
        {
            "hold_id": one["creation_id"],
            "container_id": f"{number}",
            "key_id": f"{number % 100}",
            "tags": [],
            "provider": "openai",
            "deployment": "here",
            "memory_limit": "1g",
            "memory_gb": 1,
            "nanousd_per_unit": 1,
            "minimum_minutes": 0,
            "minutes": 20,
            "started_at": at(number),
            "covered_until": at(number),
            "reserved_nanousd": 0,
            "spent_nanousd": 0,
            "closed_at": at(number) if number % 100 else None,
        }
        for number, one in enumerate(begun)
    ]
    connection.execute(insert(tables.holds), held)
    zeros = dict.fromkeys(("spent_nanousd", "spent_before_nanousd", "reserved_nanousd", "containers", "memory_gb"), 0)
    connection.execute(insert(tables.balances), [{"account": f"key:{n}", **zeros} for n in range(FOREIGN)])


@asynccontextmanager
async def watching(database: Database) -> AsyncIterator[Statements]:
    """Every statement that is run meanwhile, with the last parameters it had."""
    statements: Statements = {}

    def note(_: object, __: object, statement: str, parameters: Any, ___: object, many: bool) -> None:
        statements[statement] = parameters[0] if many else parameters

    def execute(connection: Connection, statement: str, parameters: Any = (), *, many: bool = False) -> Any:
        note(None, None, statement, parameters, None, many)
        return run(connection, statement, parameters, many=many)

    engine, run = database._backend.engine, prepared.execute
    event.listen(engine, "before_cursor_execute", note)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepared, "execute", execute)
        yield statements
    event.remove(engine, "before_cursor_execute", note)


async def plans(database: Database, statements: Statements, *, at_least: int) -> dict[str, str]:
    """How the database goes about each statement that reads rows, of which there are some."""
    found = {}
    for statement, parameters in statements.items():
        if statement.startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
            found[statement] = await database.write(lambda c, s=statement, p=parameters: _plan(c, s, p))  # type: ignore[misc]
    assert len(found) >= at_least
    return found


async def analyze(database: Database) -> None:
    """Have PostgreSQL count what is in it, as it does by itself. SQLite has to do without: nobody tells it to."""
    await database.write(_analyze)


def _analyze(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("ANALYZE"))


def _plan(connection: Connection, statement: str, parameters: Any) -> str:
    explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    return "\n".join(str(row[-1]) for row in connection.exec_driver_sql(f"{explain} {statement}", parameters))


def whole_tables(plans: dict[str, str], *, by_an_operator: bool = False) -> str:
    """The plans that read a whole table, other than to count it."""
    return "\n\n".join(
        f"{statement}\n{plan}"
        for statement, plan in plans.items()
        if statement != COUNT_OF_ALL and (WHOLE_TABLE.search(plan) or (ORDERED in plan and not by_an_operator))
    )


async def test_the_test_would_notice(crowded: Database) -> None:
    async with watching(crowded) as statements:
        await crowded.read(lambda c: c.execute(text("SELECT * FROM containers WHERE memory_limit = '2g'")).all())
    assert "memory_limit" in whole_tables(await plans(crowded, statements, at_least=1))


async def test_every_way_to_ask_about_one_container_has_an_index(crowded: Database) -> None:
    await analyze(crowded)
    store, crate = SqlContainerStore(crowded), container()
    seen = SeenFile(container_id=crate.container_id, file_id="f", bytes=1)
    async with watching(crowded) as statements:
        await store.adopt(crate)
        await store.adopt(crate)
        await store.ownership(crate.container_id)
        await store.accessible(crate.container_id, "user:1", ("user:1", "key:1"))
        since = (await store.changed_ownerships(None))[1]
        await store.changed_ownerships(since)
        await store.file_home("f")
        await store.record(crate.container_id)
        await store.registered([crate.container_id, "cntr_0"])
        for access in (*Access, None):
            await store.share(crate.container_id, "user:ann", access)
        await store.observe(
            Observations(
                sightings=[sighting(crate)],
                active={crate.container_id: at(1)},
                files_seen=[seen],
                files_removed=[(crate.container_id, "f")],
                files_listed={crate.container_id: [seen]},
            )
        )
        for ending in Ending:
            await store.end(crate.container_id, ending, at(9))
    assert not whole_tables(await plans(crowded, statements, at_least=18))


async def test_every_page_has_an_index(crowded: Database) -> None:
    store = SqlContainerStore(crowded)
    amid = at(FOREIGN / 60 / 2)
    ours = [container(name=f"crate {n % 3}", deployment=f"d{n % 3}", created_at=amid) for n in range(30)]
    await register(crowded, ours, [(place, "key:1") for place in range(10)])
    await analyze(crowded)
    async with watching(crowded) as statements:
        for descending in (True, False):
            for after in (None, ours[5].container_id):
                for owner, identities in (("team:sea", ()), ("team:sea", ("team:sea", "key:1")), ("key:1", ("key:1",))):
                    query = ContainerQuery(owner=owner, identities=identities, after=after, descending=descending)
                    await store.page(query)
                    await store.page(replace(query, name="crate 2"))
                    await store.page(replace(query, name="crate 2", deployments=frozenset({"d2"})))
    found = await plans(crowded, statements, at_least=2 * 2 * 2 * 3)
    assert not whole_tables(found)
    assert not [plan for plan in found.values() if OF_EVERYBODY.search(plan)]


@pytest.mark.parametrize(
    "wanted",
    [
        ContainerFilter(),
        ContainerFilter(owner="user:1"),
        ContainerFilter(unowned=True),
        ContainerFilter(deployment="d1"),
        ContainerFilter(key_ids=frozenset({"1", "2"})),
        ContainerFilter(created_before=at(1)),
        ContainerFilter(owner="user:1", idle_since=at(1)),
        *(ContainerFilter(status=status) for status in ("running", "expired", "deleted", "gone")),
    ],
    ids=lambda wanted: "-".join(name for name, value in asdict(wanted).items() if value) or "all",
)
async def test_every_way_an_operator_asks_has_an_index(crowded: Database, wanted: ContainerFilter) -> None:
    await crowded.write(_few_of_each_status)
    async with watching(crowded) as statements:
        await SqlContainerStore(crowded).records(wanted, now=at(50), offset=0, limit=20)
    assert not whole_tables(await plans(crowded, statements, at_least=2), by_an_operator=True)


def _few_of_each_status(connection: Connection) -> None:
    few = "CASE number % 100 WHEN 1 THEN 'running' WHEN 2 THEN 'expired' ELSE 'starting' END"
    ending = "CASE number % 100 WHEN 3 THEN 'deleted' WHEN 4 THEN 'gone' END"
    connection.execute(text(f"UPDATE containers SET status = {few}, ending = {ending}"))
    _analyze(connection)


async def test_every_chore_has_an_index(crowded: Database) -> None:
    await analyze(crowded)
    store, now = SqlContainerStore(crowded), at(FOREIGN / 60 + 15)
    async with watching(crowded) as statements:
        await store.oldest_alive("d1", now)
        await store.end_unseen("d1", seen_before=at(1), created=(at(30), now))
        await store.take_turn("sweep", 1)
        await store.take_turn("sweep", 1)
        await store.purge(dead_before=at(20.5), begun_before=at(10))
    assert not whole_tables(await plans(crowded, statements, at_least=9))


async def test_every_step_of_a_creation_has_an_index(crowded: Database) -> None:
    await analyze(crowded)
    store, crate = SqlCreationStore(crowded), container()
    made = creation(idempotency_key="once")
    async with watching(crowded) as statements:
        for one in (made, creation(lost=True), creation()):
            await store.begin(one, order(), same_key_since=at(-1), lost_since=at(-1))
        await store.begin(made, order(), same_key_since=at(-1))
        await store.get(made.creation_id)
        await store.move(made.creation_id, "there")
        await store.renew([made.creation_id], at(2))
        await store.pending()
        await store.pending("there")
        await store.give_up(made.creation_id, at(2))
        await store.set_lost(made.creation_id)
        await store.fail(made.creation_id, ANSWER)
        await store.complete(made.creation_id, crate, ANSWER)
        await store.complete(made.creation_id, crate, ANSWER)
        await store.fail(made.creation_id, None)
    found = await plans(crowded, statements, at_least=15)
    assert not whole_tables(found)
    assert [plan for plan in found.values() if "ix_creations_lost" in plan]


async def test_what_creates_and_uses_share_has_indexes(crowded: Database) -> None:
    await analyze(crowded)
    ledger, store, payers = SqlLedger(crowded), SqlCreationStore(crowded, lambda: at(90)), order()
    intents, crates = [creation() for _ in range(3)], [container() for _ in range(3)]
    await store.begin(creation(), payers, same_key_since=at(-1))
    async with watching(crowded) as statements:
        await at_once(crowded, payers, [store.begin(one, payers, same_key_since=at(-1)) for one in intents])
        made = [store.complete(one.creation_id, it, ANSWER) for one, it in zip(intents, crates, strict=True)]
        await at_once(crowded, payers, made)
        await at_once(crowded, USES, [ledger.extend(it.container_id, at(9)) for it in crates])
    assert not whole_tables(await plans(crowded, statements, at_least=11))


async def test_every_step_of_a_hold_has_an_index(crowded: Database) -> None:
    await analyze(crowded)
    ledger, store = SqlLedger(crowded), SqlCreationStore(crowded, lambda: at(90))
    payers = (account(budget_duration="1h"), account(AccountKind.USER, "ann"), account(AccountKind.TEAM, "sea"))
    async with watching(crowded) as statements:
        for _ in range(2):
            made, crate = creation(), container()
            await store.begin(made, order(*payers), same_key_since=at(-1))
            await store.complete(made.creation_id, crate, ANSWER)  # in the next window
            await ledger.extend(crate.container_id, at(9))
        await SqlContainerStore(crowded).end(crate.container_id, Ending.DELETED, at(9))
        await ledger.close_expired(at(3), 5)
        await ledger.balances([payer.name for payer in payers], at(1))
        await ledger.set_window(payers[0].name, at(1))
    assert not whole_tables(await plans(crowded, statements, at_least=16))


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (EntryFilter(key_id="1"), "ix_ledger_entries_key_id_number"),
        (EntryFilter(user_id="ann"), "ix_ledger_entries_user"),
        (EntryFilter(team_id="sea"), "ix_ledger_entries_team"),
        (EntryFilter(container_id="7"), "ix_ledger_entries_container"),
    ],
)
async def test_every_way_to_ask_the_ledger_has_an_index(crowded: Database, wanted: EntryFilter, index: str) -> None:
    await crowded.write(_entries)
    async with watching(crowded) as statements:
        entries, _ = await SqlSpendReports(crowded).entries(wanted, after=None, limit=5, descending=True)
    assert entries
    [plan] = (await plans(crowded, statements, at_least=1)).values()
    assert index in plan


def _entries(connection: Connection) -> None:
    """Two thousand entries, of which few are anybody's in particular."""
    held = "n.hold_id, n.key_id, n.tags, n.provider, n.deployment, n.memory_limit"
    few = [f"CASE number % 400 WHEN 7 THEN '{name}' END" for name in ("ann", "sea", "7")]
    connection.execute(
        text(
            "INSERT INTO ledger_entries (at, kind, hold_id, key_id, tags, provider, deployment, memory_limit, user_id, "
            f"team_id, container_id, reserved_nanousd, spent_nanousd) SELECT n.started_at, 'settle', {held}, "
            f"{', '.join(few)}, 0, 1 FROM holds n JOIN containers c ON n.container_id = CAST(c.number AS TEXT)"
        )
    )
    _analyze(connection)
