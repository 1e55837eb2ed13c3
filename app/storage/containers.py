"""The registry of containers, in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Delete,
    Float,
    Select,
    bindparam,
    delete,
    func,
    literal,
    or_,
    select,
    union_all,
    update,
)

from app.domain.containers import Access, Container, CreationState, Ending, Ownership
from app.domain.ports import ContainerFilter, ContainerQuery, ContainerRecord, Observations
from app.domain.stores import Deed
from app.storage import container_lists
from app.storage.audit import add_deed
from app.storage.container_rows import (
    NOT_ENDED,
    OWNERSHIP,
    add_or_lock,
    give_away,
    to_ownerships,
)
from app.storage.dialects import NOW, SecondsAgo, insert_new
from app.storage.engine import Database
from app.storage.holds import settle_deleted
from app.storage.observations import write_down
from app.storage.tables import container_files, container_shares, containers, creations, turns

OVERLAP_SECONDS: Final = 20.0
"""How long a transaction may take, so that a change in it may come to light later than it was made."""

ROWS_AT_ONCE: Final = 1000
"""How many rows are forgotten before other writers get their turn."""

_c, _shares, _creations = containers.c, container_shares.c, creations.c

_OWNERSHIP: Final = OWNERSHIP.where(_c.container_id == bindparam("container_id"))
_NUMBER: Final = select(_c.number).where(_c.container_id == bindparam("container_id"))
_HELD: Final = union_all(
    _NUMBER.where(_c.owner == bindparam("owner")),
    select(_shares.number).where(
        _shares.number == func.coalesce(_NUMBER.scalar_subquery(), 0),  # an unknown id is looked for just as long
        _shares.identity.in_(bindparam("identities", expanding=True)),
    ),
).subquery()
_ACCESSIBLE: Final = OWNERSHIP.where(_c.number == select(func.max(_HELD.c.number)).scalar_subquery())
_CHANGED: Final = OWNERSHIP.where(_c.access_changed_at >= bindparam("since")).order_by(_c.access_changed_at, _c.number)
_SO_FAR: Final = select(SecondsAgo(literal(OVERLAP_SECONDS)))
_FILE_HOME: Final = (
    select(_c.container_id)
    .join(container_files)
    .where(container_files.c.file_id == bindparam("file_id"))
    .order_by(_c.number.desc())
    .limit(1)
)
_REGISTERED: Final = select(_c.container_id).where(_c.container_id.in_(bindparam("ids", expanding=True)))

_TOUCH: Final = (
    update(containers).where(_c.container_id == bindparam("id")).values(access_changed_at=NOW).returning(_c.number)
)
_UNSHARE: Final = (
    delete(container_shares)
    .where(_shares.number == bindparam("of"), _shares.identity == bindparam("by"))
    .returning(_shares.access)
)
_SHARE: Final = container_shares.insert()

_END: Final = update(containers).where(_c.container_id == bindparam("id")).values(ended_at=bindparam("at"))
_ENDS: Final = {
    Ending.DELETED: _END.where(or_(NOT_ENDED, _c.ending == Ending.GONE)).values(ending=Ending.DELETED),
    Ending.GONE: _END.where(NOT_ENDED, _c.seen_at <= bindparam("at")).values(ending=Ending.GONE),
}
_UNSEEN: Final = (
    select(_c.number)
    .where(
        _c.deployment == bindparam("there"),
        _c.created_at.between(bindparam("first"), bindparam("last")),
        _c.seen_at < bindparam("at"),
        NOT_ENDED,
    )
    .order_by(_c.container_id)  # as everybody locks them
    .with_for_update()
)
_END_UNSEEN: Final = (
    update(containers).where(_c.number.in_(_UNSEEN)).values(ending=Ending.GONE, ended_at=bindparam("at"))
)
_OLDEST_ALIVE: Final = select(func.min(_c.created_at)).where(
    _c.deployment == bindparam("deployment"),
    NOT_ENDED,
    _c.status != "expired",
    or_(_c.expires_at.is_(None), _c.expires_at > bindparam("now")),
)

_TAKE_TURN: Final = (
    update(turns)
    .where(turns.c.name == bindparam("turn"), turns.c.taken_at <= SecondsAgo(bindparam("seconds", type_=Float)))
    .values(taken_at=NOW)
)


def _forgetting(key: Column[Any], *where: ColumnElement[bool]) -> tuple[Select[Any], Delete]:
    """How to find some rows that are old, less those that others have locked, and how to delete them."""
    find = select(key).where(*where).limit(ROWS_AT_ONCE).with_for_update(skip_locked=True)
    return find, delete(key.table).where(key.in_(bindparam("keys", expanding=True)))


_DEAD: Final = (
    _forgetting(_c.number, _c.ending.in_(list(Ending)), _c.ended_at < bindparam("before")),
    _forgetting(_c.number, NOT_ENDED, _c.expires_at < bindparam("before")),
)
_OLD: Final = _forgetting(
    _creations.creation_id,
    _creations.state.in_([CreationState.DONE, CreationState.FAILED]),
    _creations.started_at < bindparam("before"),
)


class SqlContainerStore:
    """A `ContainerStore` in the table `containers` and those around it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ownership(self, container_id: str) -> Ownership | None:
        """Whose a container is and where it lives. Raises StoreUnavailable."""
        return await self._one_ownership(_OWNERSHIP, container_id=container_id)

    async def accessible(self, container_id: str, owner: str, identities: Sequence[str]) -> Ownership | None:
        """The same for whoever owns it or has a share; None in the same time for others. Raises StoreUnavailable."""
        asked = {"container_id": container_id, "owner": owner, "identities": identities}
        return await self._one_ownership(_ACCESSIBLE, **asked)

    async def changed_ownerships(self, since: datetime | None) -> tuple[list[Ownership], datetime]:
        """Those with another owner or other shares since then, and what to ask with next. Raises StoreUnavailable."""

        def work(connection: Connection) -> tuple[list[Ownership], datetime]:
            next_since = connection.execute(_SO_FAR).scalar_one()
            if since is None:
                return [], next_since
            return to_ownerships(connection.execute(_CHANGED, {"since": since})), next_since

        return await self._database.read(work)

    async def file_home(self, file_id: str) -> str | None:
        """The id of the container that this file was last seen in. Raises StoreUnavailable."""

        def work(connection: Connection) -> str | None:
            found: str | None = connection.execute(_FILE_HOME, {"file_id": file_id}).scalar()
            return found

        return await self._database.read(work)

    async def page(self, query: ContainerQuery) -> tuple[list[Container], bool]:
        """One page, and whether more follow. Raises UnknownCursor, StoreUnavailable."""
        return await self._database.read(lambda connection: container_lists.page(connection, query))

    async def record(self, container_id: str) -> ContainerRecord | None:
        """Everything about one container. Raises StoreUnavailable."""
        return await self._database.read(lambda connection: container_lists.record(connection, container_id))

    async def records(
        self, wanted: ContainerFilter, *, now: datetime, offset: int, limit: int
    ) -> tuple[list[ContainerRecord], int]:
        """One page, newest first, and how many there are in all. Raises StoreUnavailable."""
        return await self._database.read(
            lambda connection: container_lists.records(connection, wanted, now=now, offset=offset, limit=limit)
        )

    async def registered(self, container_ids: Sequence[str]) -> set[str]:
        """Which of these ids are registered. Raises StoreUnavailable."""

        def work(connection: Connection) -> set[str]:
            found: set[str] = set()
            for start in range(0, len(container_ids), ROWS_AT_ONCE):
                ids = container_ids[start : start + ROWS_AT_ONCE]
                found.update(connection.execute(_REGISTERED, {"ids": ids}).scalars())
            return found

        return await self._database.read(work) if container_ids else set()

    async def adopt(self, container: Container, deed: Deed | None = None) -> None:
        """Register a container under an owner or nobody, without shares. Raises StoreUnavailable."""

        def work(connection: Connection) -> None:
            found = add_or_lock(connection, container)
            if found is None:
                connection.execute(_TOUCH, {"id": container.container_id})
            else:
                give_away(connection, found.number, container, emptied=False)
            if deed is not None:
                before = None if found is None else {"owner": found.owner}
                add_deed(connection, deed, f"container:{container.container_id}", before, {"owner": container.owner})

        await self._database.write(work)

    async def share(self, container_id: str, identity: str, access: Access | None, deed: Deed | None = None) -> bool:
        """Share a container or stop sharing it; False where there was nothing to do it to. Raises StoreUnavailable."""

        def work(connection: Connection) -> bool:
            number = connection.execute(_TOUCH, {"id": container_id}).scalar()
            if number is None:
                return False
            before = connection.execute(_UNSHARE, {"of": number, "by": identity}).scalar()
            if access is not None:
                connection.execute(_SHARE, {"number": number, "identity": identity, "access": access})
            if before is None and access is None:
                return False
            if deed is not None:
                was, is_ = ({} if it is None else {identity: it.value} for it in (before, access))
                add_deed(connection, deed, f"container:{container_id}", {"shares": was}, {"shares": is_})
            return True

        return await self._database.write(work)

    async def end(
        self, container_id: str, ending: Ending, at: datetime, request_id: str | None = None, *, asked: bool = False
    ) -> int:
        """Write down that a container is no more, unless it was seen since it was gone; what was settled for it.

        Raises StoreUnavailable.
        """
        ended = {"id": container_id, "at": at}

        def work(connection: Connection) -> int:
            is_new = connection.execute(_ENDS[ending], ended).rowcount > 0
            if asked or (is_new and ending is Ending.DELETED):
                return settle_deleted(connection, container_id, at, request_id)
            return 0

        return await self._database.write(work)

    async def observe(self, seen: Observations) -> None:
        """Write down what answers told. Raises StoreUnavailable."""
        if seen.sightings or seen.active or seen.files_seen or seen.files_removed or seen.files_listed:
            await self._database.write(lambda connection: write_down(connection, seen))

    async def oldest_alive(self, deployment: str, now: datetime) -> datetime | None:
        """When the oldest container was made that lives there as far as is known. Raises StoreUnavailable."""
        asked = {"deployment": deployment, "now": now}

        def work(connection: Connection) -> datetime | None:
            oldest: datetime | None = connection.execute(_OLDEST_ALIVE, asked).scalar_one()
            return oldest

        return await self._database.read(work)

    async def end_unseen(self, deployment: str, *, seen_before: datetime, created: tuple[datetime, datetime]) -> int:
        """End as GONE, at `seen_before`, what was made in this span (its ends included) and not seen since.

        Raises StoreUnavailable.
        """
        unseen = {"there": deployment, "at": seen_before, "first": created[0], "last": created[1]}
        return await self._database.write(lambda connection: connection.execute(_END_UNSEEN, unseen).rowcount)

    async def take_turn(self, name: str, every_seconds: float) -> bool:
        """Whether this process is to do a chore now. Raises StoreUnavailable."""

        def work(connection: Connection) -> bool:
            first = insert_new(turns, connection.dialect.name, "name").values(taken_at=NOW)
            if connection.execute(first, {"name": name}).rowcount:
                return True
            return connection.execute(_TAKE_TURN, {"turn": name, "seconds": every_seconds}).rowcount > 0

        return await self._database.write(work)

    async def purge(self, *, dead_before: datetime, begun_before: datetime) -> int:
        """Forget what died or began long ago; returns how many rows went. Raises StoreUnavailable."""
        count = 0
        for forgetting, before in (*((dead, dead_before) for dead in _DEAD), (_OLD, begun_before)):
            while gone := await self._database.write(partial(_forget, forgetting, before)):
                count += gone
        return count

    async def _one_ownership(self, query: Select[Any], **asked: Any) -> Ownership | None:
        def work(connection: Connection) -> Ownership | None:
            return next(iter(to_ownerships(connection.execute(query, asked))), None)

        return await self._database.read(work)


def _forget(forgetting: tuple[Select[Any], Delete], before: datetime, connection: Connection) -> int:
    """Delete some rows; how many those were."""
    find, remove = forgetting
    keys = connection.execute(find, {"before": before}).scalars().all()
    return connection.execute(remove, {"keys": keys}).rowcount if keys else 0
