"""Which deployment a new container is made in. The policies are functions of the candidates and of chance."""

from __future__ import annotations

from collections.abc import Collection, MutableMapping, Sequence
from enum import StrEnum
from random import Random
from typing import Final

from app.routing.health import CircuitState
from app.routing.track import Track

EXPLORED: Final = 0.05
"""The share of new containers for which lowest-latency looks whether another deployment has become faster."""


class Policy(StrEnum):
    """How to choose among deployments that are well. All of them go by weight."""

    WEIGHTED = "weighted"
    """At random, each as often as its weight says."""
    LEAST_BUSY = "least-busy"
    """The one with the fewest requests in flight for its weight."""
    LOWEST_LATENCY = "lowest-latency"
    """The one that answers soonest; weights decide between equals."""
    ROUND_ROBIN = "round-robin"
    """In turn, each as often as its weight says, and never the same one many times in a row."""


class Selector:
    """Chooses by one policy. The tracks it is shown may differ from call to call; their names tell them apart."""

    def __init__(self, policy: Policy, random: Random) -> None:
        self._policy = policy
        self._random = random
        self._turns: dict[str, float] = {}

    def choose(self, tracks: Sequence[Track], now: float, *, without: Collection[str] = ()) -> Track | None:
        """Where to make a container, or None where no deployment is to be had.

        To be had are those with a weight whose circuit is closed and whose name is not in `without`; of these a stalled
        one only where all are stalled.
        """
        candidates = available(tracks, now, without)
        if not candidates:
            return None
        match self._policy:
            case Policy.WEIGHTED:
                return weighted(candidates, self._random)
            case Policy.LEAST_BUSY:
                return least_busy(candidates, self._random)
            case Policy.LOWEST_LATENCY:
                return lowest_latency(candidates, self._random)
            case Policy.ROUND_ROBIN:
                return round_robin(candidates, self._turns)


def available(tracks: Sequence[Track], now: float, without: Collection[str] = ()) -> list[Track]:
    """Those that may be chosen now."""
    closed = [
        track
        for track in tracks
        if track.weight > 0 and track.name not in without and track.circuit.state(now) is CircuitState.CLOSED
    ]
    return [track for track in closed if not track.stalled(now)] or closed


def weighted(tracks: Sequence[Track], random: Random) -> Track:
    """One of at least one, as often as its weight says."""
    return random.choices(tracks, [track.weight for track in tracks])[0]


def least_busy(tracks: Sequence[Track], random: Random) -> Track:
    """The one with the fewest in flight for its weight; between equals their weights decide."""
    loads = [track.in_flight / track.weight for track in tracks]
    least = min(loads)
    return weighted([track for track, load in zip(tracks, loads, strict=True) if load == least], random)


def lowest_latency(tracks: Sequence[Track], random: Random) -> Track:
    """The fastest, first making sure that each has been measured: one that was not is given one request to prove it.

    Every now and then any other, because only those that are asked are measured.
    """
    untried = [track for track in tracks if track.latency_seconds is None and not track.in_flight]
    if untried:
        return weighted(untried, random)
    latencies = [track.latency_seconds for track in tracks if track.latency_seconds is not None]
    if not latencies:
        return least_busy(tracks, random)
    if random.random() < EXPLORED:
        return weighted(tracks, random)
    lowest = min(latencies)
    return weighted([track for track in tracks if track.latency_seconds == lowest], random)


def round_robin(tracks: Sequence[Track], turns: MutableMapping[str, float]) -> Track:
    """The one whose turn it is, by nginx's smooth weighted round robin: a 5, 1, 1 goes a a b a c a a, not aaaaa b c.

    `turns` keeps what each is owed from call to call.
    """
    for track in tracks:
        turns[track.name] = turns.get(track.name, 0.0) + track.weight
    chosen = max(tracks, key=lambda track: turns[track.name])
    turns[chosen.name] -= sum(track.weight for track in tracks)
    return chosen
