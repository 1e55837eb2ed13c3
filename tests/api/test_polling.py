from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.api.polling import FEW, STREAK, WINDOW_SECONDS, BusyPoll
from tests.e2e.serving import serving_gateway

SOON = WINDOW_SECONDS / 2


class Clock:
    """A clock that stands still, and knows how often it was looked at."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return self.now


class Poll:
    """A busy poll, and its clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self._poll = BusyPoll(self.clock)

    def moves(self, times: int, after: float = SOON, in_flight: int = 1) -> None:
        for _ in range(times):
            self.clock.now += after
            self._poll.moved(in_flight)

    async def looks(self) -> int:
        """How often it looks in the next ten turns of the loop."""
        self.clock.looks = 0
        for _ in range(10):
            await asyncio.sleep(0)
        return self.clock.looks


async def test_what_keeps_coming_soon_is_looked_for_in_every_turn_of_the_loop() -> None:
    poll = Poll()
    poll.moves(STREAK)
    assert await poll.looks() == 0
    poll.moves(1)
    assert await poll.looks() == 10


async def test_it_looks_once_a_turn_however_often_something_comes() -> None:
    poll = Poll()
    poll.moves(STREAK + 5)
    assert await poll.looks() == 10


async def test_when_its_window_is_over_it_sleeps_until_something_comes_soon_again() -> None:
    poll = Poll()
    poll.moves(STREAK + 1)
    poll.clock.now += 1.01 * WINDOW_SECONDS
    assert await poll.looks() == 1
    assert await poll.looks() == 0
    poll.moves(STREAK + 1)  # the first of them came late
    assert await poll.looks() == 0
    poll.moves(1)
    assert await poll.looks() == 10


async def test_what_comes_soon_moves_the_window_on() -> None:
    poll = Poll()
    poll.moves(STREAK + 1)
    poll.moves(100)
    assert await poll.looks() == 10


@pytest.mark.parametrize("after", [WINDOW_SECONDS * 1.01, 0.1])
async def test_what_comes_late_is_never_waited_for(after: float) -> None:
    poll = Poll()
    poll.moves(10 * STREAK, after=after)
    assert await poll.looks() == 0


async def test_one_that_comes_late_ends_a_streak() -> None:
    poll = Poll()
    for _ in range(10):
        poll.moves(STREAK)
        poll.moves(1, after=2 * WINDOW_SECONDS)
    assert await poll.looks() == 0


async def test_where_many_are_in_flight_nothing_is_looked_for() -> None:
    poll = Poll()
    poll.moves(10 * STREAK, in_flight=FEW + 1)
    assert await poll.looks() == 0
    poll.moves(STREAK, in_flight=FEW)
    assert await poll.looks() == 0
    poll.moves(2, in_flight=FEW)
    assert await poll.looks() == 10


async def test_it_hears_of_each_request_when_it_begins_and_when_it_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []
    moved = BusyPoll.moved

    def overheard(poll: BusyPoll, in_flight: int) -> None:
        heard.append(in_flight)
        moved(poll, in_flight)

    monkeypatch.setattr(BusyPoll, "moved", overheard)
    async with serving_gateway(tmp_path) as gateway:
        for _ in range(3):
            answer = await gateway.client.get("/v1/containers/cntr_0/files/cfile_0")
            assert answer.status_code in {404, 502}
        assert heard == [1, 0] * 3
