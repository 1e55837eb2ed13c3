from __future__ import annotations

import asyncio
from pathlib import Path

from app.domain.keys import KEY_ID_LENGTH
from app.storage.containers import SqlContainerStore
from app.storage.engine import Database
from app.storage.keys import SqlKeyStore
from bench import filled


async def test_a_filled_database_is_one_that_the_gateway_reads_as_its_own(tmp_path: Path) -> None:
    target = tmp_path / "data" / "quaymaster.db"
    await asyncio.to_thread(filled.copy, tmp_path, target, keys=3, containers=5, owner="team:t", deployment="d")
    database = Database.open(f"sqlite:///{target}")
    await database.migrate()
    keys, total = await SqlKeyStore(database).page(offset=0, limit=10)
    assert (total, {len(key.key_id) for key in keys}) == (3, {KEY_ID_LENGTH})
    assert keys[0].limits.rpm_limit is not None
    ids = [f"cntr_{number:048x}" for number in range(6)]
    assert await SqlContainerStore(database).registered(ids) == set(ids[:5])
    await database.close()


def test_it_is_made_once_and_copied(tmp_path: Path) -> None:
    for name in ("one", "two"):
        filled.copy(tmp_path, tmp_path / name, keys=1, containers=1, owner="team:t", deployment="d")
    (kept,) = (tmp_path / "filled").iterdir()
    made_at = kept.stat().st_mtime_ns
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() == kept.read_bytes()
    filled.copy(tmp_path, tmp_path / "three", keys=1, containers=2, owner="team:t", deployment="d")
    assert kept.stat().st_mtime_ns == made_at
    assert len(list((tmp_path / "filled").iterdir())) == 2
