"""Where accounts stand: taking room for one more container, and writing down what was spent and given back.

Whoever changes several balances goes through them in the order key, user, team, so that no two wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, Connection, Update, bindparam, case, or_, select, update

from app.domain.accounts import NO_LIMITS, Account, AccountKind, Limits
from app.domain.spending import Balance, Crossing, NoRoom, Order, Shortage
from app.domain.windows import window_end
from app.storage.column_types import UtcDateTime
from app.storage.dialects import insert_new
from app.storage.prepared import NotTogether, Prepared, Row, is_sending
from app.storage.tables import balances, teams, users, virtual_keys

_b = balances.c
_ENDLESS: Final = 2**62
"""More than anything that is counted: stands for no limit."""

_now = bindparam("now", type_=UtcDateTime)
_is_over: Final = _b.reset_at <= _now
_spent_before: Final = case((_is_over, _b.spent_nanousd), else_=_b.spent_before_nanousd)
_STANDING: Final = (
    _b.account,
    _b.spent_nanousd,
    _b.spent_before_nanousd,
    _b.reserved_nanousd,
    _b.containers,
    _b.memory_gb,
    _b.reset_at,
)


def _moved(*where: ColumnElement[bool]) -> Update:
    """Add to what an account has reserved, spent and alive."""
    return (
        update(balances)
        .where(_b.account == bindparam("of"), *where)
        .values(
            spent_nanousd=_b.spent_nanousd + bindparam("spent"),
            reserved_nanousd=_b.reserved_nanousd + bindparam("reserved"),
            containers=_b.containers + bindparam("more_containers"),
            memory_gb=_b.memory_gb + bindparam("more_gb"),
        )
        .returning(_b.account)
    )


_TAKE: Final = Prepared(
    update(balances)
    .where(
        _b.account == bindparam("of"),
        _b.spent_nanousd - _spent_before + _b.reserved_nanousd <= bindparam("most_before"),
        _b.containers <= bindparam("most_containers_before", type_=BigInteger),
        _b.memory_gb <= bindparam("most_gb_before"),
    )
    .values(
        reserved_nanousd=_b.reserved_nanousd + bindparam("needed"),
        containers=_b.containers + bindparam("count"),
        memory_gb=_b.memory_gb + bindparam("gb"),
        spent_before_nanousd=_spent_before,
        reset_at=case((or_(_b.reset_at.is_(None), _is_over), bindparam("ends", type_=UtcDateTime)), else_=_b.reset_at),
    )
    .returning(*_STANDING)
)
_MOVE: Final = Prepared(_moved(or_(_b.reset_at.is_(None), _b.reset_at > _now)))
_MOVE_ANYHOW: Final = Prepared(_moved())
_LOCK: Final = Prepared(select(*_STANDING).where(_b.account == bindparam("of")).with_for_update())
_BEGIN_WINDOW: Final = Prepared(
    update(balances)
    .where(_b.account == bindparam("of"), _is_over)
    .values(spent_before_nanousd=_b.spent_nanousd, reset_at=bindparam("ends", type_=UtcDateTime))
)
_SET_WINDOW: Final = Prepared(
    update(balances)
    .where(_b.account == bindparam("of"))
    .values(
        reset_at=bindparam("ends", type_=UtcDateTime),
        spent_before_nanousd=case(
            (or_(_is_over, bindparam("afresh")), _b.spent_nanousd), else_=_b.spent_before_nanousd
        ),
    )
)
_ADD: Final = Prepared(
    lambda dialect: insert_new(balances, dialect, "account").returning(_b.account), *(column.name for column in _b)
)
_THESE: Final = select(*_STANDING).where(_b.account.in_(bindparam("accounts", expanding=True)))

_RANK: Final = {kind.value: rank for rank, kind in enumerate(AccountKind)}
_LIMITS: Final = {
    kind.value: Prepared(select(table.c.limits).where(id_ == bindparam("of")))
    for kind, table, id_ in (
        (AccountKind.KEY, virtual_keys, virtual_keys.c.key_id),
        (AccountKind.USER, users, users.c.user_id),
        (AccountKind.TEAM, teams, teams.c.team_id),
    )
}


@dataclass(frozen=True, slots=True)
class Move:
    """What is added to a balance; less than nothing is taken off."""

    reserved_nanousd: int = 0
    spent_nanousd: int = 0
    containers: int = 0
    memory_gb: int = 0

    def __add__(self, other: Move) -> Move:
        return Move(
            self.reserved_nanousd + other.reserved_nanousd,
            self.spent_nanousd + other.spent_nanousd,
            self.containers + other.containers,
            self.memory_gb + other.memory_gb,
        )


def take(connection: Connection, order: Order, needed_nanousd: int, now: datetime) -> tuple[Crossing, ...]:
    """Reserve this much, and room for one container, in all of an order's accounts; which limits that crossed.

    Raises NoRoom; what was written until then has to be rolled back.
    """
    crossings: list[Crossing] = []
    asked = [_asked(account, Move(needed_nanousd, 0, 1, order.memory_gb), now) for account in order.accounts]
    for account, one, row in zip(order.accounts, asked, _each(connection, _TAKE, asked), strict=True):
        balance = _taken(connection, account, one, now) if row is None else _balance(row, now)
        if _may_cross(account.limits):
            crossings += _crossings(account, balance, order, needed_nanousd)
    return tuple(crossings)


def take_together(connection: Connection, orders: Sequence[tuple[Order, int]]) -> list[tuple[Crossing, ...]]:
    """`take` for several orders, each with what it needs, as if one came after the other: one UPDATE for each account.

    Raises NotTogether where that is not possible, and none may come of what was written until then.
    """
    accounts: dict[str, Account] = {}
    taking: dict[str, list[int]] = {}
    for place, (order, _) in enumerate(orders):
        for account in order.accounts:
            if accounts.setdefault(account.name, account) != account:
                raise NotTogether  # its limits have just changed
            taking.setdefault(account.name, []).append(place)
    now = max(order.started_at for order, _ in orders)
    names = sorted(accounts, key=_place)
    asked = []
    for name in names:
        its = [orders[place] for place in taking[name]]
        total = Move(sum(needed for _, needed in its), 0, len(its), sum(order.memory_gb for order, _ in its))
        asked.append(_asked(accounts[name], total, now))
    crossings: list[tuple[Crossing, ...]] = [()] * len(orders)
    for name, row in zip(names, _each(connection, _TAKE, asked), strict=True):
        if row is None:
            raise NotTogether
        if _may_cross(accounts[name].limits):
            balance = _balance(row, now)
            for place in reversed(taking[name]):
                crossings[place] += tuple(_crossings(accounts[name], balance, *orders[place]))
                balance = _without(balance, *orders[place])
    return crossings


def move(connection: Connection, changes: Iterable[tuple[Sequence[str], Move]], now: datetime) -> None:
    """Add to balances, whether there is room or not. Each change is made to all of its accounts."""
    totals: dict[str, Move] = {}
    for accounts, change in changes:
        for account in accounts:
            totals[account] = totals[account] + change if account in totals else change
    asked: list[dict[str, Any]] = [
        {
            "of": account,
            "now": now,
            "reserved": totals[account].reserved_nanousd,
            "spent": totals[account].spent_nanousd,
            "more_containers": totals[account].containers,
            "more_gb": totals[account].memory_gb,
        }
        for account in sorted(totals, key=_place)
    ]
    for one, row in zip(asked, _each(connection, _MOVE, asked), strict=True):
        if row is None:
            _open_window(connection, one["of"], now)
            _MOVE_ANYHOW.rows(connection, one)


def set_window(connection: Connection, account: str, reset_at: datetime | None, *, afresh: bool, now: datetime) -> None:
    """Let an account's window end at this time, or never; `afresh`, or where the last one is over, it begins now."""
    _add(connection, account)
    _SET_WINDOW.run(connection, {"of": account, "ends": reset_at, "afresh": afresh, "now": now})


