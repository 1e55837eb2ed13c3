"""Windows that end while containers come and go, and teams that are blocked in the middle, judged from outside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.books import LEAST, WHOLE, Books, keeping_books, nanousd

SECONDS = 4.0
"""How long there is load."""


@pytest.fixture
async def books(tmp_path: Path) -> AsyncIterator[Books]:
    async with keeping_books(tmp_path) as books:
        yield books


async def test_windows_roll_under_load_and_nothing_is_lost_or_counted_twice(books: Books) -> None:
    most = 4 * WHOLE
    await books.admin("/team/new", team_id="sea", max_budget=most / 1e9, budget_duration="1s")
    await books.admin("/user/new", user_id="ann", max_budget=100, budget_duration="2s", auto_create_key=False)
    key = await books.gateway.make_key(team_id="sea", user_id="ann", max_budget=100)
    until = time.monotonic() + SECONDS

    async def live() -> int:
        told = 0
        while time.monotonic() < until:
            made = await books.ask(key, "POST", json={"name": "crate"})
            told += nanousd(made)
            if made.status_code == 429:
                await asyncio.sleep(0.02)
                continue
            told += nanousd(await books.delete(key, made.json()["id"]))
        return told

    async def watch() -> set[str]:
        ends = set()
        while time.monotonic() < until:
            for row in books.rows("SELECT * FROM balances WHERE account = 'team:sea' AND reset_at IS NOT NULL"):
                assert row["spent_nanousd"] - row["spent_before_nanousd"] + row["reserved_nanousd"] <= most
                ends.add(row["reset_at"])
            await asyncio.sleep(0.01)
        return ends

    ends, told = await asyncio.gather(watch(), asyncio.gather(*(live() for _ in range(8))))
    assert len(ends) >= SECONDS - 1
    for account in ("key:", "user:ann", "team:sea"):
        assert books.balance(account) == (0, sum(told), 0)
    assert sum(told) > most


async def test_a_window_ends_when_its_refusals_say(books: Books) -> None:
    key = await books.gateway.make_key(max_budget=WHOLE / 1e9, budget_duration="2s")
    await books.delete(key, await books.make(key))
    refused = await books.ask(key, "POST", json={"name": "crate"})
    assert refused.status_code == 429
    (row,) = books.rows("SELECT * FROM balances WHERE account LIKE 'key:%'")
    assert row["spent_nanousd"] - row["spent_before_nanousd"] == LEAST
    seconds = int(refused.headers["retry-after"])
    assert 1 <= seconds <= 2
    refused_at = time.monotonic()
    while (await books.ask(key, "POST", json={"name": "crate"})).status_code == 429:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert seconds - 1.1 <= time.monotonic() - refused_at <= seconds + 0.1


async def test_what_is_reserved_when_a_window_ends_counts_in_the_next(books: Books) -> None:
    key = await books.gateway.make_key(max_budget=(2 * WHOLE - LEAST) / 1e9, budget_duration="1s")
    await books.make(key)
    (row,) = books.rows("SELECT * FROM balances")
    assert (await books.ask(key, "POST", json={"name": "crate"})).status_code == 429
    await asyncio.sleep(1.05)
    assert (await books.ask(key, "POST", json={"name": "crate"})).status_code == 200
    assert (await books.ask(key, "POST", json={"name": "crate"})).status_code == 429
    info = (await books.see("/key/info", key=row["account"].removeprefix("key:")))["info"]
    assert (info["spend"], info["total_spend"], info["reserved"]) == (0.0075, 0.015, 0.045)


async def test_a_window_whose_end_a_deletion_is_the_first_to_see(books: Books) -> None:
    key = await books.gateway.make_key(max_budget=WHOLE / 1e9, budget_duration="1s")
    container_id = await books.make(key)
    await asyncio.sleep(1.05)
    await books.delete(key, container_id)
    (row,) = books.rows("SELECT * FROM balances")
    assert row["spent_before_nanousd"] == row["spent_nanousd"] == LEAST
    await books.make(key)


async def test_a_blocked_team_is_blocked_at_once(books: Books) -> None:
    await books.admin("/team/new", team_id="sea")
    keys = [await books.gateway.make_key(team_id="sea") for _ in range(4)]
    answers: list[tuple[float, float, httpx.Response]] = []
    over = asyncio.Event()

    async def ask(key: str) -> None:
        # A client of its own: in one that is shared, who asks without a pause can keep others from their connections.
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(base_url=books.gateway.url, headers=headers, timeout=30) as client:
            while not over.is_set():
                begun = time.monotonic()
                answer = await client.get("/v1/containers")
                answers.append((begun, time.monotonic(), answer))

    asking = [asyncio.create_task(ask(key)) for key in keys for _ in range(3)]
    await asyncio.sleep(0.2)
    await books.admin("/team/block", team_id="sea")
    blocked_at = time.monotonic()
    await asyncio.sleep(0.2)
    unblocking_at = time.monotonic()
    await books.admin("/team/unblock", team_id="sea")
    unblocked_at = time.monotonic()
    await asyncio.sleep(0.2)
    over.set()
    await asyncio.gather(*asking)
    assert {one.status_code for begun, end, one in answers if begun > blocked_at and end < unblocking_at} == {401}
    assert {one.status_code for begun, _, one in answers if begun > unblocked_at} == {200}
