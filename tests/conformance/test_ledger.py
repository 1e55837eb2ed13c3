"""What the ledger does, and the stores that write in it, over SQLite and over PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import select, text

from app.domain.accounts import Account, AccountKind, Limits
from app.domain.containers import Container, Creation, Ending
from app.domain.identity import Team
from app.domain.spending import Balance, Crossing, EntryKind, Extension, NoRoom, Order, Price, Shortage
from app.storage import tables
from app.storage.containers import SqlContainerStore
from app.storage.creations import SqlCreationStore
from app.storage.engine import Database
from app.storage.ledger import ABANDONED, GRACE, SqlLedger
from tests.storage.containers import ANSWER, at, container, creation
from tests.storage.keys import NOON
from tests.storage.spending import BY_SESSION, BY_THE_MINUTE, WHOLE_LIFE, account, order

LEAST = BY_THE_MINUTE.cost(0)
KEY, USER, TEAM = "key:0123456789abcdef", "user:ann", "team:sea"
ALL = [KEY, USER, TEAM]


@dataclass
class Books:
    """The stores over one database, with a clock that tests set."""

    database: Database
    ledger: SqlLedger
    creations: SqlCreationStore
    containers: SqlContainerStore
    now: datetime

    async def begin(self, order: Order | None = None, **fields: Any) -> str:
        """Begin a create that has room; its id."""
        made = creation(**fields)
        begun = await self.creations.begin(made, order or three(), same_key_since=at(-60))
        assert not isinstance(begun, Creation)
        return made.creation_id

    async def make(self, order: Order | None = None, **fields: Any) -> Container:
        """Create a container."""
        crate = container(**fields)
        assert await self.creations.complete(await self.begin(order), crate, ANSWER) >= 0
        return crate

    async def balance(self, account: str = KEY) -> Balance:
        """Where an account stands now."""
        return (await self.ledger.balances([account], self.now))[account]

    async def amounts(self, account: str = KEY) -> tuple[int, int]:
        """What is reserved and what was ever spent."""
        balance = await self.balance(account)
        return balance.reserved_nanousd, balance.total_spent_nanousd

    async def entries(self) -> list[tuple[str, int, int]]:
        """Kind and amounts of every entry."""
        e = tables.entries.c
        query = select(e.kind, e.reserved_nanousd, e.spent_nanousd).order_by(e.number)
        return await self.database.read(
            lambda connection: [(row[0].value, row[1], row[2]) for row in connection.execute(query)]
        )


@pytest.fixture
async def books(database: Database) -> Books:
    await database.migrate()
    books: Books

    def clock() -> datetime:
        return books.now

    books = Books(
        database,
        SqlLedger(database, clock),
        SqlCreationStore(database, clock),
        SqlContainerStore(database),
        at(0),
    )
    return books


def three(**fields: Any) -> Order:
    """An order that a key, its user and its team pay."""
    return order(account(), account(AccountKind.USER, "ann"), account(AccountKind.TEAM, "sea"), **fields)


async def test_a_life_that_is_deleted(books: Books) -> None:
    creation_id = await books.begin()
    for name in ALL:
        balance = await books.balance(name)
        assert (balance.reserved_nanousd, balance.spent_nanousd, balance.containers, balance.memory_gb) == (
            WHOLE_LIFE,
            0,
            1,
            1,
        )
    crate = container()
    assert await books.creations.complete(creation_id, crate, ANSWER) == LEAST
    assert await books.amounts(TEAM) == (WHOLE_LIFE - LEAST, LEAST)
    spent = await books.containers.end(crate.container_id, Ending.DELETED, at(6.5), "req_2")
    assert spent == BY_THE_MINUTE.cost(7) - LEAST
    for name in ALL:
        balance = await books.balance(name)
        assert (balance.reserved_nanousd, balance.spent_nanousd, balance.containers, balance.memory_gb) == (
            0,
            LEAST + spent,
            0,
            0,
        )
    assert await books.entries() == [
        ("reserve", WHOLE_LIFE, 0),
        ("settle", -LEAST, LEAST),
        ("settle", -spent, spent),
        ("release", LEAST + spent - WHOLE_LIFE, 0),
    ]
    assert await books.ledger.verify() == []


async def test_an_entry_says_whose_it_is(books: Books) -> None:
    crate = await books.make(deployment="there")  # it was tried in another place first
    await books.containers.end(crate.container_id, Ending.DELETED, at(1), "req_2")
    rows = await books.database.read(
        lambda connection: connection.execute(select(tables.entries).order_by(tables.entries.c.number)).mappings().all()
    )
    common = {
        "key_id": "0123456789abcdef",
        "user_id": "ann",
        "team_id": "sea",
        "tags": ["red", "blue"],
        "provider": "openai",
        "memory_limit": "1g",
    }
    assert [row["deployment"] for row in rows] == ["here", "there", "there"]
    assert all({name: row[name] for name in common} == common for row in rows)
    assert [(row["kind"], row["container_id"], row["request_id"], row["at"]) for row in rows] == [
        (EntryKind.RESERVE, None, "req_1", at(0)),
        (EntryKind.SETTLE, crate.container_id, "req_1", at(0)),
        (EntryKind.RELEASE, crate.container_id, "req_2", at(1)),
    ]
    assert len({row["hold_id"] for row in rows}) == 1


@pytest.mark.parametrize(
    ("price", "minutes", "cost"),
    [
        (BY_THE_MINUTE, 0, LEAST),
        (BY_THE_MINUTE, 4.9, LEAST),
        (BY_THE_MINUTE, 5, LEAST),
        (BY_THE_MINUTE, 5.1, BY_THE_MINUTE.cost(6)),
        (BY_THE_MINUTE, 19.1, WHOLE_LIFE),
        (BY_THE_MINUTE, 99, WHOLE_LIFE),
        (BY_THE_MINUTE, -3, LEAST),
        (BY_SESSION, 1, WHOLE_LIFE),
        (BY_SESSION, 21, WHOLE_LIFE),
        (replace(BY_SESSION, unit_minutes=None), 900, WHOLE_LIFE),
        (Price(nanousd_per_unit=0), 7, 0),
    ],
)
async def test_what_a_deleted_container_costs(books: Books, price: Price, minutes: float, cost: int) -> None:
    """The minutes that have begun: at least the minimum, at most what is held."""
    crate = await books.make(three(price=price))
    _, first = await books.amounts()
    spent = await books.containers.end(crate.container_id, Ending.DELETED, at(minutes))
    assert first + spent == cost
    assert await books.amounts() == (0, cost)
    assert await books.containers.end(crate.container_id, Ending.DELETED, at(minutes + 1)) == 0
    assert await books.amounts() == (0, cost)
    assert await books.ledger.verify() == []


@pytest.mark.parametrize("answer", [ANSWER, None], ids=["kept", "forgotten"])
async def test_what_was_not_made_is_released(books: Books, answer: Any) -> None:
    creation_id = await books.begin()
    for _ in range(2):
        await books.creations.fail(creation_id, answer)
        assert await books.balance() == Balance(account=KEY)
    assert [kind for kind, *_ in await books.entries()] == ["reserve", "release"]
    assert await books.ledger.verify() == []


async def test_what_nobody_knows_stays_held(books: Books) -> None:
    creation_id = await books.begin()
    await books.creations.give_up(creation_id, at(0.5))
    books.now = at(120)
    assert await books.ledger.close_expired(books.now) == 0
    assert await books.amounts() == (WHOLE_LIFE, 0)
    assert await books.creations.complete(creation_id, container(), ANSWER) == LEAST
    assert await books.ledger.close_expired(books.now) == 1
    assert await books.amounts() == (0, WHOLE_LIFE)


async def test_what_nobody_can_ever_know_is_released_after_a_day(books: Books) -> None:
    await books.begin()
    books.now = at(20) + ABANDONED
    assert await books.ledger.close_expired(books.now) == 0
    assert await books.ledger.close_expired(books.now + (at(1) - at(0))) == 1
    assert await books.balance() == Balance(account=KEY)
    assert await books.ledger.verify() == []


async def test_what_expired_is_settled_whole_and_once(books: Books) -> None:
    await books.make()
    assert await books.ledger.close_expired(at(20) + GRACE) == 0
    books.now = at(22)
    assert await books.ledger.close_expired(books.now) == 1
    assert await books.ledger.close_expired(books.now) == 0
    assert (await books.balance()).containers == 0
    assert await books.amounts() == (0, WHOLE_LIFE)
    assert await books.ledger.verify() == []


async def test_many_expired_are_closed_some_at_a_time(books: Books) -> None:
    others = order(account(id="f" * 16), account(AccountKind.TEAM, "sea"))
    for number in range(7):
        await books.make(three() if number % 2 else others)
    assert [await books.ledger.close_expired(at(30), 3) for _ in range(4)] == [3, 3, 1, 0]
    books.now = at(30)
    assert await books.amounts(TEAM) == (0, 7 * WHOLE_LIFE)
    assert await books.amounts(KEY) == (0, 3 * WHOLE_LIFE)
    assert await books.ledger.verify() == []


async def test_a_container_that_is_gone_is_paid_until_it_would_have_expired(books: Books) -> None:
    crate = await books.make()
    assert await books.containers.end(crate.container_id, Ending.GONE, at(1)) == 0
    assert await books.amounts() == (WHOLE_LIFE - LEAST, LEAST)
    await books.ledger.close_expired(at(30))
    assert await books.amounts() == (0, WHOLE_LIFE)


@pytest.mark.parametrize("noted", [True, False], ids=["noted before", "not noted"])
async def test_a_container_that_is_gone_when_somebody_deletes_it_is_paid_until_then(books: Books, noted: bool) -> None:
    crate = await books.make()
    if noted:
        await books.containers.end(crate.container_id, Ending.GONE, at(1))
    minute = BY_THE_MINUTE.nanousd_per_unit
    assert await books.containers.end(crate.container_id, Ending.GONE, at(7), "req_1", asked=True) == 7 * minute - LEAST
    assert await books.amounts() == (0, 7 * minute)
    for ending in Ending:
        assert await books.containers.end(crate.container_id, ending, at(9), asked=True) == 0
    assert await books.ledger.verify() == []


async def test_use_extends_what_is_held(books: Books) -> None:
    crate = await books.make()
    minute = BY_THE_MINUTE.nanousd_per_unit
    assert await books.ledger.extend(crate.container_id, at(0)) == Extension(
        covered_until=at(20), free_until=at(0), reserved_nanousd=0
    )
    first = Extension(covered_until=at(23), free_until=at(3), reserved_nanousd=3 * minute)
    assert await books.ledger.extend(crate.container_id, at(2.1)) == first
    for used_at in (at(2.1), at(3), at(1)):
        assert await books.ledger.extend(crate.container_id, used_at) == replace(first, reserved_nanousd=0)
    assert await books.amounts(USER) == (WHOLE_LIFE - LEAST + 3 * minute, LEAST)
    assert await books.ledger.close_expired(at(23) + GRACE) == 0
    assert await books.ledger.close_expired(at(25)) == 1
    assert await books.amounts() == (0, WHOLE_LIFE + 3 * minute)
    assert await books.ledger.extend(crate.container_id, at(25)) is None
    assert await books.ledger.verify() == []


async def test_use_within_a_session_that_is_paid_costs_nothing(books: Books) -> None:
    crate = await books.make(three(price=BY_SESSION))
    extensions = [await books.ledger.extend(crate.container_id, at(minutes)) for minutes in (0.5, 19.5, 20.5)]
    assert [it and it.reserved_nanousd for it in extensions] == [WHOLE_LIFE, 0, WHOLE_LIFE]
    assert await books.containers.end(crate.container_id, Ending.DELETED, at(30)) == WHOLE_LIFE
    assert await books.amounts() == (0, 2 * WHOLE_LIFE)


async def test_an_extension_asks_no_budget(books: Books) -> None:
    tight = order(account(max_budget_nanousd=WHOLE_LIFE))
    crate = await books.make(tight)
    extension = await books.ledger.extend(crate.container_id, at(9))
    assert extension is not None
    assert extension.reserved_nanousd == 9 * BY_THE_MINUTE.nanousd_per_unit


async def test_nothing_is_held_for_what_the_ledger_never_heard_of(books: Books) -> None:
    adopted = container()
    await books.containers.adopt(adopted)
    assert await books.ledger.extend(adopted.container_id, at(1)) is None
    assert await books.ledger.extend("\0", at(1)) is None
    assert await books.containers.end(adopted.container_id, Ending.DELETED, at(1)) == 0


@pytest.mark.parametrize(("minutes", "whole"), [(10, WHOLE_LIFE // 2), (40, 2 * WHOLE_LIFE), (None, WHOLE_LIFE)])
async def test_the_upstream_says_how_long_a_container_lives(books: Books, minutes: int | None, whole: int) -> None:
    crate = await books.make(expires_after_minutes=minutes)
    assert await books.amounts() == (whole - LEAST, LEAST)
    extension = await books.ledger.extend(crate.container_id, at(0))
    assert extension is not None
    assert extension.covered_until == at(20 if minutes is None else minutes)
    assert await books.ledger.verify() == []


async def test_completing_twice_costs_once(books: Books) -> None:
    creation_id, crate = await books.begin(), container()
    for _ in range(2):
        assert await books.creations.complete(creation_id, crate, ANSWER) == LEAST
    assert await books.amounts() == (WHOLE_LIFE - LEAST, LEAST)
    await books.containers.end(crate.container_id, Ending.DELETED, at(1))
    assert await books.creations.complete(creation_id, crate, ANSWER) == LEAST
    assert await books.amounts() == (0, LEAST)
    assert await books.ledger.verify() == []


async def test_what_was_released_and_made_all_the_same_is_adjusted(books: Books) -> None:
    creation_id, crate = await books.begin(), container()
    await books.creations.fail(creation_id, None)
    assert await books.creations.complete(creation_id, crate, ANSWER) == LEAST
    assert (await books.entries())[-1] == ("adjust", WHOLE_LIFE - LEAST, LEAST)
    assert (await books.balance()).containers == 1
    assert await books.containers.end(crate.container_id, Ending.DELETED, at(10)) == WHOLE_LIFE // 2 - LEAST
    assert await books.amounts() == (0, WHOLE_LIFE // 2)
    assert await books.ledger.verify() == []


async def test_one_container_of_two_creates_is_paid_once(books: Books) -> None:
    crate = container()
    ids = [await books.begin() for _ in range(2)]
    assert [await books.creations.complete(one, crate, ANSWER) for one in ids] == [LEAST, 0]
    assert await books.amounts() == (WHOLE_LIFE - LEAST, LEAST)
    assert await books.ledger.verify() == []


@pytest.mark.parametrize("ending", [*Ending, None])
async def test_an_id_that_is_used_again_is_paid_anew(books: Books, ending: Ending | None) -> None:
    first = await books.make()
    if ending is None:
        await books.ledger.close_expired(at(60))
    else:
        await books.containers.end(first.container_id, ending, at(1))
    paid = {None: WHOLE_LIFE, Ending.GONE: WHOLE_LIFE, Ending.DELETED: LEAST}[ending]
    assert await books.creations.complete(await books.begin(), container(container_id=first.container_id), ANSWER)
    assert await books.amounts() == (WHOLE_LIFE - LEAST, paid + LEAST)
    assert await books.containers.end(first.container_id, Ending.DELETED, at(1)) == 0
    assert await books.amounts() == (0, paid + LEAST)
    assert await books.ledger.verify() == []


# Room.

LIMITED: list[tuple[dict[str, Any], Shortage, int]] = [
    ({"max_budget_nanousd": 3 * WHOLE_LIFE}, Shortage.BUDGET, 3),
    ({"max_budget_nanousd": 3 * WHOLE_LIFE - 1}, Shortage.BUDGET, 2),
    ({"max_budget_nanousd": 0}, Shortage.BUDGET, 0),
    ({"max_containers": 2}, Shortage.CONTAINERS, 2),
    ({"max_memory_gb": 7}, Shortage.MEMORY, 1),
    ({"max_memory_gb": 3}, Shortage.MEMORY, 0),
]


@pytest.mark.parametrize("kind", AccountKind)
@pytest.mark.parametrize(("limits", "shortage", "room"), LIMITED, ids=str)
async def test_who_has_no_room_is_told_and_nothing_is_written(
    books: Books, kind: AccountKind, limits: dict[str, Any], shortage: Shortage, room: int
) -> None:
    accounts = [replace(one, limits=Limits(**limits)) if one.kind is kind else one for one in three().accounts]
    asked = order(*accounts, memory_gb=4, memory_limit="4g")
    for _ in range(room):
        await books.begin(asked)
    before = await books.ledger.balances(ALL, at(0))
    refused = creation()
    with pytest.raises(NoRoom) as caught:
        await books.creations.begin(refused, asked, same_key_since=at(-60))
    (short,) = [one for one in accounts if one.kind is kind]
    assert (caught.value.account, caught.value.shortage) == (short, shortage)
    assert (caught.value.balance, caught.value.needed_nanousd) == (before[short.name], WHOLE_LIFE)
    assert await books.ledger.balances(ALL, at(0)) == before
    assert await books.creations.get(refused.creation_id) is None
    assert await books.ledger.verify() == []


async def test_an_earlier_create_is_found_also_where_there_is_no_room(books: Books) -> None:
    tight = order(account(max_budget_nanousd=WHOLE_LIFE))
    first = creation(idempotency_key="once")
    assert await books.creations.begin(first, tight, same_key_since=at(-60)) == ()
    again = creation(idempotency_key="once")
    assert await books.creations.begin(again, tight, same_key_since=at(-60)) == first
    assert await books.amounts() == (WHOLE_LIFE, 0)


async def test_room_comes_back(books: Books) -> None:
    tight = order(account(max_budget_nanousd=WHOLE_LIFE + LEAST, max_containers=1))
    await books.creations.fail(await books.begin(tight), None)
    crate = await books.make(tight)
    with pytest.raises(NoRoom):
        await books.begin(tight)
    await books.containers.end(crate.container_id, Ending.DELETED, at(1))
    await books.begin(tight)


@pytest.mark.parametrize("room", [1, 7])
async def test_of_many_at_once_as_many_as_there_is_room_for(books: Books, room: int) -> None:
    tight = three()
    tight = replace(
        tight, accounts=(*tight.accounts[:2], account(AccountKind.TEAM, "sea", max_budget_nanousd=room * WHOLE_LIFE))
    )
    ends = await asyncio.gather(*(books.begin(tight) for _ in range(40)), return_exceptions=True)
    assert sum(isinstance(end, str) for end in ends) == room
    assert sum(isinstance(end, NoRoom) for end in ends) == 40 - room
    assert await books.amounts(TEAM) == await books.amounts(KEY) == (room * WHOLE_LIFE, 0)
    assert await books.ledger.verify() == []


@pytest.mark.parametrize(("limits", "shortage", "room"), LIMITED, ids=str)
async def test_a_shadow_tells_what_it_would_have_refused(
    books: Books, limits: dict[str, Any], shortage: Shortage, room: int
) -> None:
    shadow = account(**limits, shadow=True)
    asked = order(shadow, memory_gb=4)
    for number in range(room + 2):
        crossed = await books.creations.begin(creation(), asked, same_key_since=at(-60))
        balance = await books.balance()
        told = Crossing(account=shadow, shortage=shortage, is_soft=False, balance=balance)
        assert crossed == ((told,) if number >= room else ())
    assert await books.amounts() == ((room + 2) * WHOLE_LIFE, 0)


async def test_a_soft_budget_is_crossed_once(books: Books) -> None:
    soft = account(AccountKind.TEAM, "sea", soft_budget_nanousd=2 * WHOLE_LIFE)
    asked = order(account(), soft)
    crossed = [await books.creations.begin(creation(), asked, same_key_since=at(-60)) for _ in range(4)]
    assert [len(one) for one in crossed if not isinstance(one, Creation)] == [0, 0, 1, 0]
    assert isinstance(crossed[2], tuple)
    (crossing,) = crossed[2]
    assert (crossing.account, crossing.is_soft, crossing.balance.reserved_nanousd) == (soft, True, 3 * WHOLE_LIFE)


# Windows.


def hourly(**limits: Any) -> Account:
    return account(max_budget_nanousd=WHOLE_LIFE, budget_duration="1h", **limits)


async def test_a_window_begins_with_the_first_create_and_rolls_with_the_next(books: Books) -> None:
    crate = await books.make(order(hourly()))
    await books.containers.end(crate.container_id, Ending.DELETED, at(19.5))
    assert (await books.balance()).reset_at == at(60)
    with pytest.raises(NoRoom) as caught:
        await books.begin(order(hourly(), started_at=at(59.9)))
    assert caught.value.balance.reset_at == at(60)
    books.now = at(60)
    assert await books.balance() == Balance(account=KEY, total_spent_nanousd=WHOLE_LIFE)
    await books.begin(order(hourly(), started_at=at(75)))
    balance = await books.balance()
    assert (balance.spent_nanousd, balance.reserved_nanousd, balance.reset_at) == (0, WHOLE_LIFE, at(135))
    assert await books.ledger.verify() == []


async def test_what_is_still_held_counts_in_the_next_window_too(books: Books) -> None:
    await books.begin(order(hourly()))
    with pytest.raises(NoRoom):
        await books.begin(order(hourly(), started_at=at(90)))


async def test_what_is_settled_after_the_end_counts_in_the_next_window(books: Books) -> None:
    """The ledger looks up which window that is: nobody has begun it yet."""
    sea = Team(team_id="sea", created_at=NOON, updated_at=NOON, limits=Limits(budget_duration="1h"))
    row = {column.name: getattr(sea, column.name) for column in tables.teams.columns}
    await books.database.write(
        lambda connection: connection.execute(tables.teams.insert(), row | {"tags": list(sea.tags)})
    )
    paying = order(account(), account(AccountKind.TEAM, "sea", budget_duration="1h"), started_at=at(0))
    crate = await books.make(replace(paying, minutes=100), expires_after_minutes=100)
    await books.containers.end(crate.container_id, Ending.DELETED, at(70))
    books.now = at(71)
    balance = await books.balance(TEAM)
    after = BY_THE_MINUTE.cost(70) - LEAST
    assert (balance.spent_nanousd, balance.total_spent_nanousd, balance.reset_at) == (after, after + LEAST, at(130))
    assert await books.ledger.verify() == []


async def test_a_window_that_is_taken_away(books: Books) -> None:
    crate = await books.make(order(hourly()))
    await books.containers.end(crate.container_id, Ending.DELETED, at(9))
    books.now = at(61)
    await books.ledger.set_window(KEY, None)
    assert await books.balance() == Balance(account=KEY, total_spent_nanousd=BY_THE_MINUTE.cost(9))


async def test_a_window_is_set(books: Books) -> None:
    await books.ledger.set_window(KEY, at(90))
    assert await books.balance() == Balance(account=KEY, reset_at=at(90))
    crate = await books.make(order(hourly()))
    await books.containers.end(crate.container_id, Ending.DELETED, at(9))
    spent = BY_THE_MINUTE.cost(9)
    await books.ledger.set_window(KEY, at(80))
    assert await books.balance() == Balance(
        account=KEY, spent_nanousd=spent, total_spent_nanousd=spent, reset_at=at(80)
    )
    await books.ledger.set_window(KEY, at(70), afresh=True)
    assert await books.balance() == Balance(account=KEY, total_spent_nanousd=spent, reset_at=at(70))
    assert await books.ledger.verify() == []


async def test_balances_of_nobody_are_zeros(books: Books) -> None:
    assert await books.ledger.balances([], at(0)) == {}
    assert await books.ledger.balances(["team:x"], at(0)) == {"team:x": Balance(account="team:x")}


# Whether the books agree.


@pytest.mark.parametrize(
    "falsified",
    [
        "UPDATE balances SET spent_nanousd = spent_nanousd + 1 WHERE account = 'team:sea'",
        "UPDATE balances SET reserved_nanousd = reserved_nanousd - 1 WHERE account = 'user:ann'",
        "UPDATE balances SET containers = containers + 1",
        "UPDATE balances SET memory_gb = 0",
        "DELETE FROM balances WHERE account = 'key:0123456789abcdef'",
        "INSERT INTO balances VALUES ('team:x', 1, 0, 0, 0, 0, NULL)",
        "UPDATE ledger_entries SET spent_nanousd = spent_nanousd + 1 WHERE number = 2",
        "DELETE FROM ledger_entries WHERE number = 2",
        "UPDATE holds SET spent_nanousd = spent_nanousd + 1",
        "UPDATE holds SET reserved_nanousd = reserved_nanousd + 1",
        "UPDATE holds SET closed_at = started_at WHERE closed_at IS NULL",
        "DELETE FROM holds WHERE closed_at IS NULL",
    ],
)
async def test_whatever_is_falsified_is_found(books: Books, falsified: str) -> None:
    crate = await books.make()
    await books.make()
    await books.containers.end(crate.container_id, Ending.DELETED, at(1))
    assert await books.ledger.verify() == []
    await books.database.write(lambda connection: connection.execute(text(falsified)))
    assert await books.ledger.verify() != []


async def test_closed_holds_may_be_forgotten(books: Books) -> None:
    crate = await books.make()
    await books.containers.end(crate.container_id, Ending.DELETED, at(1))
    await books.containers.purge(dead_before=at(9999), begun_before=at(9999))
    await books.database.write(lambda connection: connection.execute(text("DELETE FROM holds")))
    assert await books.ledger.verify() == []
    assert await books.amounts() == (0, LEAST)


async def test_a_purge_leaves_the_books_alone(books: Books) -> None:
    await books.make()
    assert await books.containers.purge(dead_before=at(9999), begun_before=at(9999)) == 2
    assert await books.ledger.close_expired(at(9999)) == 1
    assert await books.amounts() == (0, WHOLE_LIFE)
    assert await books.ledger.verify() == []


async def test_many_of_many_accounts_at_once_do_not_wait_for_each_other_forever(books: Books) -> None:
    """Keys, users and teams in all combinations, begun, made, used, ended and closed at the same time."""

    async def life(number: int) -> None:
        payers = order(
            account(id=f"{number % 3:016x}"),
            account(AccountKind.USER, f"u{number % 2}"),
            account(AccountKind.TEAM, f"t{number % 4 // 2}"),
        )
        crate = await books.make(payers)
        await books.ledger.extend(crate.container_id, at(2))
        await books.ledger.close_expired(at(0), 2)
        if number % 3:
            await books.containers.end(crate.container_id, Ending.DELETED, at(3))
        else:
            await books.ledger.close_expired(at(60), 1)

    await asyncio.gather(*(life(number) for number in range(36)))
    while await books.ledger.close_expired(at(60)):
        pass
    names = [f"team:t{number}" for number in range(2)]
    assert [it.reserved_nanousd for it in (await books.ledger.balances(names, at(60))).values()] == [0, 0]
    assert await books.ledger.verify() == []
