"""Intents to make containers, in SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, bindparam, delete, literal_column, select, update

from app.domain.containers import Answer, Container, Creation, CreationState
from app.domain.ports import ContainerTaken
from app.domain.spending import Crossing, Order
from app.storage import holds
from app.storage.bulk import INSERT, UPDATE, Bulk
from app.storage.commits import Shared
from app.storage.container_rows import add_or_lock, add_together, give_away, replace_row
from app.storage.dialects import insert_new
from app.storage.engine import Database
from app.storage.prepared import Asked, Prepared
from app.storage.tables import creations

MOST_UNDER_WAY: Final = 4096
"""Of so many creations the store knows without looking who pays; others are committed alone."""

SHARED_BYTES: Final = 16 * 1024
"""What is larger goes in a statement of its own: one of a hundred would take many times as much memory as it holds."""

_c = creations.c
_FIELDS: Final = tuple(field.name for field in fields(Creation) if field.name != "answer")

_ANSWER: Final = ("answer_status", "answer_type", "answer_body")

_by_id = select(creations).where(_c.creation_id == bindparam("id"))
_change = update(creations).where(_c.creation_id == bindparam("id"))
_change_pending = _change.where(_c.state == CreationState.PENDING)

_ADD: Final = Prepared(
    lambda dialect: insert_new(creations, dialect, "owner", "idempotency_key").returning(_c.creation_id),
    *(column.name for column in _c),
)
_BY_ID: Final = Prepared(_by_id)
_LOCK: Final = Prepared(select(_c.container_id).where(_c.creation_id == bindparam("id")).with_for_update())
_SAME_KEY: Final = Prepared(
    select(creations).where(_c.owner == bindparam("owner"), _c.idempotency_key == bindparam("idempotency_key"))
)
_FORGET_KEY: Final = Prepared(
    update(creations)
    .where(
        _c.owner == bindparam("of"),
        _c.idempotency_key == bindparam("key"),
        _c.started_at < bindparam("since"),
    )
    .values(idempotency_key=None)
)
_OLDEST_LOST: Final = Prepared(
    select(creations)
    .where(
        _c.key_id == bindparam("key_id"),
        _c.fingerprint == bindparam("fingerprint"),
        _c.started_at >= bindparam("since"),
        _c.state != CreationState.FAILED,
        literal_column("creations.lost"),  # as the index has it: Core would say `lost = 1` to SQLite
    )
    .order_by(_c.started_at)
    .limit(1)
    .with_for_update()  # of two who want it, the second waits and then goes on to the next
)
_DONE: Final = Prepared(_change.values(state=CreationState.DONE), "container_id", *_ANSWER)
_SET_LOST: Final = Prepared(_change, "lost")
_MOVE: Final = Prepared(_change_pending, "deployment")
_GIVE_UP: Final = Prepared(_change_pending, "lease_until")
_GIVE_UP_ANSWERED: Final = Prepared(_change_pending, "lease_until", *_ANSWER)
_FAIL: Final = Prepared(_change.where(_c.state != CreationState.DONE).values(state=CreationState.FAILED), *_ANSWER)
_FORGET: Final = Prepared(delete(creations).where(_c.creation_id == bindparam("id"), _c.state != CreationState.DONE))
_ADD_ALL: Final = Bulk(INSERT, creations, *(column.name for column in _c))
_DONE_ALL: Final = Bulk(UPDATE, creations, "creation_id", "state", "container_id", *_ANSWER)
_RENEW: Final = update(creations).where(
    _c.creation_id.in_(bindparam("ids", expanding=True)), _c.state == CreationState.PENDING
)
_PENDING: Final = select(creations).where(_c.state == CreationState.PENDING).order_by(_c.started_at, _c.creation_id)
_PENDING_THERE: Final = _PENDING.where(_c.deployment == bindparam("deployment"))


class SqlCreationStore:
    """A `CreationStore` in the table `creations`; what was made goes into `containers`, what it costs into the ledger.

    `clock` says when money moves where nobody else does.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database = database
        self._clock = clock
        self._payers: dict[str, tuple[str, ...]] = {}
        """By creation id, who pays for those under way: what has the same payers locks the same balances."""

    async def begin(
        self, creation: Creation, order: Order, *, same_key_since: datetime, lost_since: datetime | None = None
    ) -> Creation | tuple[Crossing, ...]:
        """Commit an intent and the money for it, or return the earlier creation in its place.

        Raises NoRoom, StoreUnavailable.
        """

        def alone(connection: Connection) -> Creation | tuple[Crossing, ...]:
            while True:
                earlier = _same_key(connection, creation, same_key_since)
                if earlier is None and lost_since is not None:
                    earlier = _claim_lost(connection, creation, lost_since)
                if earlier is not None:
                    return earlier
                if _ADD.rows(connection, _to_row(creation)):
                    return holds.open_hold(connection, creation.creation_id, order)

        payers = tuple(account.name for account in order.accounts)
        while len(self._payers) >= MOST_UNDER_WAY:  # of some nobody hears again
            del self._payers[next(iter(self._payers))]
        if creation.idempotency_key is not None or lost_since is not None:  # it may wait for another's
            begun = await self._database.write(alone)
        else:
            begun = await self._database.write(Shared(alone, _begin_together, (creation, order)), payers)
        if not isinstance(begun, Creation):
            self._payers[creation.creation_id] = payers
        return begun

    async def get(self, creation_id: str) -> Creation | None:
        """The creation with this id. Raises StoreUnavailable."""
        return await self._database.read(lambda connection: _one(connection, _BY_ID, id=creation_id))

    async def move(self, creation_id: str, deployment: str) -> None:
        """Commit that it is sent to another deployment now. Raises StoreUnavailable."""
        change = {"id": creation_id, "deployment": deployment}
        await self._database.write(lambda connection: _MOVE.run(connection, change))

    async def complete(self, creation_id: str, container: Container, answer: Answer) -> int:
        """Register the container that was made, and the answer; the least that it costs, which is settled.

        Raises ContainerTaken, StoreUnavailable.
        """
        made = _Made(creation_id, container, answer, self._clock())

        def alone(connection: Connection) -> int:
            locked = _LOCK.ask(connection, {"id": creation_id})
            was_living = _register(connection, container, locked)
            _DONE.post(connection, {"id": creation_id, **made.changes()})
            return holds.settle_least(connection, creation_id, container, made.at, is_living=was_living)

        payers = self._payers.pop(creation_id, None)
        is_small = len(answer.body) + len(container.document) <= SHARED_BYTES
        work = Shared(alone, _complete_together, made) if is_small else alone
        return await self._database.write(work, payers)

    async def fail(self, creation_id: str, answer: Answer | None) -> None:
        """Write down that nothing was made, or forget it; what is done stays done. Raises StoreUnavailable."""
        now = self._clock()
        self._payers.pop(creation_id, None)

        def work(connection: Connection) -> None:
            if answer is None:
                ended = _FORGET.run(connection, {"id": creation_id})
            else:
                ended = _FAIL.run(connection, {"id": creation_id, **_answer_columns(answer)})
            if ended:
                holds.release(connection, creation_id, now)

        await self._database.write(work)

    async def give_up(self, creation_id: str, at: datetime, answer: Answer | None = None) -> None:
        """Stop answering for one that may have been made or not; it stays pending. Raises StoreUnavailable."""
        give_up = _GIVE_UP if answer is None else _GIVE_UP_ANSWERED
        change = {"id": creation_id, "lease_until": at, **_answer_columns(answer)}
        await self._database.write(lambda connection: give_up.run(connection, change))

    async def set_lost(self, creation_id: str) -> None:
        """Write down that its client did not get the answer. Raises StoreUnavailable."""
        await self._database.write(lambda connection: _SET_LOST.run(connection, {"id": creation_id, "lost": True}))

    async def renew(self, creation_ids: Sequence[str], lease_until: datetime) -> None:
        """Go on answering for creations that are pending. Raises StoreUnavailable."""
        if creation_ids:
            change = {"ids": list(creation_ids), "lease_until": lease_until}
            await self._database.write(lambda connection: connection.execute(_RENEW, change))

    async def pending(self, deployment: str | None = None) -> list[Creation]:
        """Those whose end is not known, the oldest first. Raises StoreUnavailable."""
        query = _PENDING if deployment is None else _PENDING_THERE

        def work(connection: Connection) -> list[Creation]:
            rows = connection.execute(query, {"deployment": deployment} if deployment is not None else {})
            return [_from_row(row) for row in rows.mappings()]

        return await self._database.read(work)


