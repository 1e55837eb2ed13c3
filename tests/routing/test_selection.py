from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.routing.health import CircuitState, Failure
from app.routing.selection import (
    Policy,
    Selector,
    available,
    least_busy,
    lowest_latency,
    round_robin,
    weighted,
)
from app.routing.track import Track

EVERY_POLICY = pytest.mark.parametrize("policy", Policy)


def fleet(**weights: float) -> list[Track]:
    return [Track(name, weight) for name, weight in weights.items()]


def shares(choose: Callable[[], Track | None], rounds: int = 20_000) -> dict[str, float]:
    counted = Counter(track.name for _ in range(rounds) if (track := choose()))
    return {name: count / rounds for name, count in counted.items()}


def measure(track: Track, seconds: float) -> None:
    track.answered(track.begin(-seconds), 0.0, None)


def test_weighted_goes_by_weight() -> None:
    tracks, random = fleet(a=1, b=2, c=5), Random(1)
    found = shares(lambda: weighted(tracks, random))
    assert found == {
        "a": pytest.approx(1 / 8, abs=0.01),
        "b": pytest.approx(2 / 8, abs=0.01),
        "c": pytest.approx(5 / 8, abs=0.01),
    }


def test_least_busy_takes_the_fewest_in_flight_for_its_weight() -> None:
    tracks, random = fleet(a=1, b=4), Random(1)
    for _ in range(2):
        tracks[0].begin(0.0)
    for _ in range(7):
        tracks[1].begin(0.0)
    assert {least_busy(tracks, random).name for _ in range(50)} == {"b"}
    for _ in range(2):
        tracks[1].begin(0.0)
    assert {least_busy(tracks, random).name for _ in range(50)} == {"a"}


def test_between_equally_busy_ones_weights_decide() -> None:
    tracks, random = fleet(a=1, b=3), Random(1)
    assert shares(lambda: least_busy(tracks, random))["b"] == pytest.approx(0.75, abs=0.01)


def test_lowest_latency_asks_each_that_is_not_measured_once() -> None:
    tracks, random = fleet(a=1, b=1, c=1), Random(1)
    measure(tracks[1], 0.001)
    chosen = []
    for _ in range(2):
        track = lowest_latency(tracks, random)
        track.begin(0.0)
        chosen.append(track.name)
    assert sorted(chosen) == ["a", "c"]
    assert shares(lambda: lowest_latency(tracks, random))["b"] > 0.9


def test_lowest_latency_takes_the_fastest_and_looks_at_the_others_sometimes() -> None:
    tracks, random = fleet(a=1, b=1, c=1), Random(1)
    for track, seconds in zip(tracks, (0.3, 0.1, 0.2), strict=True):
        measure(track, seconds)
    found = shares(lambda: lowest_latency(tracks, random))
    assert found["b"] > 0.95
    assert found["a"] == pytest.approx(0.05 / 3, abs=0.005)
    assert found["c"] == pytest.approx(0.05 / 3, abs=0.005)


def test_lowest_latency_before_anything_is_measured_is_least_busy() -> None:
    tracks = fleet(a=1, b=1)
    for track, busy in zip(tracks, (3, 2), strict=True):
        for _ in range(busy):
            track.begin(0.0)
    assert lowest_latency(tracks, Random(1)).name == "b"


def test_round_robin_is_smooth() -> None:
    tracks = fleet(a=5, b=1, c=1)
    turns: dict[str, float] = {}
    assert "".join(round_robin(tracks, turns).name for _ in range(14)) == "aabacaa" * 2


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_round_robin_is_exact_over_a_round(weights: list[int]) -> None:
    tracks = fleet(**{f"t{number}": float(weight) for number, weight in enumerate(weights)})
    turns: dict[str, float] = {}
    counted = Counter(round_robin(tracks, turns).name for _ in range(sum(weights)))
    assert counted == {track.name: track.weight for track in tracks}


def test_round_robin_goes_on_while_one_is_away() -> None:
    a, b, c = fleet(a=1, b=1, c=1)
    turns: dict[str, float] = {}
    counted = Counter(round_robin([a, b], turns).name for _ in range(100))
    assert counted == {"a": 50, "b": 50}
    counted = Counter(round_robin([a, b, c], turns).name for _ in range(99))
    assert counted == {"a": 33, "b": 33, "c": 33}


