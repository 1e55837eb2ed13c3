"""Creates that share statements: what comes of them is what would have come of each alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, select

from app.domain.accounts import AccountKind
from app.domain.containers import Answer, Container, Creation
from app.domain.ports import ContainerTaken
from app.domain.spending import Crossing, NoRoom, Order
from app.storage import commits, prepared, tables
from app.storage.containers import SqlContainerStore
from app.storage.creations import SHARED_BYTES, SqlCreationStore
from app.storage.engine import Database
from app.storage.ledger import USES, SqlLedger
from tests.storage.containers import ANSWER, at, container, creation
from tests.storage.spending import BY_SESSION, WHOLE_LIFE, account, order
from tests.storage.test_engine import Gate

ODD = "crâte \U0001f980 \"'\\%s {}"
MANY = 103
"""More than one statement for SQLite takes."""


@pytest.fixture(autouse=True)
def _no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "GROUP_SECONDS", 60.0)


@pytest.fixture
async def migrated(database: Database) -> Database:
    await database.migrate()
    return database


@asynccontextmanager
async def statements(database: Database) -> AsyncIterator[list[str]]:
    """The hot statements that are run meanwhile."""
    seen: list[str] = []

    def execute(connection: Connection, statement: str, parameters: Any = (), *, many: bool = False) -> Any:
        seen.append(statement)
        return run(connection, statement, parameters, many=many)

    run = prepared.execute
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepared, "execute", execute)
        yield seen


async def at_once(database: Database, payers: Order | str, works: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """What comes of these, all of which wait while another work of their group is held up."""
    gate = Gate()
    group = payers if isinstance(payers, str) else tuple(payer.name for payer in payers.accounts)
    held = asyncio.create_task(database.write(lambda _: gate.pass_through(), group))
    await gate.reached.wait()
    tasks = [asyncio.create_task(work) for work in works]
    await asyncio.sleep(0)
    gate.open.set()
    await held
    return await asyncio.gather(*tasks, return_exceptions=True)


def create(number: int, key: str) -> tuple[Creation, Order, Container, Answer]:
    """One of several that differ in whatever they can differ in."""
    payers = [account(id=key, max_budget_nanousd=10**12, soft_budget_nanousd=10**12), account(AccountKind.TEAM, key)]
    odd = number % 3 == 0
    creation_id = f"{key}{number:016}"
    intent = creation(
        creation_id=creation_id,
        key_id=key,
        name=ODD if odd else "",
        memory_limit=None if odd else "4g",
        fingerprint=bytes(range(number, number + 32)),
        started_at=at(number / 7),
        lease_until=at(number / 7 + 1),
    )
    ordered = order(
        *payers,
        tags=(ODD,) if odd else (),
        price=BY_SESSION if odd else order().price,
        memory_gb=4,
        minutes=5 if odd else 20,
        started_at=intent.started_at,
        request_id=f"req_{number}",
    )
    made = container(
        container_id=f"cntr_{creation_id}",
        key_id=key,
        name=ODD if odd else "crate",
        created_at=at(number / 7),
        last_active_at=None if odd else at(number),
        expires_after_minutes=(None, 20, 3)[number % 3],
        memory_limit=None if odd else "4g",
        document=b'{"name":"\xc3\xa2"}',
    )
    return intent, ordered, made, replace(ANSWER, body=b"\x00\xff\\x" if odd else ANSWER.body)


async def test_they_leave_the_rows_that_they_would_leave_alone(migrated: Database) -> None:
    store, ledger = SqlCreationStore(migrated, lambda: at(60)), SqlLedger(migrated)

    async def begin(number: int, key: str) -> object:
        intent, ordered, _, _ = create(number, key)
        return await store.begin(intent, ordered, same_key_since=at(-1))

    async def complete(number: int, key: str) -> int:
        intent, _, made, answer = create(number, key)
        return await store.complete(intent.creation_id, made, answer)

    async def use(number: int, key: str) -> object:
        return await ledger.extend(f"cntr_{key}{number:016}", at(number / 3))

    alone, together = "a" * 16, "b" * 16
    begun = [await begin(number, alone) for number in range(MANY)]
    made = [await complete(number, alone) for number in range(MANY)]
    used = [await use(number, alone) for number in range(MANY + 1)]  # the last of them is not there
    assert await begin(0, together) == begun[0]  # which makes the balances' rows
    payers = create(0, together)[1]
    async with statements(migrated) as seen:
        assert await at_once(migrated, payers, [begin(number, together) for number in range(1, MANY)]) == begun[1:]
        assert await at_once(migrated, payers, [complete(number, together) for number in range(MANY)]) == made
        assert await at_once(migrated, USES, [use(number, together) for number in range(MANY + 1)]) == used
    assert len([text for text in seen if "SAVEPOINT" not in text]) < 75
    assert len(set(used)) > 10
    assert used[-1] is None

    def rows(connection: Connection, key: str) -> dict[str, list[list[str]]]:
        found = {}
        for table in (tables.creations, tables.containers, tables.holds, tables.entries, tables.balances):
            columns = [column for column in table.c if column.name != "number"]
            found[table.name] = sorted(
                [str(value).replace(key, "KEY") for value in row]
                for row in connection.execute(select(*columns))
                if key in str(row)
            )
        return found

    assert await migrated.read(lambda c: rows(c, together)) == await migrated.read(lambda c: rows(c, alone))
    assert await ledger.verify() == []


async def test_a_container_that_is_used_twice_at_once_is_held_for_once(migrated: Database) -> None:
    store, ledger = SqlCreationStore(migrated, lambda: at(1)), SqlLedger(migrated)
    crates = [container(), container()]
    for crate in crates:
        intent = creation()
        await store.begin(intent, order(), same_key_since=at(-1))
        await store.complete(intent.creation_id, crate, ANSWER)
    used = [crates[0], crates[1], crates[0]]
    first, other, again = await at_once(migrated, USES, [ledger.extend(it.container_id, at(5)) for it in used])
    assert first == other
    assert first.reserved_nanousd > 0
    assert again == replace(first, reserved_nanousd=0)
    assert await ledger.verify() == []


async def test_as_many_find_room_as_there_is(migrated: Database) -> None:
    store = SqlCreationStore(migrated, lambda: at(1))
    ordered = order(account(max_budget_nanousd=5 * WHOLE_LIFE), account(AccountKind.TEAM, "sea"))
    assert await store.begin(creation(), ordered, same_key_since=at(-1)) == ()
    ends = await at_once(
        migrated, ordered, [store.begin(creation(), ordered, same_key_since=at(-1)) for _ in range(10)]
    )
    assert sorted(str(end) for end in ends) == ["()"] * 4 + ["key:0123456789abcdef has no room (budget)"] * 6
    assert all(isinstance(end, NoRoom) for end in ends if end != ())
    assert len(await store.pending()) == 5
    assert await SqlLedger(migrated).verify() == []


async def test_the_one_that_crosses_a_limit_is_told(migrated: Database) -> None:
    store = SqlCreationStore(migrated, lambda: at(1))
    soft = account(soft_budget_nanousd=3 * WHOLE_LIFE)
    shadow = account(AccountKind.TEAM, "sea", max_containers=4, shadow=True)
    ordered = order(soft, shadow)
    await store.begin(creation(), ordered, same_key_since=at(-1))
    async with statements(migrated) as seen:
        ends = await at_once(
            migrated, ordered, [store.begin(creation(), ordered, same_key_since=at(-1)) for _ in range(5)]
        )
    assert len([text for text in seen if "SAVEPOINT" not in text]) < 20  # they were told without being done again

    def told(crossings: tuple[Crossing, ...]) -> list[tuple[str, bool, int]]:
        return [(one.account.id, one.is_soft, one.balance.containers) for one in crossings]

    assert [told(end) for end in ends] == [
        [],
        [],
        [(soft.id, True, 4)],
        [("sea", False, 5)],
        [("sea", False, 6)],
    ]


async def test_limits_that_change_are_asked_one_after_the_other(migrated: Database) -> None:
    store = SqlCreationStore(migrated, lambda: at(1))
    many, few = order(account(max_containers=9)), order(account(max_containers=2))
    await store.begin(creation(), many, same_key_since=at(-1))
    ends = await at_once(
        migrated,
        many,
        [store.begin(creation(), ordered, same_key_since=at(-1)) for ordered in (many, few, many)],
    )
    assert [type(end) for end in ends] == [tuple, NoRoom, tuple]


async def test_what_is_completed_twice_at_once_is_paid_for_once(migrated: Database) -> None:
    store, ordered = SqlCreationStore(migrated, lambda: at(1)), order()
    intents = [creation() for _ in range(3)]
    for intent in intents:
        await store.begin(intent, ordered, same_key_since=at(-1))
    crates = [container() for _ in intents]
    works = [
        store.complete(intent.creation_id, crate, ANSWER)
        for intent, crate in [*zip(intents, crates, strict=True), (intents[0], crates[0])]
    ]
    least = ordered.price.cost(0)
    assert await at_once(migrated, ordered, works) == [least] * 4
    (balance,) = (await SqlLedger(migrated).balances(["key:0123456789abcdef"], at(1))).values()
    assert balance.spent_nanousd == 3 * least
    assert await SqlLedger(migrated).verify() == []


async def test_large_answers_are_not_gathered_in_one_statement(migrated: Database) -> None:
    store, ordered = SqlCreationStore(migrated, lambda: at(1)), order()
    intents = [creation() for _ in range(3)]
    for intent in intents:
        await store.begin(intent, ordered, same_key_since=at(-1))
    large = replace(ANSWER, body=b"x" * SHARED_BYTES)
    async with statements(migrated) as seen:
        works = [store.complete(intent.creation_id, container(), large) for intent in intents]
        assert await at_once(migrated, ordered, works) == [ordered.price.cost(0)] * 3
    assert not [text for text in seen if text.startswith("WITH given")]


async def test_a_container_that_is_anothers_is_refused_to_the_one_that_made_it(migrated: Database) -> None:
    store, ordered = SqlCreationStore(migrated, lambda: at(1)), order()
    theirs = container(owner="team:other")
    await SqlContainerStore(migrated).adopt(theirs)
    intents = [creation() for _ in range(3)]
    for intent in intents:
        await store.begin(intent, ordered, same_key_since=at(-1))
    crates = [container(), container(container_id=theirs.container_id), container()]
    ends = await at_once(
        migrated,
        ordered,
        [store.complete(intent.creation_id, crate, ANSWER) for intent, crate in zip(intents, crates, strict=True)],
    )
    least = ordered.price.cost(0)
    assert (ends[0], type(ends[1]), ends[2]) == (least, ContainerTaken, least)
    assert [one.creation_id for one in await store.pending()] == [intents[1].creation_id]
    assert await SqlLedger(migrated).verify() == []
