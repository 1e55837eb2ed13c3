"""What every test may ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from tests.services import missing, postgres_programs, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A running PostgreSQL: its URL, without a database name."""
    programs = postgres_programs()
    if programs is None:
        missing("PostgreSQL (Debian's package `postgresql`)")
        return
    with postgres_server(programs) as url:
        yield url


@pytest.fixture
async def postgres_url(postgres: str) -> AsyncIterator[str]:
    """The URL of an empty PostgreSQL database of the test's own."""
    import asyncpg

    name = f"quay_{uuid4().hex}"
    connection = await asyncpg.connect(f"{postgres}/postgres")
    try:
        await connection.execute(f"CREATE DATABASE {name} STRATEGY file_copy TEMPLATE template0")
        yield f"{postgres}/{name}"
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()
