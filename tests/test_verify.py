"""`quaymaster db verify-audit` and `verify-ledger`: what they print, and how they end."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from sqlalchemy import text, update
from typer.testing import CliRunner

from app.cli import cli
from app.storage.audit import SqlAuditLog
from app.storage.creations import SqlCreationStore
from app.storage.engine import Database
from app.storage.tables import audit
from tests.e2e.gateway import clean_environment
from tests.storage.containers import at, creation
from tests.storage.keys import DEED
from tests.storage.spending import order


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without settings, and an environment with nothing but its data folder."""
    for name in os.environ.keys() - clean_environment().keys():
        monkeypatch.delenv(name)
    monkeypatch.setenv("QUAYMASTER_DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def fill(url: str, rows: int = 3, *, tamper: bool = False) -> None:
    async def write() -> None:
        database = Database.open(url)
        await database.migrate()
        for number in range(rows):
            await SqlAuditLog(database).append(DEED, f"team:{number}", None, {"number": number})
        if tamper:
            wrong = update(audit).where(audit.c.number == 2).values(actor="nobody")
            await database.write(lambda connection: connection.execute(wrong))
        await database.close()

    asyncio.run(write())


def verify(what: str = "audit") -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, ["db", f"verify-{what}"])
    return result.exit_code, result.stdout, result.stderr


def test_a_log_that_is_whole(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    fill(database_url)
    code, printed, _ = verify()
    assert code == 0
    assert "whole: 3\n" in printed
    assert "hash of the last: " in printed
    fill(database_url, rows=1)
    assert "whole: 4\n" in verify()[1]


def test_a_log_that_is_not(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    fill(database_url, tamper=True)
    code, printed, _ = verify()
    assert (code, printed) == (1, "rows that are whole: 1\nthe first that is not: 2\n")


def test_an_empty_log(tmp_path: Path) -> None:
    fill(f"sqlite:///{tmp_path}/quaymaster.db", rows=0)
    assert verify() == (0, "rows that are whole: 0\n", "")


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    code, printed, said = verify()
    assert (code, printed) == (1, "")
    assert said.startswith("quaymaster: the database ")
    assert not (tmp_path / "quaymaster.db").exists()


def hold(url: str, *falsified: str) -> None:
    async def write() -> None:
        database = Database.open(url)
        await database.migrate()
        await SqlCreationStore(database).begin(creation(), order(), same_key_since=at(-1))
        for statement in falsified:
            await database.write(lambda connection, said=statement: connection.execute(text(said)))  # type: ignore[misc]
        await database.close()

    asyncio.run(write())


def test_books_that_agree(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    hold(database_url)
    assert verify("ledger") == (0, "The books agree.\n", "")


def test_books_that_do_not_agree(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    hold(database_url, "UPDATE balances SET spent_nanousd = 5", "UPDATE balances SET containers = 0")
    code, printed, _ = verify("ledger")
    assert (code, printed.splitlines()) == (
        1,
        [
            "key:0123456789abcdef: the balance says 0.03 USD reserved and 0.000000005 spent,"
            " its entries 0.03 USD reserved and 0 spent",
            "key:0123456789abcdef: the balance counts 0 containers of 1 GB, held for are 1 of 1 GB",
            "what does not agree: 2",
        ],
    )


def test_books_that_are_not_there(tmp_path: Path) -> None:
    code, printed, said = verify("ledger")
    assert (code, printed) == (1, "")
    assert said.startswith("quaymaster: the database ")