class _Made(NamedTuple):
    """What came of a creation, and when that was learned."""

    creation_id: str
    container: Container
    answer: Answer
    at: datetime

    def changes(self) -> dict[str, Any]:
        """What that changes of the creation, but for its state."""
        return {"container_id": self.container.container_id, **_answer_columns(self.answer)}


def _begin_together(connection: Connection, begun: Sequence[tuple[Creation, Order]]) -> Sequence[tuple[Crossing, ...]]:
    """Intents without idempotency keys, and the money for them, by statements that they share.

    Raises NotTogether, or what the database makes of it, where one of them is not as usual.
    """
    _ADD_ALL.post(connection, [_to_row(creation) for creation, _ in begun])
    return holds.open_together(connection, [(creation.creation_id, order) for creation, order in begun])


def _complete_together(connection: Connection, made: Sequence[_Made]) -> Sequence[int]:
    """Containers that nobody has heard of yet, by statements that they share. Raises as `_begin_together` does."""
    rows = [{"creation_id": one.creation_id, "state": CreationState.DONE, **one.changes()} for one in made]
    _DONE_ALL.post(connection, rows)
    add_together(connection, [one.container for one in made])
    return holds.settle_together(connection, [(one.creation_id, one.container, one.at) for one in made])


def _same_key(connection: Connection, creation: Creation, since: datetime) -> Creation | None:
    """The creation with the same idempotency key. One from before `since` loses the key, and is kept without it: its
    container may still be looked for."""
    if creation.idempotency_key is None:
        return None
    forget = {"of": creation.owner, "key": creation.idempotency_key, "since": since}
    _FORGET_KEY.post(connection, forget)
    return _one(connection, _SAME_KEY, owner=creation.owner, idempotency_key=creation.idempotency_key)


