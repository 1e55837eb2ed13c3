from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.storage.engine import Database
from tests.api.admin.hosting import Admin, hosted
from tests.registry.harbour import Harbour, opened_harbour


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[Admin]:
    """The key, team, user and audit routes."""
    database = Database.open(f"sqlite:///{tmp_path}/q.db")
    await database.migrate()
    async with hosted(database) as admin:
        yield admin
    await database.close()


@pytest.fixture
async def harbour(tmp_path: Path) -> AsyncIterator[Harbour]:
    """A registry and two deployments."""
    async with opened_harbour(tmp_path) as harbour:
        yield harbour


@pytest.fixture
async def operator(harbour: Harbour) -> AsyncIterator[Admin]:
    """The key and container routes over that registry."""
    async with hosted(harbour.database, harbour) as admin:
        yield admin
