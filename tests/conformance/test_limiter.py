"""What every limiter does, whether it counts in memory or in Redis."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.limiting import Ask, Limiter, Rate, Verdict
from app.limits.memory import MemoryLimiter
from app.limits.opening import over_redis
from tests.e2e.gateway import ROOT

Opening = Callable[[], AbstractAsyncContextManager[Limiter]]


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.service)])
def opening(request: pytest.FixtureRequest) -> Opening:
    """Opens a limiter within the event loop that is running."""
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None

    @asynccontextmanager
    async def opened() -> AsyncIterator[Limiter]:
        limiter: Limiter
        if url is None:
            limiter = MemoryLimiter()
        else:
            limiter = over_redis(url, timeout_seconds=5, when_down="refuse", processes=1)
        await limiter.tend()
        yield limiter
        await limiter.aclose()

    return opened


@pytest.fixture
async def limiter(opening: Opening) -> AsyncIterator[Limiter]:
    async with opening() as limiter:
        yield limiter


@pytest.fixture
def name() -> str:
    """An account that no other test counts."""
    return f"key:{uuid4().hex}"


async def admit(limiter: Limiter, asks: Sequence[Ask], lease_id: str) -> Verdict:
    """Its verdict, at once or awaited."""
    verdict = limiter.admit(asks, lease_id)
    return verdict if isinstance(verdict, Verdict) else await verdict


def requests(account: str, limit: int, *, shadow: bool = False) -> Ask:
    return Ask(account, Rate.REQUESTS, limit, shadow)


def parallel(account: str, limit: int, *, shadow: bool = False) -> Ask:
    return Ask(account, Rate.PARALLEL, limit, shadow)


async def test_a_minute_has_so_many_requests_and_says_how_many_are_left(limiter: Limiter, name: str) -> None:
    asks = (requests(name, 3),)
    verdicts = [await admit(limiter, asks, f"lease-{number}") for number in range(5)]
    assert [verdict.remaining for verdict in verdicts] == [2, 1, 0, 0, 0]
    assert [verdict.refusal is None for verdict in verdicts] == [True, True, True, False, False]
    assert all(verdict.limit == 3 and 55 < verdict.reset_seconds <= 60 for verdict in verdicts)
    refusal = verdicts[-1].refusal
    assert refusal is not None
    assert refusal.ask == asks[0]
    assert 55 < refusal.retry_after_seconds <= 60
    assert not refusal.is_outage


async def test_the_rate_with_the_least_left_is_told(limiter: Limiter, name: str) -> None:
    verdict = await admit(limiter, (requests(name, 9), requests(f"{name}u", 4), Ask(name, Rate.CREATES, 1)), "lease")
    assert (verdict.limit, verdict.remaining) == (4, 3)


async def test_where_no_rate_is_limited_none_is_told(limiter: Limiter, name: str) -> None:
    verdict = await admit(limiter, (parallel(name, 2), Ask(name, Rate.CREATES, 5)), "lease")
    assert (verdict.refusal, verdict.limit) == (None, None)


async def test_all_have_room_or_none_is_counted(limiter: Limiter, name: str) -> None:
    team = f"team:{name}"
    assert (await admit(limiter, (requests(team, 1),), "first")).refusal is None
    both = (requests(name, 1), parallel(name, 1), requests(team, 1))
    for number in range(3):
        verdict = await admit(limiter, both, f"refused-{number}")
        assert verdict.refusal is not None
        assert verdict.refusal.ask.account == team
    verdict = await admit(limiter, (requests(name, 1), parallel(name, 1)), "last")
    assert verdict.refusal is None


async def test_of_several_without_room_the_longest_wait_is_told(limiter: Limiter, name: str) -> None:
    asks = (parallel(name, 1), requests(name, 1))
    await admit(limiter, asks, "first")
    refusal = (await admit(limiter, asks, "second")).refusal
    assert refusal is not None
    assert refusal.ask.rate is Rate.REQUESTS
    limiter.release("first")


async def test_rates_of_one_account_are_counted_apart(limiter: Limiter, name: str) -> None:
    assert (await admit(limiter, (Ask(name, Rate.CREATES, 1),), "a")).refusal is None
    assert (await admit(limiter, (requests(name, 1),), "b")).refusal is None
    assert (await admit(limiter, (Ask(name, Rate.CREATES, 1),), "c")).refusal is not None


async def test_a_slot_is_there_again_when_it_is_given_back(limiter: Limiter, name: str) -> None:
    asks = (parallel(name, 2),)
    assert (await admit(limiter, asks, "a")).refusal is None
    assert (await admit(limiter, asks, "b")).refusal is None
    refusal = (await admit(limiter, asks, "c")).refusal
    assert refusal is not None
    assert refusal.retry_after_seconds == 1
    limiter.release("c")  # which it does not have
    limiter.release("a")
    limiter.release("a")
    assert (await admit(limiter, asks, "d")).refusal is None
    assert (await admit(limiter, asks, "e")).refusal is not None


async def test_a_limit_of_nothing_lets_nothing_through(limiter: Limiter, name: str) -> None:
    assert (await admit(limiter, (requests(name, 0),), "a")).refusal is not None
    assert (await admit(limiter, (parallel(name, 0),), "b")).refusal is not None


async def test_a_shadow_counts_and_refuses_nothing(limiter: Limiter, name: str) -> None:
    asks = (requests(name, 1, shadow=True), parallel(name, 1, shadow=True))
    first, second = [await admit(limiter, asks, lease) for lease in ("a", "b")]
    assert (first.refusal, first.overrun, first.limit) == (None, (), None)
    assert (second.refusal, second.overrun, second.limit) == (None, asks, None)
    in_earnest = await admit(limiter, (requests(name, 2),), "c")
    assert in_earnest.refusal is not None


async def test_a_thousand_at_once_are_exactly_as_many_as_are_allowed(limiter: Limiter, name: str) -> None:
    asks = (requests(name, 100), parallel(name, 5000))
    verdicts = await asyncio.gather(*(admit(limiter, asks, f"lease-{number}") for number in range(1000)))
    assert sum(verdict.refusal is None for verdict in verdicts) == 100
    assert sorted(verdict.remaining for verdict in verdicts if verdict.refusal is None) == list(range(100))


async def test_what_is_asked_at_once_is_judged_one_after_the_other(limiter: Limiter, name: str) -> None:
    """Several principals in one turn, some of whose counters are the same, in shadow and in earnest."""
    team = f"team:{name}"
    one = (requests(name, 3), parallel(name, 9), requests(team, 6), parallel(team, 5, shadow=True))
    other = (requests(f"{name}2", 9), requests(team, 6), parallel(team, 5, shadow=True))
    turns = [one, other, one, one, one, other, other, other]
    verdicts = await asyncio.gather(*(admit(limiter, asks, str(turn)) for turn, asks in enumerate(turns)))
    assert [verdict.refusal is None for verdict in verdicts] == [True, True, True, True, False, True, True, False]
    assert [verdict.limit for verdict in verdicts] == [3, 6, 3, 3, 3, 6, 6, 6]
    assert [verdict.remaining for verdict in verdicts] == [2, 4, 1, 0, 0, 1, 0, 0]
    assert [len(verdict.overrun) for verdict in verdicts] == [0] * 6 + [1, 1]
    for turn in range(len(turns)):
        limiter.release(str(turn))
    assert not (await admit(limiter, (parallel(team, 1, shadow=True),), "last")).overrun


async def test_no_more_at_a_time_than_there_are_slots(limiter: Limiter, name: str) -> None:
    asks = (parallel(name, 7),)
    inside = most = done = 0

    async def client(number: int) -> None:
        nonlocal inside, most, done
        while (await admit(limiter, asks, f"lease-{number}")).refusal is not None:  # noqa: ASYNC110 - as clients do
            await asyncio.sleep(0)
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1
        done += 1
        limiter.release(f"lease-{number}")

    await asyncio.gather(*(client(number) for number in range(100)))
    assert (done, most) == (100, 7)


async def test_who_gives_up_asking_holds_no_slot(limiter: Limiter, name: str) -> None:
    asks = (parallel(name, 40),)
    for turns in range(20):
        asking = [asyncio.ensure_future(admit(limiter, asks, f"{turns}-{number}")) for number in range(2)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for number, one in enumerate(asking):
            if not one.cancel():
                limiter.release(f"{turns}-{number}")
            else:
                with suppress(asyncio.CancelledError):
                    await one
    verdicts = [await admit(limiter, asks, f"last-{number}") for number in range(40)]
    assert all(verdict.refusal is None for verdict in verdicts)


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("admit"), st.sets(st.integers(0, 5), min_size=1)),
        st.tuples(st.just("release"), st.integers(0, 30)),
    ),
    max_size=40,
)


class Model:
    """The plainest limiter there is."""

    def __init__(self) -> None:
        self.counts: Counter[Ask] = Counter()
        self.held: dict[int, list[Ask]] = {}

    def admit(self, asks: list[Ask], lease: int) -> bool:
        if any(self.counts[ask] >= ask.limit and not ask.shadow for ask in asks):
            return False
        self.counts.update(asks)
        self.held[lease] = [ask for ask in asks if ask.rate is Rate.PARALLEL]
        return True

    def release(self, lease: int) -> None:
        self.counts.subtract(self.held.pop(lease, []))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=ACTS, limits=st.lists(st.integers(0, 4), min_size=6, max_size=6))
def test_it_does_what_the_plainest_limiter_does(
    opening: Opening, acts: list[tuple[str, set[int] | int]], limits: list[int]
) -> None:
    name = uuid4().hex
    asks = [
        Ask(f"{kind}:{name}", rate, limits[at * 2 + half], shadow=kind == "team")
        for at, kind in enumerate(("key", "user", "team"))
        for half, rate in enumerate((Rate.REQUESTS, Rate.PARALLEL))
    ]

    async def play() -> None:
        model = Model()
        async with opening() as limiter:
            for lease, (act, what) in enumerate(acts):
                if isinstance(what, set):
                    chosen = [asks[number] for number in sorted(what)]
                    verdict = await admit(limiter, chosen, str(lease))
                    expected = [ask for ask in chosen if ask.shadow and model.counts[ask] >= ask.limit]
                    assert list(verdict.overrun) == expected
                    assert (verdict.refusal is None) is model.admit(chosen, lease)
                else:
                    assert act == "release"
                    limiter.release(str(what))
                    model.release(what)

    asyncio.run(play())


@pytest.mark.service
def test_three_processes_let_through_exactly_as_many_as_are_allowed(redis_url: str, name: str) -> None:
    program = Path(__file__).parents[1] / "limits" / "asking.py"
    command = [sys.executable, str(program), redis_url, name, "100", "334"]
    processes = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT)}
        )
        for _ in range(3)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        admitted = []
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            out, _ = process.communicate(timeout=30)
            admitted.append(int(out))
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert sum(admitted) == 100
