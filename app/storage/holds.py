"""What is held for containers, from the intent to the last entry. Each function is part of a transaction.

Rows are locked in the order creation, container, hold, balances.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, bindparam, insert, or_, select, update

from app.domain.accounts import AccountKind
from app.domain.containers import Container
from app.domain.spending import MINUTE, Crossing, EntryKind, Extension, Order, Price
from app.storage import balances
from app.storage.balances import Move
from app.storage.bulk import INSERT, LOCK, UPDATE, Bulk
from app.storage.prepared import NotTogether, Prepared, Row
from app.storage.tables import entries, holds

LONGEST: Final = 366 * 24 * 60
"""The most minutes that are held for at once, whatever anybody says: a container that is used is held for again."""

_h = holds.c
_IS_OPEN: Final = _h.closed_at.is_(None)

_lock = select(holds).with_for_update()
_change = update(holds).where(_h.hold_id == bindparam("id"))

_COLUMNS: Final = tuple(column.name for column in _h)
_LINE: Final = tuple(column.name for column in entries.c if column.name != "number")

_ADD: Final = Prepared(insert(holds), *_COLUMNS)
_ENTER: Final = Prepared(insert(entries), *_LINE)
_LOCK: Final = Prepared(_lock.where(_h.hold_id == bindparam("id")))
_LOCK_BOTH: Final = Prepared(
    _lock.where(or_(_h.hold_id == bindparam("id"), _h.container_id == bindparam("container_id")))
)
_LOCK_OPEN_OF: Final = Prepared(_lock.where(_h.container_id == bindparam("container_id"), _IS_OPEN))
_MAKES: Final = (
    "container_id",
    "deployment",
    "minutes",
    "covered_until",
    "closed_at",
    "reserved_nanousd",
    "spent_nanousd",
)
_MADE: Final = Prepared(_change, *_MAKES)
_PROLONGS: Final = ("covered_until", "reserved_nanousd", "spent_nanousd")
_PROLONG: Final = Prepared(_change, *_PROLONGS)
_LET_GO: Final = Prepared(_change.values(container_id=None))
_CLOSE: Final = Prepared(
    _change.values(closed_at=bindparam("closed"), reserved_nanousd=0, spent_nanousd=bindparam("spent"))
)
_LOCK_EXPIRED: Final = Prepared(
    select(holds)
    .where(_IS_OPEN, _h.covered_until < bindparam("before"), _h.container_id.is_not(None))
    .order_by(_h.covered_until)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_LOCK_ABANDONED: Final = Prepared(
    select(holds)
    .where(_IS_OPEN, _h.covered_until < bindparam("before"), _h.container_id.is_(None))
    .order_by(_h.covered_until)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)

_ADD_ALL: Final = Bulk(INSERT, holds, *_COLUMNS)
_ENTER_ALL: Final = Bulk(INSERT, entries, *_LINE)
_LOCK_ALL: Final = Bulk(LOCK, holds, "hold_id")
_MADE_ALL: Final = Bulk(UPDATE, holds, "hold_id", *_MAKES)
_LOCK_ALL_OF: Final = Bulk(LOCK, holds, "container_id")
_PROLONG_ALL: Final = Bulk(UPDATE, holds, "hold_id", *_PROLONGS)

_ABOUT: Final = (
    "hold_id",
    "container_id",
    "key_id",
    "user_id",
    "team_id",
    "tags",
    "provider",
    "deployment",
    "memory_limit",
)
"""What an entry takes over from its hold."""


class Posting(NamedTuple):
    """What one entry does to a hold."""

    kind: EntryKind
    reserved_nanousd: int
    spent_nanousd: int


class _Change(NamedTuple):
    """What is written of a hold."""

    hold: Row
    """Afterwards."""
    lines: list[Row]
    accounts: list[str]
    move: Move
    """Of each account's balance."""


def open_hold(connection: Connection, hold_id: str, order: Order) -> tuple[Crossing, ...]:
    """Reserve what a container may cost until it would expire by itself. Raises NoRoom; then all is to be rolled back.

    Returns the limits that were crossed.
    """
    hold, line = _opened(hold_id, order)
    crossings = balances.take(connection, order, hold["reserved_nanousd"], order.started_at)
    _ENTER.post(connection, line)
    _ADD.post(connection, hold)
    return crossings