def _claim_lost(connection: Connection, creation: Creation, since: datetime) -> Creation | None:
    """The oldest creation of the same request whose answer was lost, which it is from now on no longer."""
    request = {"key_id": creation.key_id, "fingerprint": creation.fingerprint, "since": since}
    lost = _one(connection, _OLDEST_LOST, **request)
    if lost is None:
        return None
    _SET_LOST.run(connection, {"id": lost.creation_id, "lost": False})
    return replace(lost, lost=False)


def _register(connection: Connection, container: Container, creation: Asked) -> bool:
    """Add a container, or write over the row with its id, which this creation may have done before.

    Returns whether the one of this id was living already. Raises ContainerTaken.
    """
    found = add_or_lock(connection, container)
    if found is None:
        return False
    if found.ending is None and found.owner is not None:
        if (found.owner, found.deployment) != (container.owner, container.deployment):
            raise ContainerTaken
        replace_row(connection, found.number, container)
    elif found.ending is None or not _has_made(creation, container):  # what ended since then does not come back
        give_away(connection, found.number, container, emptied=True)
    return found.ending is None


def _has_made(creation: Asked, container: Container) -> bool:
    row = creation.row()
    return row is not None and row["container_id"] == container.container_id


def _one(connection: Connection, query: Prepared, **values: Any) -> Creation | None:
    row = query.row(connection, values)
    return None if row is None else _from_row(row)


def _to_row(creation: Creation) -> dict[str, Any]:
    return {name: getattr(creation, name) for name in _FIELDS} | _answer_columns(creation.answer)


def _from_row(row: Mapping[Any, Any]) -> Creation:
    answer = None
    if row["answer_status"] is not None:
        answer = Answer(status=row["answer_status"], content_type=row["answer_type"], body=row["answer_body"])
    return Creation(**{name: row[name] for name in _FIELDS}, answer=answer)


def _answer_columns(answer: Answer | None) -> dict[str, Any]:
    if answer is None:
        return dict.fromkeys(_ANSWER)
    return {"answer_status": answer.status, "answer_type": answer.content_type, "answer_body": answer.body}
