"""Files of any size in little memory; tests/chaos/sdk_gigabyte.py does the same with 1 GiB."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.transfers import MIB
from tests.sdk.lump import moved


@pytest.mark.parametrize("way", ["functions", "async functions"])
@pytest.mark.parametrize(("direction", "cuts"), [("up", 0), ("down", 3)])
async def test_a_large_file_takes_no_memory(way: str, direction: str, cuts: int, tmp_path: Path) -> None:
    result = await moved(way, direction, 128 * MIB, tmp_path, cuts)
    assert result.grown_bytes < 32 * MIB
