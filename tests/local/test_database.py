from __future__ import annotations

from pathlib import Path

import pytest

from app.local.database import Database
from tests.local.hosting import Clock

INSERT = "INSERT INTO files (id, created_at, filename, purpose, bytes, digest) VALUES (?, 0, '', '', 0, '')"


def fail_after(database: Database, statement: str, values: tuple[object, ...]) -> None:
    with database.durable():
        database.execute(statement, values)
        raise KeyError


def test_a_transaction_that_raises_leaves_no_trace(tmp_path: Path) -> None:
    database = Database(tmp_path / "records.db", Clock())
    with pytest.raises(KeyError):
        fail_after(database, INSERT, ("one",))
    with database.durable():
        database.execute(INSERT, ("two",))
    assert database.execute("SELECT id FROM files").fetchall() == [("two",)]
    database.close()


def test_the_first_failure_is_the_one_that_is_told(tmp_path: Path) -> None:
    """SQLite itself rolls back when the disk is full."""
    database = Database(tmp_path / "records.db", Clock())
    with pytest.raises(KeyError):
        fail_after(database, "ROLLBACK", ())
    database.close()


def test_answers_are_synced_and_touches_are_not(tmp_path: Path) -> None:
    full, normal = (2,), (1,)
    database = Database(tmp_path / "records.db", Clock())
    assert database.execute("PRAGMA synchronous").fetchone() == normal
    with database.durable():
        assert database.execute("PRAGMA synchronous").fetchone() == full
    assert database.execute("PRAGMA synchronous").fetchone() == normal
    database.close()