def standing(connection: Connection, accounts: Sequence[str], now: datetime) -> dict[str, Balance]:
    """By name, where these accounts stand; zeros for one that nothing was ever counted for."""
    rows = connection.execute(_THESE, {"accounts": list(accounts)}).mappings()
    known = {row["account"]: _balance(row, now) for row in rows}
    return {account: known.get(account) or Balance(account=account) for account in accounts}


def _each(connection: Connection, change: Prepared, asked: Sequence[dict[str, Any]]) -> Iterator[Row | None]:
    """What a change of each of several balances returns: before the next is locked, lest they be out of order.

    Where statements are only sent all are sent at once, and one that finds nothing to change is no affair of a group's.
    """
    if not is_sending(connection):
        for one in asked:
            yield change.row(connection, one)
        return
    for answer in [change.ask(connection, one) for one in asked]:
        row = answer.row()
        if row is None:
            raise NotTogether
        yield row


def _asked(account: Account, total: Move, now: datetime) -> dict[str, Any]:
    """What `_TAKE` has to be given to take all of this room in one account, or none."""
    limits = account.limits
    hard = NO_LIMITS if limits.shadow else limits
    budget = _ENDLESS if hard.max_budget_nanousd is None else hard.max_budget_nanousd
    containers = _ENDLESS if hard.max_containers is None else hard.max_containers
    memory = _ENDLESS if hard.max_memory_gb is None else hard.max_memory_gb
    return {
        "of": account.name,
        "now": now,
        "needed": total.reserved_nanousd,
        "count": total.containers,
        "gb": total.memory_gb,
        "most_before": budget - total.reserved_nanousd,
        "most_containers_before": containers - total.containers,
        "most_gb_before": memory - total.memory_gb,
        "ends": _window_end(limits, now),
    }


