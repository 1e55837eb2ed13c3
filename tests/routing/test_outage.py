"""One of three deployments breaks: how much of the load still goes there, over virtual time."""

from __future__ import annotations

import heapq
from collections import Counter
from random import Random

import pytest

from app.routing.health import CircuitState, Failure
from app.routing.selection import Policy, Selector
from app.routing.track import Track

REQUESTS = 10_000
LATENCY_SECONDS = 0.05
HANG_SECONDS = 600.0
PATIENCE_SECONDS = 10.0


class Fleet:
    """Deployments a, b and c behind one selector, where `ill` behaves as `how` says: a failure, a hang, or impatience.

    Requests come one every `pace_seconds`; each ends by itself as a heap of events says. A probe goes wherever one is
    wanted, and finds what a list would find.
    """

    def __init__(self, policy: Policy, how: Failure | str, pace_seconds: float) -> None:
        self.tracks = [Track(name) for name in "abc"]
        self.selector = Selector(policy, Random(7))
        self.how = how
        self.pace_seconds = pace_seconds
        self.sent: Counter[str] = Counter()
        self.events: list[tuple[float, int, Track, int]] = []

    def run(self, requests: int = REQUESTS) -> float:
        """The share that went to the ill one."""
        for number in range(requests):
            now = number * self.pace_seconds
            self._finish(now)
            self._probe(now)
            track = self.selector.choose(self.tracks, now)
            assert track is not None
            self.sent[track.name] += 1
            heapq.heappush(self.events, (now + self._seconds(track), number, track, track.begin(now)))
        return self.sent["a"] / requests

    def _is_ill(self, track: Track) -> bool:
        return track.name == "a"

    def _seconds(self, track: Track) -> float:
        if not self._is_ill(track):
            return LATENCY_SECONDS
        return {"hangs": HANG_SECONDS, "hangs, and clients leave": PATIENCE_SECONDS}.get(self.how, 0.001)

    def _finish(self, now: float) -> None:
        while self.events and self.events[0][0] <= now:
            at, _, track, token = heapq.heappop(self.events)
            if not self._is_ill(track):
                track.answered(token, at, None)
            elif isinstance(self.how, Failure):
                track.answered(token, at, self.how)
            elif self.how == "hangs":
                track.answered(token, at, Failure.TIMEOUT)
            else:
                track.abandoned(token, at)

    def _probe(self, now: float) -> None:
        for track in self.tracks:
            if track.wants_probe(now):
                track.probed(now, not self._is_ill(track))


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize("how", [*Failure, "hangs", "hangs, and clients leave"])
def test_the_ill_one_gets_less_than_one_in_a_hundred(policy: Policy, how: Failure | str) -> None:
    fleet = Fleet(policy, how, pace_seconds=0.1)
    assert fleet.run() < 0.01
    assert fleet.sent["b"] > 1000 < fleet.sent["c"]


def test_it_comes_back_when_it_is_well() -> None:
    tracks = [Track(name) for name in "abc"]
    selector = Selector(Policy.LEAST_BUSY, Random(7))
    sent: Counter[str] = Counter()
    for number in range(6000):
        now = number * 0.1
        ill = now < 60
        track = selector.choose(tracks, now)
        assert track is not None
        sent[track.name] += now >= 300
        failure = Failure.UNREACHABLE if ill and track.name == "a" else None
        track.answered(track.begin(now), now + 0.01, failure)
        if tracks[0].wants_probe(now):
            tracks[0].probed(now, not ill)
    assert tracks[0].circuit.state(600.0) is CircuitState.CLOSED
    assert sent["a"] == pytest.approx(1000, rel=0.1)


def test_it_comes_back_from_a_hang_while_requests_are_still_stuck() -> None:
    fleet = Fleet(Policy.LEAST_BUSY, "hangs", pace_seconds=0.1)
    fleet.run(600)
    ill, stuck = fleet.tracks[0], fleet.tracks[0].in_flight
    assert ill.circuit.reason is Failure.TIMEOUT
    now = 60.0 + ill.circuit.seconds_left(60.0)
    assert ill.wants_probe(now)
    ill.probed(now, True)
    assert ill.circuit.state(now) is CircuitState.CLOSED
    assert not ill.stalled(now)
    assert ill.in_flight == stuck > 0
