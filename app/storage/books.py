"""Whether the books agree: balances, holds and the entries that they are the sums of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, FromClause, Select, func, literal, or_, select, text, union_all

from app.domain.accounts import AccountKind
from app.domain.money import usd_text
from app.storage.tables import balances, entries, holds

_h, _e, _b = holds.c, entries.c, balances.c
_KINDS: Final = tuple(kind.value for kind in AccountKind)


def _by_account(table: FromClause, *amounts: Any, where: Any = None) -> Any:
    """Sums for each account that rows of this table name."""
    selects: list[Select[Any]] = []
    for kind in _KINDS:
        account = table.c[f"{kind}_id"]
        query = select((literal(f"{kind}:") + account).label("account"), *amounts).where(account.is_not(None))
        selects.append((query if where is None else query.where(where)).group_by(account))
    return union_all(*selects)


_ENTERED: Final = _by_account(
    entries,
    func.sum(_e.reserved_nanousd).label("reserved"),
    func.sum(_e.spent_nanousd).label("spent"),
)
_HELD: Final = _by_account(
    holds,
    func.sum(_h.reserved_nanousd).label("reserved"),
    func.count().label("containers"),
    func.sum(_h.memory_gb).label("memory_gb"),
    where=_h.closed_at.is_(None),
)
_STANDING: Final = select(_b.account, _b.reserved_nanousd, _b.spent_nanousd, _b.containers, _b.memory_gb)

_sums: Final = (
    select(_e.hold_id, func.sum(_e.reserved_nanousd).label("reserved"), func.sum(_e.spent_nanousd).label("spent"))
    .group_by(_e.hold_id)
    .subquery()
)
_reserved = func.coalesce(_sums.c.reserved, 0)
_spent = func.coalesce(_sums.c.spent, 0)
_WRONG_HOLDS: Final = (
    select(_h.hold_id, _h.reserved_nanousd, _h.spent_nanousd, _reserved, _spent)
    .select_from(holds.outerjoin(_sums, _h.hold_id == _sums.c.hold_id))
    .where(or_(_h.reserved_nanousd != _reserved, _h.spent_nanousd != _spent))
    .order_by(_h.hold_id)
)
_LEFT_RESERVED: Final = (
    select(_sums.c.hold_id, _sums.c.reserved)
    .select_from(_sums.outerjoin(holds, _h.hold_id == _sums.c.hold_id))
    .where(or_(_h.hold_id.is_(None), _h.closed_at.is_not(None)), _sums.c.reserved != 0)
    .order_by(_sums.c.hold_id)
)


class _Sums(NamedTuple):
    """What an account has by one book; amounts in nano-USD."""

    reserved: int = 0
    spent: int = 0
    containers: int = 0
    memory_gb: int = 0


def verify(connection: Connection) -> list[str]:
    """What does not agree, a line for each: empty where all does."""
    if connection.dialect.name == "postgresql":  # all of it as it was at one moment; SQLite never reads otherwise
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    return [*_wrong_balances(connection), *_wrong_holds(connection)]


def _wrong_balances(connection: Connection) -> Iterator[str]:
    entered = {account: _Sums(int(reserved), int(spent)) for account, reserved, spent in connection.execute(_ENTERED)}
    held = {
        account: _Sums(int(reserved), 0, containers, int(memory_gb))
        for account, reserved, containers, memory_gb in connection.execute(_HELD)
    }
    standing = {account: _Sums(*amounts) for account, *amounts in connection.execute(_STANDING)}
    nothing = _Sums()
    for account in sorted(entered.keys() | held.keys() | standing.keys()):
        has, entries_say = standing.get(account, nothing), entered.get(account, nothing)
        holds_say = held.get(account, nothing)
        if has[:2] != entries_say[:2]:
            yield f"{account}: the balance says {_money(has)}, its entries {_money(entries_say)}"
        if has.reserved != holds_say.reserved:
            yield f"{account}: {usd_text(has.reserved)} USD are reserved, {usd_text(holds_say.reserved)} are held"
        if has[2:] != holds_say[2:]:
            yield (
                f"{account}: the balance counts {has.containers} containers of {has.memory_gb} GB,"
                f" held for are {holds_say.containers} of {holds_say.memory_gb} GB"
            )


def _wrong_holds(connection: Connection) -> Iterator[str]:
    for hold_id, reserved, spent, *entered in connection.execute(_WRONG_HOLDS):
        says = _money(_Sums(int(entered[0]), int(entered[1])))
        yield f"hold {hold_id}: it says {_money(_Sums(reserved, spent))}, its entries {says}"
    for hold_id, reserved in connection.execute(_LEFT_RESERVED):
        yield f"hold {hold_id}: {usd_text(int(reserved))} USD are reserved, and it is closed"


def _money(sums: _Sums) -> str:
    return f"{usd_text(sums.reserved)} USD reserved and {usd_text(sums.spent)} spent"
