"""SQLite databases that already hold much: written once through the gateway's own tables, kept, and copied."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, insert

from app.domain.accounts import Limits
from app.domain.containers import Container
from app.domain.identity import VirtualKey
from app.domain.keys import hash_secret
from app.storage import migrations, tables
from app.storage.container_rows import to_row
from app.storage.sqlite import SqliteFile
from bench import upstream

_MADE_AT = datetime(2026, 1, 1, tzinfo=UTC)
_NEVER = datetime(2100, 1, 1, tzinfo=UTC)
_AT_ONCE = 10_000
_LIMITS = Limits(max_budget_nanousd=10**15, rpm_limit=10**8, max_parallel_requests=10**5)


def copy(tools: Path, target: Path, *, keys: int, containers: int, owner: str, deployment: str) -> None:
    """Put a database at `target` that holds so many virtual keys and living containers, all of one owner.

    The first such call makes the database below `tools`; a change of the tables, or of this file, makes it anew.
    """
    wanted = f"{keys}-{containers}-{owner}-{deployment}"
    sources = (Path(tables.__file__).read_bytes(), Path(__file__).read_bytes(), wanted.encode())
    kept = tools / "filled" / f"{hashlib.sha256(b''.join(sources)).hexdigest()[:16]}.db"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        made = kept.with_suffix(".new")
        for left in kept.parent.glob(f"{made.name}*"):  # by a run that was broken off
            left.unlink()
        _make(made, keys, containers, owner, deployment)
        made.rename(kept)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(kept, target)
    target.chmod(0o600)


def _make(path: Path, keys: int, containers: int, owner: str, deployment: str) -> None:
    backend = SqliteFile(f"sqlite:///{path.absolute()}")
    backend.create()
    with backend.migrating() as connection:
        migrations.upgrade(connection)
        _add(connection, tables.virtual_keys, _keys(keys))
        _add(connection, tables.containers, _containers(containers, owner, deployment))
    with backend.engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")  # the checkpoint wants no transaction, and the engine began one
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.exec_driver_sql("BEGIN")
    backend.close()


def _add(connection: Connection, table: Table, rows: Iterator[dict[str, Any]]) -> None:
    while some := list(islice(rows, _AT_ONCE)):
        connection.execute(insert(table), some)


def _keys(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        key_id = f"{number:016x}"
        key = VirtualKey(
            key_id=key_id,
            secret_hash=hash_secret(key_id),
            created_at=_MADE_AT,
            updated_at=_MADE_AT,
            alias=f"key {number}",
            user_id=f"user {number % 1000}",
            limits=_LIMITS,
        )
        yield {field.name: getattr(key, field.name) for field in fields(key)}


def _containers(count: int, owner: str, deployment: str) -> Iterator[dict[str, Any]]:
    template = to_row(
        Container(container_id="", owner=owner, deployment=deployment, created_at=_MADE_AT, seen_at=_MADE_AT)
    )
    for number in range(count):
        container_id = f"cntr_{number:048x}"
        yield template | {
            "container_id": container_id,
            "created_at": _MADE_AT + timedelta(milliseconds=number),
            "key_id": f"{number % 100:016x}",
            "name": f"container {number}",
            "expires_at": _NEVER,  # whatever the day on which it is used
            "document": upstream.container(container_id, str(int(_MADE_AT.timestamp()))).encode(),
        }
