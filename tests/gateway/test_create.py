"""Creates whose client is gone before anybody could be told."""

from __future__ import annotations

from typing import Any, cast

from app.domain.exchange import Outcome
from app.gateway.create import Creates
from app.gateway.losses import Making
from app.storage.creations import SqlCreationStore
from app.storage.engine import Database
from app.tasks import Tasks
from tests.exchanges import answered_exchange
from tests.storage.containers import creation
from tests.storage.spending import account, order

NOBODY: Any = None
"""Stands for parts that this does not come to."""


async def test_who_left_before_it_was_begun_has_lost_the_answer_too(database: Database) -> None:
    await database.migrate()
    creations, tasks = SqlCreationStore(database), Tasks()
    creates = Creates(
        NOBODY, NOBODY, containers=NOBODY, creations=creations, ownerships=NOBODY, costs=NOBODY, tasks=tasks
    )
    exchange, made = answered_exchange(), creation(idempotency_key=None)
    exchange.outcome = Outcome.CLIENT_GONE
    assert await creates._begin(exchange, Making(made), order(account()), is_again=False) is None
    await tasks.drain(5)
    assert cast(Any, await creations.get(made.creation_id)).lost
