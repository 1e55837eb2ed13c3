"""The ledger against a plain model: random operations, many at once, some cut off in the middle.

    python -m tests.chaos.ledger_model --operations 10000 [--seed 7] [--url postgresql://…]

Creates begin for keys with users and teams that have little room; they are completed, fail, or are forgotten by a
process that dies; containers are used, deleted, raced for, and expire. After each step the balances have to be those of
the model, what is spent and reserved within the limit (but for what extensions and late containers added, of which no
budget is asked), and every so often the books have to agree. In the end nothing is reserved. Prints what was done.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from app.domain.accounts import Account, AccountKind
from app.domain.containers import CreationState, Ending
from app.domain.spending import MINUTE, NoRoom, Price
from app.storage import tables
from app.storage.containers import SqlContainerStore
from app.storage.creations import SqlCreationStore
from app.storage.engine import Database
from app.storage.ledger import ABANDONED, GRACE, SqlLedger
from tests.storage.containers import ANSWER, at, container, creation
from tests.storage.spending import BY_SESSION, BY_THE_MINUTE, account, order

LIFE = 20
ROOM = 30_000_000
"""What 20 minutes cost, at either price."""
LIMITS: dict[str, dict[str, Any]] = {
    "key:a": {"max_budget_nanousd": 5 * ROOM, "budget_duration": "1h"},
    "key:b": {"max_containers": 4},
    "user:u": {"max_budget_nanousd": 9 * ROOM, "budget_duration": "30m"},
    "user:v": {},
    "team:t": {"max_budget_nanousd": 12 * ROOM, "budget_duration": "day", "budget_timezone": "Asia/Kathmandu"},
    "team:m": {"max_memory_gb": 6},
}
CHECK_EVERY = 100
"""After how many steps the whole book is gone through."""


@dataclass
class Hold:
    """A hold of the model. Amounts in nano-USD."""

    creation_id: str
    price: Price
    accounts: list[str]
    started_at: datetime
    reserved: int
    spent: int = 0
    minutes: int = LIFE
    container_id: str | None = None
    is_open: bool = True

    @property
    def covered_until(self) -> datetime:
        return self.started_at + self.minutes * MINUTE

    def close(self, spent: int) -> None:
        self.spent += spent
        self.reserved, self.is_open = 0, False

    def cost_until(self, when: datetime) -> int:
        """What a life until then costs, reckoned by counting."""
        minutes = 0
        while self.started_at + minutes * MINUTE < when:
            minutes += 1
        return self.price.cost(max(1, minutes))


@dataclass
class Run:
    """One run: a database, the model of what is in it, and the clock."""

    url: str
    seed: int
    holds: list[Hold] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    allowed: Counter[str] = field(default_factory=Counter)
    """By account, what was added that no budget was asked for."""
    paid: Counter[str] = field(default_factory=Counter)
    """By account, what holds that are no longer followed have spent."""

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.now = at(0)
        self.accounts = {name: _account(name) for name in LIMITS}
        self.connect()

    def connect(self) -> None:
        """As a process that has just begun."""
        self.database = Database.open(self.url)
        self.ledger = SqlLedger(self.database, lambda: self.now)
        self.creations = SqlCreationStore(self.database, lambda: self.now)
        self.containers = SqlContainerStore(self.database)

    async def run(self, operations: int) -> None:
        """Do so many operations, and end everything. Raises AssertionError."""
        await self.database.migrate()
        kinds: dict[Callable[[], Awaitable[None]], int] = {
            self.begin: 30,
            self.complete: 22,
            self.fail: 5,
            self.delete: 10,
            self.close: 4,
            self.cancel: 5,
            self.crash: 1,
        }
        if self.seed % 2 == 0:  # with an odd seed nothing is done that asks no budget: no limit may be passed at all
            kinds |= {self.use: 14, self.race: 6, self.find_late: 2}
        while self.done.total() < operations:
            (step,) = self.random.choices(list(kinds), list(kinds.values()))
            await step()
            self.now += timedelta(seconds=self.random.choice((0, 1, 7, 30)))
            await self.check()
        await self.end()

    # What is done.

    async def begin(self) -> None:
        """Several creates at once, for some of which there may be no room."""
        orders = [self._order() for _ in range(self.random.randint(1, 6))]
        before = await self.ledger.balances(list(LIMITS), self.now)
        ends = await asyncio.gather(*(self._begun(hold, gigabytes) for hold, gigabytes in orders))
        for (hold, gigabytes), short in zip(orders, ends, strict=True):
            self.done["begin" if short is None else "refuse"] += 1
            if short is None:
                self.holds.append(hold)
            elif len(orders) == 1:
                limits, balance = short.account.limits, before[short.account.name]
                budget, memory = limits.max_budget_nanousd, limits.max_memory_gb
                assert (
                    (budget is not None and balance.spent_nanousd + balance.reserved_nanousd + hold.reserved > budget)
                    or (limits.max_containers is not None and balance.containers + 1 > limits.max_containers)
                    or (memory is not None and balance.memory_gb + gigabytes > memory)
                ), f"{short} though there was room"

    async def complete(self) -> None:
        """Several creates that were made, one of them perhaps twice."""
        chosen = self._some(self._pending())
        await asyncio.gather(*(self._completed(hold) for hold in (*chosen, *chosen[:1])))
        self.done["complete"] += len(chosen)

    async def fail(self) -> None:
        """Several creates of which nothing came."""
        chosen = self._some(self._pending())
        answers = [self.random.choice((ANSWER, None)) for _ in chosen]
        await asyncio.gather(
            *(self.creations.fail(one.creation_id, answer) for one, answer in zip(chosen, answers, strict=True))
        )
        for hold in chosen:
            hold.close(0)
        self.done["fail"] += len(chosen)

    async def find_late(self) -> None:
        """A container turns up of a create that was given up."""
        given_up = [hold for hold in self.holds if not hold.is_open and hold.container_id is None and not hold.spent]
        for hold in self._some(given_up)[:1]:
            whole = hold.price.cost(LIFE)
            await self._completed(hold)
            for name in hold.accounts:
                self.allowed[name] += whole
            self.done["find late"] += 1

    async def delete(self) -> None:
        """Several containers, one of them perhaps twice."""
        chosen = self._some(self._living())
        await asyncio.gather(*(self._deleted(hold) for hold in chosen))
        self.done["delete"] += len(chosen)

    async def use(self) -> None:
        """Several containers are used."""
        chosen = self._some(self._living())
        for hold, extension in zip(
            chosen,
            await asyncio.gather(*(self.ledger.extend(str(hold.container_id), self.now) for hold in chosen)),
            strict=True,
        ):
            assert extension is not None
            minutes = hold.minutes
            while hold.started_at + minutes * MINUTE < self.now + LIFE * MINUTE:
                minutes += 1
            added = hold.price.cost(minutes) - hold.price.cost(hold.minutes)
            assert extension.reserved_nanousd == added
            assert extension.covered_until == hold.started_at + minutes * MINUTE
            hold.minutes = minutes
            hold.reserved += added
            for name in hold.accounts:
                self.allowed[name] += added
        self.done["use"] += len(chosen)

    async def close(self) -> None:
        """Time goes by, and what expired is closed, by two processes at once."""
        self.now += timedelta(minutes=self.random.choice((0, 1, 3, 15)))
        await self._close_all()
        self.done["close"] += 1

    async def race(self) -> None:
        """One container is used, deleted and closed at the same time. What came of it stands in the database."""
        for hold in self._some(self._living())[:1]:
            work: list[Coroutine[Any, Any, Any]] = [
                self.ledger.extend(str(hold.container_id), self.now),
                self.containers.end(str(hold.container_id), Ending.DELETED, self.now),
                self.ledger.extend(str(hold.container_id), self.now + MINUTE),
                self.creations.complete(hold.creation_id, container(container_id=hold.container_id), ANSWER),
            ]
            self.random.shuffle(work)
            held, cost = hold.reserved + hold.spent, hold.cost_until(self.now)
            await asyncio.gather(*work)
            await self._look_up(hold)
            assert (hold.is_open, hold.reserved) == (False, 0)
            assert hold.spent in (cost, min(cost, held))
            self.done["race"] += 1

    async def cancel(self) -> None:
        """Whoever asked is cut off in the middle. What was begun is done whole or not at all."""
        hold, gigabytes = self._order()
        pending, living = self._some(self._pending())[:1], self._some(self._living())[:1]
        work: list[Coroutine[Any, Any, Any]] = [
            self._begun(hold, gigabytes),
            *(self.creations.complete(one.creation_id, container(container_id=_id(one)), ANSWER) for one in pending),
            *(self.containers.end(str(one.container_id), Ending.DELETED, self.now) for one in living),
        ]
        tasks = [asyncio.create_task(each) for each in work]
        await asyncio.sleep(self.random.choice((0, 0, 0.0005, 0.002)))
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._restart()
        if await self.creations.get(hold.creation_id) is not None:
            self.holds.append(hold)
        for one in pending:
            await self._completed(one)
        for one in living:
            await self.containers.end(str(one.container_id), Ending.DELETED, self.now)
            await self._look_up(one)
        self.done["cancel"] += len(tasks)

    async def crash(self) -> None:
        """Its process ends, and another begins; what was pending is reconciled, one way or the other."""
        await self._restart()
        for hold in self._pending():
            creation = await self.creations.get(hold.creation_id)
            assert creation is not None
            assert creation.state is CreationState.PENDING
            if self.random.random() < 0.5:
                await self._completed(hold)
            else:
                await self.creations.fail(hold.creation_id, None)
                hold.close(0)
        self.done["crash"] += 1

    async def end(self) -> None:
        """Everything comes to its end: then nothing is reserved."""
        await self.crash()
        self.now += timedelta(days=2)
        await self._close_all()
        await self.check(whole=True)
        for balance in (await self.ledger.balances(list(LIMITS), self.now)).values():
            assert (balance.reserved_nanousd, balance.containers, balance.memory_gb) == (0, 0, 0), balance
        await self.database.close()

    # What has to be true.

    async def check(self, *, whole: bool = False) -> None:
        """The balances are those of the model, and no limit is passed. Raises AssertionError."""
        balances = await self.ledger.balances(list(LIMITS), self.now)
        for name, balance in balances.items():
            mine = [hold for hold in self.holds if name in hold.accounts]
            assert balance.reserved_nanousd == sum(hold.reserved for hold in mine), (name, balance)
            assert balance.total_spent_nanousd == self.paid[name] + sum(hold.spent for hold in mine), (name, balance)
            assert balance.containers == sum(hold.is_open for hold in mine), (name, balance)
            limits = self.accounts[name].limits
            if limits.max_budget_nanousd is not None:
                most = limits.max_budget_nanousd + self.allowed[name]
                assert balance.spent_nanousd + balance.reserved_nanousd <= most, (name, balance)
            if limits.max_containers is not None and not self.done["find late"]:
                assert balance.containers <= limits.max_containers
        if whole or self.done.total() % CHECK_EVERY == 0:
            assert await self.ledger.verify() == []
        closed = [hold for hold in self.holds if not hold.is_open]
        for hold in closed[: len(closed) - 50]:
            self.holds.remove(hold)
            for name in hold.accounts:
                self.paid[name] += hold.spent

    # How it is done.

    async def _begun(self, hold: Hold, gigabytes: int) -> NoRoom | None:
        asked = order(
            *(self.accounts[name] for name in hold.accounts),
            price=hold.price,
            memory_gb=gigabytes,
            started_at=hold.started_at,
        )
        intent = creation(creation_id=hold.creation_id, started_at=hold.started_at)
        try:
            begun = await self.creations.begin(intent, asked, same_key_since=at(-60))
        except NoRoom as short:
            return short
        assert begun == ()
        return None

    async def _completed(self, hold: Hold) -> None:
        least = await self.creations.complete(hold.creation_id, container(container_id=_id(hold)), ANSWER)
        assert least == hold.price.cost(0)
        hold.container_id, hold.is_open = _id(hold), True
        hold.spent, hold.reserved = least, hold.price.cost(LIFE) - least

    async def _deleted(self, hold: Hold) -> None:
        due = min(hold.cost_until(self.now) - hold.spent, hold.reserved)
        spent = await self.containers.end(str(hold.container_id), Ending.DELETED, self.now)
        assert spent == due
        hold.close(spent)

    async def _close_all(self) -> None:
        while any(await asyncio.gather(*(self.ledger.close_expired(self.now, 3) for _ in range(2)))):
            pass
        for hold in self.holds:
            if hold.is_open and hold.container_id is not None and hold.covered_until < self.now - GRACE:
                hold.close(hold.reserved)
            elif hold.is_open and hold.container_id is None and hold.covered_until < self.now - ABANDONED:
                hold.close(0)

    async def _look_up(self, hold: Hold) -> None:
        query = select(tables.holds).where(tables.holds.c.hold_id == hold.creation_id)
        row = await self.database.read(lambda connection: connection.execute(query).mappings().one())
        hold.reserved, hold.spent, hold.is_open = row["reserved_nanousd"], row["spent_nanousd"], not row["closed_at"]

    async def _restart(self) -> None:
        await self.database.close()  # lets go on what was handed over, as a database does when its client dies
        self.connect()

    def _order(self) -> tuple[Hold, int]:
        """A create that nobody has begun, and its memory."""
        price = self.random.choice((BY_THE_MINUTE, BY_SESSION))
        names = [self.random.choice(("key:a", "key:b"))]
        names += self.random.choice(([], ["user:u"], ["user:v"]))
        names += self.random.choice(([], ["team:t"], ["team:m"]))
        hold = Hold(creation().creation_id, price, names, self.now, price.cost(LIFE))
        return hold, self.random.choice((1, 1, 4))

    def _pending(self) -> list[Hold]:
        return [hold for hold in self.holds if hold.is_open and hold.container_id is None]

    def _living(self) -> list[Hold]:
        return [hold for hold in self.holds if hold.is_open and hold.container_id is not None]

    def _some(self, holds: list[Hold]) -> list[Hold]:
        return self.random.sample(holds, min(len(holds), self.random.randint(1, 4)))


def _id(hold: Hold) -> str:
    return f"cntr_{hold.creation_id}"


def _account(name: str) -> Account:
    kind, _, id = name.partition(":")
    return account(AccountKind(kind), id, **LIMITS[name])


async def run_model(url: str, operations: int, seed: int) -> Run:
    """Do so many operations on an empty database; what was done. Raises AssertionError."""
    run = Run(url, seed)
    try:
        await run.run(operations)
    finally:
        await run.database.close()
    return run


def main() -> None:
    """Run, and print what was done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--url", help="An empty database. Default: SQLite, in a folder of its own.")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="quaymaster-ledger-") as folder:
        url = arguments.url or f"sqlite:///{Path(folder)}/ledger.db"
        run = asyncio.run(run_model(url, arguments.operations, arguments.seed))
    print(f"{run.done.total()} operations in {time.monotonic() - begun:.0f} s, none of them wrong")
    print("done:", ", ".join(f"{name} {count}" for name, count in run.done.most_common()))


if __name__ == "__main__":
    main()
