from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.registry.harbour import Harbour, opened_harbour


@pytest.fixture
async def harbour(tmp_path: Path) -> AsyncIterator[Harbour]:
    async with opened_harbour(tmp_path) as harbour:
        yield harbour
