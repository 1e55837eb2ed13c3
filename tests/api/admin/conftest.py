from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.storage.engine import Database
from app.storage.keys import SqlKeyStore
from tests.api.admin.hosting import Admin, hosted


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[Admin]:
    database = Database.open(f"sqlite:///{tmp_path}/q.db")
    await database.migrate()
    async with hosted(SqlKeyStore(database)) as admin:
        yield admin
    await database.close()
