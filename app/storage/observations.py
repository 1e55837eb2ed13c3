"""What answers on their way down told about containers, written down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, Executable, bindparam, delete, literal, select, update

from app.domain.containers import Container, Ending, Sighting
from app.domain.ports import Observations, SeenFile
from app.storage.container_rows import CONTAINER, to_container, to_row
from app.storage.dialects import conflicting_insert
from app.storage.tables import container_files, containers

ROWS_AT_ONCE: Final = 500
_MAX_FILE_ID: Final = 256
_MAX_BYTES: Final = 2**63 - 1

_c, _files = containers.c, container_files.c

# Everybody locks rows in the order of their ids, so that no two wait for each other.
_LOCK: Final = (
    select(_c.number, *(column for column in CONTAINER if column.name != "document"), literal(b"").label("document"))
    .where(_c.container_id.in_(bindparam("ids", expanding=True)))
    .order_by(_c.container_id)
    .with_for_update()
)
_WRITE: Final = update(containers).where(_c.number == bindparam("id"))
_REMOVE_FILE: Final = delete(container_files).where(
    _files.number == bindparam("of"), _files.file_id == bindparam("file")
)
_KEEP_FILES: Final = delete(container_files).where(
    _files.number == bindparam("of"), _files.file_id.not_in(bindparam("listed", expanding=True))
)


def write_down(connection: Connection, seen: Observations) -> None:
    """Write down what is news of the containers that are registered."""
    numbers, known = _lock(connection, seen)
    now = dict(known)
    for sighting in sorted(seen.sightings, key=lambda sighting: sighting.seen_at):
        if sighting.container_id in now:
            now[sighting.container_id] = _sighted(now[sighting.container_id], sighting)
    sighted = {container_id for container_id in now if now[container_id] is not known[container_id]}
    for container_id, at in seen.active.items():
        if container_id in now:
            now[container_id] = _active(now[container_id], at)
    active = {container_id for container_id in now if now[container_id] is not known[container_id]} - sighted
    _write(connection, [{"id": numbers[id], **to_row(now[id])} for id in sorted(sighted)])
    _write(connection, [{"id": numbers[id], **_activity(now[id])} for id in sorted(active)])
    _write_files(connection, seen, numbers)


def _lock(connection: Connection, seen: Observations) -> tuple[dict[str, int], dict[str, Container]]:
    """By container id, the numbers and (without their documents) the rows of all that is spoken of."""
    ids = {sighting.container_id for sighting in seen.sightings}
    ids |= {file.container_id for file in seen.files_seen}
    ids |= {container_id for container_id, _ in seen.files_removed}
    ids |= seen.active.keys() | seen.files_listed.keys()
    wanted = sorted(ids)
    numbers, known = {}, {}
    for start in range(0, len(wanted), ROWS_AT_ONCE):
        for row in connection.execute(_LOCK, {"ids": wanted[start : start + ROWS_AT_ONCE]}).mappings():
            numbers[row["container_id"]] = row["number"]
            known[row["container_id"]] = to_container(row)
    return numbers, known


def _sighted(container: Container, sighting: Sighting) -> Container:
    """The container after a sighting; itself where that is no news."""
    known_at = max(container.seen_at, container.ended_at or container.seen_at)
    if container.ending is Ending.DELETED or sighting.seen_at < known_at:
        return container
    said = Container.of(sighting, owner=container.owner, deployment=container.deployment, key_id=container.key_id)
    times = [time for time in (container.last_active_at, said.last_active_at) if time is not None]
    return replace(
        said,
        created_at=min(container.created_at, said.created_at),  # an upstream that says none must not move it
        last_active_at=max(times, default=None),
        expires_after_minutes=_first(said.expires_after_minutes, container.expires_after_minutes),
        memory_limit=_first(said.memory_limit, container.memory_limit),
    )


def _active(container: Container, at: datetime) -> Container:
    """The container after a request for it succeeded; itself where that is no news."""
    if container.ending is not None or (container.last_active_at is not None and at <= container.last_active_at):
        return container
    return replace(container, last_active_at=at)


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _activity(container: Container) -> dict[str, Any]:
    return {"last_active_at": container.last_active_at, "expires_at": container.expires_at}


def _write(connection: Connection, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(_WRITE, rows)


def _write_files(connection: Connection, seen: Observations, numbers: Mapping[str, int]) -> None:
    listed = {id: files for id, files in seen.files_listed.items() if id in numbers}
    for id, files in listed.items():
        connection.execute(_KEEP_FILES, {"of": numbers[id], "listed": [file.file_id for file in files]})
    rows = list(_file_rows([*(file for files in listed.values() for file in files), *seen.files_seen], numbers))
    if rows:
        connection.execute(_adding_files(connection.dialect.name), rows)
    removed = [{"of": numbers[id], "file": file_id} for id, file_id in seen.files_removed if id in numbers]
    if removed:
        connection.execute(_REMOVE_FILE, removed)


def _file_rows(files: Iterable[SeenFile], numbers: Mapping[str, int]) -> Iterable[dict[str, Any]]:
    """The rows that can be kept, ordered for those who write the same ones."""
    for file in sorted(files, key=lambda file: (file.container_id, file.file_id)):
        if file.container_id in numbers and len(file.file_id) <= _MAX_FILE_ID:
            size = file.bytes if file.bytes is not None and 0 <= file.bytes <= _MAX_BYTES else None
            yield {"number": numbers[file.container_id], "file_id": file.file_id, "bytes": size}


@cache
def _adding_files(dialect: str) -> Executable:
    """Add files, or the sizes of those that are there; a size once known is not forgotten."""
    add = conflicting_insert(container_files, dialect)
    return add.on_conflict_do_update(
        index_elements=["number", "file_id"],
        set_={"bytes": add.excluded.bytes},
        where=add.excluded.bytes.is_distinct_from(_files.bytes) & add.excluded.bytes.is_not(None),
    )