def _taken(connection: Connection, account: Account, asked: dict[str, Any], now: datetime) -> Balance:
    """Take the room where that has failed; the balance afterwards. Raises NoRoom."""
    hard = NO_LIMITS if account.limits.shadow else account.limits
    needed: int = asked["needed"]
    for _ in range(3):  # there was no row, or room was made in between
        if not _add(connection, account.name):
            found = _LOCK.rows(connection, {"of": account.name})
            balance = _balance(found[0], now)
            shortage = _shortage(balance, hard, needed, asked["gb"])
            if shortage is not None:
                raise NoRoom(account, shortage, balance, needed)
        row = _TAKE.row(connection, asked)
        if row is not None:
            return _balance(row, now)
    raise RuntimeError(f"{account.kind} account: its balance has room, and cannot be taken from")


def _may_cross(limits: Limits) -> bool:
    """Whether there is a limit that can be passed without being refused."""
    return limits.shadow or limits.soft_budget_nanousd is not None


def _crossings(account: Account, balance: Balance, order: Order, needed: int) -> list[Crossing]:
    """The limits that were crossed by what has just been taken."""
    limits, crossings = account.limits, []
    if limits.shadow:
        shortage = _shortage(_without(balance, order, needed), limits, needed, order.memory_gb)
        if shortage is not None:
            crossings.append(Crossing(account=account, shortage=shortage, is_soft=False, balance=balance))
    soft = limits.soft_budget_nanousd
    if soft is not None:
        after = balance.spent_nanousd + balance.reserved_nanousd
        if after - needed <= soft < after:
            crossings.append(Crossing(account=account, shortage=Shortage.BUDGET, is_soft=True, balance=balance))
    return crossings


def _without(balance: Balance, order: Order, needed: int) -> Balance:
    """Where an account stood before this was taken."""
    return replace(
        balance,
        reserved_nanousd=balance.reserved_nanousd - needed,
        containers=balance.containers - 1,
        memory_gb=balance.memory_gb - order.memory_gb,
    )


def _shortage(balance: Balance, limits: Limits, needed: int, memory_gb: int) -> Shortage | None:
    """What an account has no room for."""
    budget = limits.max_budget_nanousd
    if budget is not None and balance.spent_nanousd + balance.reserved_nanousd + needed > budget:
        return Shortage.BUDGET
    if limits.max_containers is not None and balance.containers >= limits.max_containers:
        return Shortage.CONTAINERS
    if limits.max_memory_gb is not None and balance.memory_gb + memory_gb > limits.max_memory_gb:
        return Shortage.MEMORY
    return None


def _open_window(connection: Connection, account: str, now: datetime) -> None:
    """Begin an account's next window, where the last is over, or its row, where there is none."""
    kind, _, name = account.partition(":")
    found = _LIMITS[kind].row(connection, {"of": name})
    limits = NO_LIMITS if found is None else found["limits"]
    _add(connection, account)
    _BEGIN_WINDOW.post(connection, {"of": account, "now": now, "ends": _window_end(limits, now)})


def _window_end(limits: Limits, now: datetime) -> datetime | None:
    if limits.budget_duration is None:
        return None
    return window_end(limits.budget_duration, limits.budget_timezone, now)


def _add(connection: Connection, account: str) -> bool:
    """Make an account's row of zeros; False where it has one."""
    zeros = dict.fromkeys(("spent_nanousd", "spent_before_nanousd", "reserved_nanousd", "containers", "memory_gb"), 0)
    return bool(_ADD.rows(connection, {"account": account, "reset_at": None, **zeros}))


def _balance(row: Mapping[Any, Any], now: datetime) -> Balance:
    reset_at: datetime | None = row["reset_at"]
    is_over = reset_at is not None and reset_at <= now
    return Balance(
        account=row["account"],
        spent_nanousd=0 if is_over else row["spent_nanousd"] - row["spent_before_nanousd"],
        total_spent_nanousd=row["spent_nanousd"],
        reserved_nanousd=row["reserved_nanousd"],
        containers=row["containers"],
        memory_gb=row["memory_gb"],
        reset_at=None if is_over else reset_at,
    )


def _place(account: str) -> tuple[int, str]:
    """Where an account stands in the order in which all are locked."""
    return _RANK[account.partition(":")[0]], account