def open_together(connection: Connection, ordered: Sequence[tuple[str, Order]]) -> list[tuple[Crossing, ...]]:
    """`open_hold` for several, by statements that they share. Raises NotTogether; then all is to be rolled back."""
    opened = [_opened(hold_id, order) for hold_id, order in ordered]
    needs = [(order, hold["reserved_nanousd"]) for (_, order), (hold, _) in zip(ordered, opened, strict=True)]
    crossings = balances.take_together(connection, needs)
    _ENTER_ALL.post(connection, [line for _, line in opened])
    _ADD_ALL.post(connection, [hold for hold, _ in opened])
    return crossings


def settle_least(connection: Connection, hold_id: str, container: Container, now: datetime, *, is_living: bool) -> int:
    """A container is made: settle the least that it costs, and hold what it may still cost. Returns the least.

    How long it lives unused its upstream says. `is_living`: it was registered before and has not ended; whoever pays
    for it already goes on then, and this costs nothing. What was released before is held again.
    """
    container_id = container.container_id
    found = _LOCK_BOTH.rows(connection, {"id": hold_id, "container_id": container_id})
    hold = next((row for row in found if row["hold_id"] == hold_id), None)
    if hold is None:
        return 0
    price = _price(hold)
    least = price.cost(0)
    if hold["container_id"] is not None:
        return least if hold["container_id"] == container_id else 0
    for other in found:
        if other is not hold and not _let_go(connection, other, now, is_living=is_living):
            _release(connection, hold, now)
            return 0
    _write(connection, _made(hold, container, now), now, change_with=_MADE)
    return least


def settle_together(connection: Connection, made: Sequence[tuple[str, Container, datetime]]) -> list[int]:
    """`settle_least` for several, each with the id of its hold, whose containers were not known before.

    Raises NotTogether; then all is to be rolled back.
    """
    found = {
        row["hold_id"]: row for row in _LOCK_ALL.rows(connection, [{"hold_id": hold_id} for hold_id, _, _ in made])
    }
    changes = []
    for hold_id, container, now in made:
        hold = found.pop(hold_id, None)
        if hold is None or hold["container_id"] is not None or hold["closed_at"] is not None:
            raise NotTogether
        changes.append(_made(hold, container, now))
    _ENTER_ALL.post(connection, [line for change in changes for line in change.lines])
    _MADE_ALL.post(connection, [change.hold for change in changes])
    moves = [(change.accounts, change.move) for change in changes if change.move != Move()]
    balances.move(connection, moves, max(now for _, _, now in made))
    return [_price(change.hold).cost(0) for change in changes]


def release(connection: Connection, hold_id: str, now: datetime) -> None:
    """Nothing was made: give everything back."""
    hold = _one(connection, hold_id)
    if hold is not None:
        _release(connection, hold, now)


