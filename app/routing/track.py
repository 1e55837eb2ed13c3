"""What this process knows of one deployment from the requests it sends there."""

from __future__ import annotations

from math import exp, inf
from typing import Final

from app.routing.health import PROBE_SECONDS, Circuit, CircuitState, Failure

LATENCY_MEMORY_SECONDS: Final = 30.0
"""How fast measurements are forgotten: after so long one weighs a third of a new one."""
STALL_LATENCIES: Final = 10
"""A deployment that takes its time is not stalled before so many times what it usually takes."""

_UNANSWERED: Final = frozenset({Failure.UNREACHABLE, Failure.TIMEOUT})


class Track:
    """One deployment's running state. `now` is in seconds, of a clock that never goes back.

    Every attempt is begun once, and ended by either `answered` or `abandoned`; what is ended already may be ended
    again, which does nothing. `weight` is its share of new containers: 0 means none. `latency_seconds` is the mean
    time to the head of an answer, of late; None before the first.
    """

    __slots__ = (
        "_latency_weight",
        "_measured_at",
        "_next_token",
        "_probe_until",
        "_silent_since",
        "_stall_seconds",
        "_streaming",
        "_waiting",
        "circuit",
        "latency_seconds",
        "name",
        "weight",
    )

    def __init__(
        self, name: str, weight: float = 1.0, circuit: Circuit | None = None, *, stall_seconds: float = 5.0
    ) -> None:
        self.name = name
        self.weight = weight
        self.circuit = circuit or Circuit()
        self.latency_seconds: float | None = None
        self._stall_seconds = stall_seconds
        self._next_token = 0
        self._waiting: dict[int, float] = {}
        self._streaming: dict[int, float] = {}
        self._silent_since: float | None = None  # when the first attempt since the last answer began
        self._latency_weight = 0.0
        self._measured_at = 0.0
        self._probe_until = -inf

    @property
    def in_flight(self) -> int:
        """How many attempts have no answer yet."""
        return len(self._waiting) + len(self._streaming)

    def begin(self, now: float, *, streamed: bool = False) -> int:
        """Begin an attempt; returns the token that ends it.

        A streamed one sends a long body: that it takes long says nothing about the deployment.
        """
        token = self._next_token = self._next_token + 1
        if streamed:
            self._streaming[token] = now
        else:
            self._waiting[token] = now
            if self._silent_since is None:
                self._silent_since = now
        return token

    def answered(
        self, token: int, now: float, failure: Failure | None, retry_after_seconds: float | None = None
    ) -> None:
        """The head of an answer is here, or it is certain that none will come."""
        began_at = self._waiting.pop(token, None)
        if began_at is None:
            began_at = self._streaming.pop(token, None)
            if began_at is None:
                return
        elif failure is None:
            self._measure(now, now - began_at)
        if failure is None:
            self.circuit.succeeded(now, began_at=began_at)
        else:
            self.circuit.failed(now, failure, retry_after_seconds, began_at=began_at)
        if failure not in _UNANSWERED or not self._waiting:
            self._silent_since = None

    def abandoned(self, token: int, now: float) -> None:
        """The client left first. That says nothing, unless it waited for a deployment that answers nobody."""
        began_at = self._waiting.get(token)
        if began_at is None:
            self._streaming.pop(token, None)
            return
        if self.stalled(now) and now - began_at > self._patience_seconds():
            self.circuit.failed(now, Failure.TIMEOUT, began_at=began_at)
        del self._waiting[token]
        if not self._waiting:
            self._silent_since = None

    def stalled(self, now: float) -> bool:
        """Whether it answers nobody: attempts wait, and none was answered since the first of them began, long ago.

        Attempts that were waiting already when the last answer came are slow, perhaps, but not a sign.
        """
        return self._silent_since is not None and now - self._silent_since > self._patience_seconds()

    def wants_probe(self, now: float) -> bool:
        """Whether the caller is to send a probe now: its cooldown is over, or it is stalled.

        Whoever is told so owes a `probed`; until then, or for 10 seconds, others are told no.
        """
        if self.circuit.state(now) is not CircuitState.CLOSED:
            return self.circuit.wants_probe(now)
        if now < self._probe_until or not self.stalled(now):
            return False
        self._probe_until = now + PROBE_SECONDS
        return True

    def probed(self, now: float, ok: bool) -> None:
        """What a probe has found. A stalled deployment that answers it is slow, and one that does not has failed."""
        self._probe_until = -inf
        if self.circuit.state(now) is not CircuitState.CLOSED:
            self.circuit.probed(now, ok)
        elif not ok and self.stalled(now):
            self.circuit.failed(now, Failure.TIMEOUT)
        if ok:
            self._silent_since = None

    def _patience_seconds(self) -> float:
        if self.latency_seconds is None:
            return self._stall_seconds
        return max(self._stall_seconds, STALL_LATENCIES * self.latency_seconds)

    def _measure(self, now: float, seconds: float) -> None:
        """Take a measurement into a mean in which each weighs the less the older it is."""
        weight, age = self._latency_weight, now - self._measured_at
        if age > 0.0:
            weight *= exp(-age / LATENCY_MEMORY_SECONDS)
            self._measured_at = now
        weight += 1.0
        self._latency_weight = weight
        mean = self.latency_seconds
        self.latency_seconds = seconds if mean is None else mean + (seconds - mean) / weight
