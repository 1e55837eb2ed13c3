from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text, update

from app.domain.identity import ContainerScope
from app.domain.stores import AliasTaken
from app.storage import migrations, tables
from app.storage.containers import SqlContainerStore
from app.storage.engine import Database
from app.storage.errors import UnsupportedDatabase
from app.storage.keys import SqlKeyStore
from tests.storage.containers import container
from tests.storage.keys import DEED, virtual_key

ROOT = Path(__file__).parents[2]
START = """
import asyncio, sys
from app.storage.engine import Database

async def start():
    database = Database.open(sys.argv[1])
    await database.migrate()
    await database.close()

asyncio.run(start())
print(*sorted({"alembic", "mako"} & set(sys.modules)))
"""


async def test_up_down_and_up_again(database: Database) -> None:
    await database.write(lambda connection: command.upgrade(migrations.config(connection), "head"))
    key = virtual_key()
    await SqlKeyStore(database).add(key, DEED)
    await database.write(lambda connection: command.downgrade(migrations.config(connection), "base"))
    assert await database.write(lambda connection: inspect(connection).get_table_names()) == ["alembic_version"]
    await database.write(lambda connection: command.upgrade(migrations.config(connection), "head"))
    await database.migrate()
    await SqlKeyStore(database).add(key, DEED)


async def test_an_empty_database_gets_the_schema_that_the_migrations_lead_to(database: Database) -> None:
    await database.migrate()
    at_once = await database.write(_schema)
    await database.write(lambda connection: command.downgrade(migrations.config(connection), "base"))
    await database.write(lambda connection: command.upgrade(migrations.config(connection), "head"))
    step_by_step = await database.write(_schema)
    assert at_once == step_by_step
    assert len(at_once) > 10
    assert await database.write(_differences) == []


async def test_an_older_database_is_brought_forward(database: Database) -> None:
    await database.write(lambda connection: command.upgrade(migrations.config(connection), "head"))
    await database.write(lambda connection: command.downgrade(migrations.config(connection), "base"))
    await database.migrate()
    assert await database.write(migrations.is_current)


async def test_keys_outlive_the_registry_and_come_back_with_what_every_key_may(database: Database) -> None:
    await database.migrate()
    store = SqlKeyStore(database)
    key = virtual_key(alias="prod", container_scope=ContainerScope.ALL, allowed_deployments=("*",), metadata={"a": 1})
    await store.add(key, DEED)
    await SqlContainerStore(database).adopt(container())
    await database.write(lambda connection: command.downgrade(migrations.config(connection), "0001"))
    tables = await database.write(lambda connection: sorted(inspect(connection).get_table_names()))
    assert tables == ["alembic_version", "virtual_keys"]
    await database.migrate()
    assert await store.get(key.key_id) == replace(key, container_scope=ContainerScope.OWN, allowed_deployments=())
    with pytest.raises(AliasTaken):
        await store.add(virtual_key(alias="prod"), DEED)


async def test_a_database_of_a_newer_version_is_refused(database: Database) -> None:
    await database.migrate()
    future = update(tables.revision).values(version_num="9999")
    await database.write(lambda connection: connection.execute(future))
    with pytest.raises(UnsupportedDatabase, match=r"'9999'.*newer version"):
        await database.migrate()


async def test_a_failed_migration_leaves_nothing_behind(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables.revision, "create", _fail)
    with pytest.raises(RuntimeError, match="on purpose"):
        await database.migrate()
    monkeypatch.undo()
    await database.migrate()


def test_the_constant_is_alembics_own_head() -> None:
    assert ScriptDirectory(str(Path(migrations.__file__).parent)).get_current_head() == migrations.HEAD


def test_neither_a_first_nor_a_second_start_needs_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/q.db"
    for _ in range(2):
        start = [sys.executable, "-W", "error", "-c", START, url]
        done = subprocess.run(start, cwd=ROOT, check=False, capture_output=True, text=True)
        assert (done.stdout.strip(), done.stderr) == ("", "")


async def test_a_new_file_is_ready_at_once(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path}/q.db")
    began = time.perf_counter()
    await database.migrate()
    assert time.perf_counter() - began < 0.25
    await database.close()


async def test_processes_that_start_together_on_one_database(database_url: str) -> None:
    arguments = ["-W", "error", "-c", START, database_url]
    started = [
        await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=ROOT, stderr=asyncio.subprocess.PIPE)
        for _ in range(4)
    ]
    errors = [(await process.communicate())[1].decode() for process in started]
    assert errors == [""] * 4
    database = Database.open(database_url)
    revisions = text("SELECT version_num FROM alembic_version")
    rows = await database.read(lambda connection: connection.execute(revisions).scalars().all())
    await database.close()
    assert rows == [migrations.HEAD]


def _schema(connection: Connection) -> list[str]:
    """Everything that the database itself says of its tables, without the order in which columns were written."""
    if connection.dialect.name == "sqlite":
        lines = connection.execute(text("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")).scalars()
        return sorted(
            line.strip().rstrip(",").replace('"', "") for statement in lines for line in statement.splitlines()
        )
    columns = text(
        "SELECT concat_ws(' ', table_name, column_name, data_type, character_maximum_length, is_nullable,"
        " column_default) FROM information_schema.columns WHERE table_schema = 'public'"
    )
    indexes = text("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'")
    return sorted([*connection.execute(columns).scalars(), *connection.execute(indexes).scalars()])


def _differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), tables.metadata))


def _fail(*_: object, **__: object) -> None:
    raise RuntimeError("on purpose")
