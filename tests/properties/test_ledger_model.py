"""Random operations on the ledger come to what a plain model says: see `tests/chaos/ledger_model.py`."""

from __future__ import annotations

import pytest

from tests.chaos.ledger_model import run_model


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_ledger_does_what_a_model_does(database_url: str, seed: int) -> None:
    run = await run_model(database_url, 400, seed)
    assert {"begin", "refuse", "complete", "fail", "delete", "close", "cancel"} <= run.done.keys()
    assert (run.allowed.total() > 0) == ("use" in run.done) == (seed == 2)
