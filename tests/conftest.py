"""What every test may ask for: databases, real ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from app.storage.engine import Database
from tests.services import missing, postgres_programs, postgres_server, redis_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A running PostgreSQL: its URL, without a database name."""
    programs = postgres_programs()
    if programs is None:
        missing("PostgreSQL (Debian's package `postgresql`)")
    with postgres_server(programs) as url:
        yield url


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database of the test's own."""
    name = f"quay_{uuid4().hex}"
    with psycopg.connect(f"{postgres}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        yield f"{postgres}/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The URL of a running Redis. Tests that share it use keys that differ."""
    with redis_server() as server:
        yield server.url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, SQLite's and then PostgreSQL's."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/quaymaster.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open database, not migrated yet: the test runs on SQLite and on PostgreSQL."""
    database = Database.open(database_url)
    yield database
    await database.close()