@EVERY_POLICY
def test_every_policy_spreads_and_goes_by_weight(policy: Policy) -> None:
    tracks, selector = fleet(a=1, b=3), Selector(policy, Random(1))
    for track in tracks:
        measure(track, 0.1)
    assert shares(lambda: selector.choose(tracks, 0.0))["b"] == pytest.approx(0.75, abs=0.01)


@EVERY_POLICY
def test_only_closed_ones_are_chosen(policy: Policy) -> None:
    tracks, selector = fleet(a=1, b=1, c=1), Selector(policy, Random(1))
    tracks[0].circuit.failed(0.0, Failure.REFUSED)
    tracks[1].circuit.failed(-60.0, Failure.REFUSED)
    assert [track.circuit.state(0.0) for track in tracks] == [
        CircuitState.OPEN,
        CircuitState.HALF_OPEN,
        CircuitState.CLOSED,
    ]
    assert shares(lambda: selector.choose(tracks, 0.0), 100) == {"c": 1.0}
    assert selector.choose(tracks[:2], 0.0) is None
    assert selector.choose([], 0.0) is None


@EVERY_POLICY
def test_those_left_out_are_not_chosen(policy: Policy) -> None:
    tracks, selector = fleet(a=1, b=1), Selector(policy, Random(1))
    assert shares(lambda: selector.choose(tracks, 0.0, without={"a"}), 100) == {"b": 1.0}
    assert selector.choose(tracks, 0.0, without=["a", "b"]) is None


@EVERY_POLICY
def test_a_weight_of_nothing_is_never_chosen(policy: Policy) -> None:
    tracks, selector = fleet(drained=0, a=1), Selector(policy, Random(1))
    assert shares(lambda: selector.choose(tracks, 0.0), 100) == {"a": 1.0}
    assert selector.choose(tracks, 0.0, without={"a"}) is None


@EVERY_POLICY
def test_a_stalled_one_is_the_last_resort(policy: Policy) -> None:
    tracks, selector = fleet(a=1, b=1), Selector(policy, Random(1))
    for _ in range(10):
        tracks[1].begin(9.0)
    tracks[0].begin(0.0)
    assert shares(lambda: selector.choose(tracks, 10.0), 100) == {"b": 1.0}
    assert selector.choose(tracks, 10.0, without={"b"}) is tracks[0]


def test_chance_is_passed_in() -> None:
    def run(seed: int) -> list[str]:
        tracks, selector = fleet(a=1, b=1, c=1), Selector(Policy.WEIGHTED, Random(seed))
        return [track.name for _ in range(50) if (track := selector.choose(tracks, 0.0))]

    assert run(1) == run(1) != run(2)


@given(st.data())
def test_nothing_but_what_is_available_is_chosen(data: st.DataObject) -> None:
    tracks = fleet(**{name: data.draw(st.sampled_from([0.0, 0.5, 1.0, 3.0])) for name in "abcd"})
    selector = Selector(data.draw(st.sampled_from(Policy)), Random(data.draw(st.integers(0, 99))))
    now = 0.0
    for _ in range(data.draw(st.integers(0, 40))):
        now += data.draw(st.floats(0, 3))
        track = data.draw(st.sampled_from(tracks))
        match data.draw(st.integers(0, 3)):
            case 0:
                track.begin(now)
            case 1:
                track.circuit.failed(now, data.draw(st.sampled_from(Failure)))
            case 2:
                track.circuit.probed(now, True)
            case _:
                track.answered(track.begin(now), now, None)
        without = data.draw(st.sets(st.sampled_from("abcd"), max_size=2))
        expected = available(tracks, now, without)
        chosen = selector.choose(tracks, now, without=without)
        assert (chosen is None) == (not expected)
        assert chosen is None or chosen in expected
        assert all(
            t.weight > 0 and t.name not in without and t.circuit.state(now) is CircuitState.CLOSED for t in expected
        )
