"""Thousands of random operations at two replicas say what a plain model says: see `tests/chaos/registry_model.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.registry_model import run_model


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_two_replicas_say_what_a_model_says(tmp_path: Path, seed: int) -> None:
    run = await run_model(tmp_path, 3000, seed)
    assert set(run.refused) == {"container_not_found", "operation_not_allowed", "unknown cursor"}
    assert len(run.done) == 10