def settle_deleted(connection: Connection, container_id: str, at: datetime, request_id: str | None) -> int:
    """The container was deleted at this time: settle what it cost, release the rest. Returns what that spent."""
    hold = _LOCK_OPEN_OF.row(connection, {"container_id": container_id})
    if hold is None:
        return 0
    minutes = max(1, -((hold["started_at"] - at) // MINUTE))  # those that have begun
    due: int = _price(hold).cost(minutes) - hold["spent_nanousd"]
    spent: int = max(0, min(due, hold["reserved_nanousd"]))
    _close(connection, hold, spent, at, request_id)
    return spent


def extend(connection: Connection, container_id: str, used_at: datetime) -> Extension | None:
    """The container was used and lives longer: reserve what that may cost. None where nothing is held for it."""
    hold = _LOCK_OPEN_OF.row(connection, {"container_id": container_id})
    if hold is None:
        return None
    extension, change = _extended(hold, used_at)
    if change is not None:
        _write(connection, change, used_at, change_with=_PROLONG)
    return extension


def extend_together(connection: Connection, used: Sequence[tuple[str, datetime]]) -> list[Extension | None]:
    """`extend` for several, each with the id of its container. Raises NotTogether; then all is to be rolled back."""
    asked = [{"container_id": container_id} for container_id, _ in used]
    found = {row["container_id"]: row for row in _LOCK_ALL_OF.rows(connection, asked) if row["closed_at"] is None}
    if len({container_id for container_id, _ in used}) < len(used):
        raise NotTogether
    extensions: list[Extension | None] = []
    changes: list[_Change] = []
    for container_id, used_at in used:
        hold = found.get(container_id)
        extension, change = (None, None) if hold is None else _extended(hold, used_at)
        extensions.append(extension)
        if change is not None:
            changes.append(change)
    _ENTER_ALL.post(connection, [line for change in changes for line in change.lines])
    _PROLONG_ALL.post(connection, [change.hold for change in changes])
    moves = [(change.accounts, change.move) for change in changes if change.move != Move()]
    balances.move(connection, moves, max(used_at for _, used_at in used))
    return extensions


def close_expired(connection: Connection, before: datetime, now: datetime, limit: int) -> int:
    """Settle holds that covered their containers until before this time; how many those were."""
    found = _LOCK_EXPIRED.rows(connection, {"before": before, "most": limit})
    _close_all(connection, [(hold, hold["reserved_nanousd"]) for hold in found], now)
    return len(found)


def release_abandoned(connection: Connection, before: datetime, now: datetime, limit: int) -> int:
    """Release holds of creates of which nobody ever learned what came; how many those were."""
    found = _LOCK_ABANDONED.rows(connection, {"before": before, "most": limit})
    _close_all(connection, [(hold, 0) for hold in found], now)
    return len(found)


def _let_go(connection: Connection, other: Row, now: datetime, *, is_living: bool) -> bool:
    """Have a hold that paid for an earlier container let go of its id; False for one that pays for this one."""
    if other["closed_at"] is None:
        if is_living:
            return False
        _close(connection, other, other["reserved_nanousd"], now)
    _LET_GO.post(connection, {"id": other["hold_id"]})
    return True


def _release(connection: Connection, hold: Row, now: datetime) -> None:
    if hold["closed_at"] is None and hold["container_id"] is None:
        _close(connection, hold, 0, now)


def _close(connection: Connection, hold: Row, spent: int, at: datetime, request_id: str | None = None) -> None:
    _close_all(connection, [(hold, spent)], at, request_id)


def _close_all(
    connection: Connection, closing: Sequence[tuple[Row, int]], at: datetime, request_id: str | None = None
) -> None:
    """Spend so much of what each of these has reserved, give the rest back, and hold nothing any more."""
    if not closing:
        return
    lines: list[dict[str, Any]] = []
    changes: list[dict[str, Any]] = []
    moves: list[tuple[list[str], Move]] = []
    for hold, spent in closing:
        reserved = hold["reserved_nanousd"]
        postings = [Posting(EntryKind.SETTLE, -spent, spent)] if spent else []
        if reserved > spent:
            postings.append(Posting(EntryKind.RELEASE, spent - reserved, 0))
        lines += _lines(hold, postings, at, request_id or hold["request_id"])
        changes.append({"id": hold["hold_id"], "closed": at, "spent": hold["spent_nanousd"] + spent})
        moves.append((_accounts(hold), Move(-reserved, spent, -1, -hold["memory_gb"])))
    _ENTER.run_each(connection, lines)
    _CLOSE.run_each(connection, changes)
    balances.move(connection, moves, at)


def _opened(hold_id: str, order: Order) -> tuple[Row, Row]:
    """The hold for an order, and its entry."""
    minutes = min(order.minutes, LONGEST)
    needed = order.price.cost(minutes)
    names = {account.kind: account.id for account in order.accounts}
    about = {
        "hold_id": hold_id,
        "container_id": None,
        "key_id": names[AccountKind.KEY],
        "user_id": names.get(AccountKind.USER),
        "team_id": names.get(AccountKind.TEAM),
        "tags": list(order.tags),
        "provider": order.provider,
        "deployment": order.deployment,
        "memory_limit": order.memory_limit,
        "reserved_nanousd": needed,
        "spent_nanousd": 0,
        "request_id": order.request_id,
    }
    hold = about | {
        "memory_gb": order.memory_gb,
        "nanousd_per_unit": order.price.nanousd_per_unit,
        "unit_minutes": order.price.unit_minutes,
        "minimum_minutes": order.price.minimum_minutes,
        "minutes": minutes,
        "started_at": order.started_at,
        "covered_until": order.started_at + minutes * MINUTE,
        "closed_at": None,
    }
    return hold, about | {"at": order.started_at, "kind": EntryKind.RESERVE}


def _made(hold: Row, container: Container, now: datetime) -> _Change:
    """What becomes of a hold whose container is made: the least is settled, and what it may still cost is held."""
    price, said = _price(hold), container.expires_after_minutes
    minutes = hold["minutes"] if said is None else min(said, LONGEST)
    least = price.cost(0)
    correction = price.cost(minutes) - hold["reserved_nanousd"]
    was_open = hold["closed_at"] is None
    if was_open:
        kind = EntryKind.RESERVE if correction > 0 else EntryKind.RELEASE
        postings = [Posting(kind, correction, 0), Posting(EntryKind.SETTLE, -least, least)]
    else:
        postings = [Posting(EntryKind.ADJUST, correction - least, least)]
    kept = {
        "container_id": container.container_id,
        "deployment": container.deployment,
        "minutes": minutes,
        "covered_until": hold["started_at"] + minutes * MINUTE,
        "closed_at": None,
    }
    return _changed(hold, postings, now, kept, alive=0 if was_open else 1)


def _extended(hold: Row, used_at: datetime) -> tuple[Extension, _Change | None]:
    """What is held for a container that was used, and what becomes of its hold; None where it covers that already."""
    life = timedelta(minutes=hold["minutes"])
    covered_until: datetime = hold["covered_until"]
    if used_at + life <= covered_until:
        return Extension(covered_until=covered_until, free_until=covered_until - life, reserved_nanousd=0), None
    minutes = -((hold["started_at"] - used_at - life) // MINUTE)
    covered_until = hold["started_at"] + minutes * MINUTE
    reserved = max(0, _price(hold).cost(minutes) - hold["reserved_nanousd"] - hold["spent_nanousd"])
    change = _changed(hold, [Posting(EntryKind.RESERVE, reserved, 0)], used_at, {"covered_until": covered_until})
    return Extension(covered_until=covered_until, free_until=covered_until - life, reserved_nanousd=reserved), change


def _changed(hold: Row, postings: Iterable[Posting], at: datetime, kept: dict[str, Any], *, alive: int = 0) -> _Change:
    """What these entries, and what is `kept` with them, make of a hold. `alive` is 1 for one that is held again."""
    postings = [posting for posting in postings if posting.reserved_nanousd or posting.spent_nanousd]
    reserved = sum(posting.reserved_nanousd for posting in postings)
    spent = sum(posting.spent_nanousd for posting in postings)
    changed = {
        **hold,
        **kept,
        "reserved_nanousd": hold["reserved_nanousd"] + reserved,
        "spent_nanousd": hold["spent_nanousd"] + spent,
    }
    return _Change(
        hold=changed,
        lines=_lines(changed, postings, at, hold["request_id"]),
        accounts=_accounts(hold),
        move=Move(reserved, spent, alive, alive * hold["memory_gb"]),
    )


def _write(connection: Connection, change: _Change, at: datetime, *, change_with: Prepared) -> None:
    """Write a change down."""
    _ENTER.run_each(connection, change.lines)
    change_with.post(connection, {"id": change.hold["hold_id"], **change.hold})
    if change.move != Move():
        balances.move(connection, [(change.accounts, change.move)], at)


def _lines(hold: Row, postings: Iterable[Posting], at: datetime, request_id: str | None) -> list[dict[str, Any]]:
    """Entries of the ledger."""
    about = {name: hold[name] for name in _ABOUT}
    return [{"at": at, "request_id": request_id, **about, **posting._asdict()} for posting in postings]


def _one(connection: Connection, hold_id: str) -> Row | None:
    return _LOCK.row(connection, {"id": hold_id})


def _price(hold: Row) -> Price:
    return Price(
        nanousd_per_unit=hold["nanousd_per_unit"],
        unit_minutes=hold["unit_minutes"],
        minimum_minutes=hold["minimum_minutes"],
    )


def _accounts(hold: Row) -> list[str]:
    """The names of who pays."""
    names = (("key", hold["key_id"]), ("user", hold["user_id"]), ("team", hold["team_id"]))
    return [f"{kind}:{name}" for kind, name in names if name is not None]
