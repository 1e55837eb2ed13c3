"""A short outage of each server behind three workers; `tests/chaos/outages.py` takes longer ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.outages import Which, outage

pytestmark = pytest.mark.service


@pytest.mark.parametrize("which", ["postgres", "redis"])
async def test_an_outage_costs_nobody_anything(tmp_path: Path, which: Which) -> None:
    run = await outage(tmp_path, which, seconds=1)
    print(f"works again after {run.recovery_seconds:.2f} s", run.answers)
    statuses = set(run.answers["while it was away"])
    assert statuses == {503} if which == "postgres" else statuses == {200}
