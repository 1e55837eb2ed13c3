"""Whether a deployment is well: a circuit that opens when it fails, and closes again when a probe says it is better.

          failures                     its cooldown is over
    CLOSED ──────▶ OPEN ────────────────────────────▶ HALF_OPEN
      ▲             ▲                                   │   │
      │             └─────────── the probe failed ──────┘   │
      └───────────── the probe went well: on probation ─────┘

Only its own credential, rate, server or network count: a 404 or a 400 is an answer of a deployment that is well.
"""

from __future__ import annotations

from enum import StrEnum
from math import inf
from typing import Final

from app.domain.errors import FaultKind

IN_A_ROW: Final = 3
"""So many failures without a success in between open a circuit."""
WINDOW: Final = 20
"""Of so many last outcomes half may not be failures, so that successes in between do not hide them."""
MIN_OUTCOMES: Final = 6
"""Of fewer outcomes nobody can say that half of them failed."""
MAX_COOLDOWN_SECONDS: Final = 300.0
MIN_RETRY_AFTER_SECONDS: Final = 1.0
MAX_RETRY_AFTER_SECONDS: Final = 600.0
FORGIVEN_SECONDS: Final = 600.0
"""Having stayed closed for so long, a circuit starts again with its first, shortest cooldown."""
PROBE_SECONDS: Final = 10.0
"""A probe that has not come back for so long is asked for again."""

_ROW: Final = (1 << IN_A_ROW) - 1
_MASK: Final = (1 << WINDOW) - 1


class Failure(StrEnum):
    """How a deployment failed, as far as its health is concerned."""

    REFUSED = "refused"
    """It does not take our credential, or wants to be paid: 401, 402, 403."""
    RATE_LIMITED = "rate_limited"
    """429."""
    SERVER_ERROR = "server_error"
    """5xx."""
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    PROTOCOL = "protocol"


class CircuitState(StrEnum):
    """Whether new containers are made there."""

    CLOSED = "closed"
    """Yes."""
    OPEN = "open"
    """No, until its cooldown is over."""
    HALF_OPEN = "half_open"
    """No, until a probe has gone well."""


_OF_STATUS: Final = {401: Failure.REFUSED, 402: Failure.REFUSED, 403: Failure.REFUSED, 429: Failure.RATE_LIMITED}
_OF_FAULT: Final = {
    FaultKind.UNREACHABLE: Failure.UNREACHABLE,
    FaultKind.TIMEOUT: Failure.TIMEOUT,
    FaultKind.PROTOCOL: Failure.PROTOCOL,
}
_OPENS_AT_ONCE: Final = frozenset({Failure.REFUSED, Failure.RATE_LIMITED})


def failure_of(status: int) -> Failure | None:
    """What an answer's status says against the deployment; None for nothing."""
    if status < 401:
        return None
    return Failure.SERVER_ERROR if status >= 500 else _OF_STATUS.get(status)


def failure_of_fault(kind: FaultKind) -> Failure:
    """What the lack of an answer says against the deployment."""
    return _OF_FAULT[kind]


class Circuit:
    """One deployment's health. `now` is in seconds, of any clock that never goes back.

    A refusal or a rate limit opens it at once; any other failure where it is the third in a row, or where half of the
    last 20 outcomes (of 6 at least) are failures. It is open for `cooldown_seconds`, and for twice as long as the last
    time whenever it opens again, up to 5 minutes; 10 minutes closed make that forgotten. A rate limit that says how
    long it lasts is believed, between a second and 10 minutes.

    After that a probe decides. Where it went well the circuit is closed on probation: the next outcome, if it is a
    failure of any kind, opens it again.

    Requests that began before it last closed say nothing: of many that were stuck together, only the first count.
    """

    __slots__ = (
        "_base_seconds",
        "_closed_at",
        "_next_seconds",
        "_on_probation",
        "_open_until",
        "_outcomes",
        "_probe_until",
        "_reason",
        "_recent",
    )

    def __init__(self, cooldown_seconds: float = 5.0) -> None:
        self._base_seconds = cooldown_seconds
        self._next_seconds = cooldown_seconds
        self._open_until: float | None = None
        self._closed_at = -inf
        self._on_probation = False
        self._reason: Failure | None = None
        self._probe_until = -inf
        self._recent = 0  # the last outcomes as bits, the newest lowest; 1 is a failure
        self._outcomes = 0

    @property
    def reason(self) -> Failure | None:
        """Which failure opened it; None where it is closed."""
        return self._reason

    def state(self, now: float) -> CircuitState:
        """How it stands at this time."""
        if self._open_until is None:
            return CircuitState.CLOSED
        return CircuitState.OPEN if now < self._open_until else CircuitState.HALF_OPEN

    def seconds_left(self, now: float) -> float:
        """How long it stays open; 0 where it is not."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - now)

    def succeeded(self, now: float, *, began_at: float = inf) -> None:
        """A request was answered, and nothing in the answer speaks against the deployment."""
        if self._open_until is None and began_at >= self._closed_at:
            self._on_probation = False
            if self._recent or self._outcomes < WINDOW:  # one more success is nothing new after as many as are kept
                self._note(0)

    def failed(
        self, now: float, failure: Failure, retry_after_seconds: float | None = None, *, began_at: float = inf
    ) -> None:
        """A request failed. `retry_after_seconds` is what the upstream asked for; 0 is as good as nothing."""
        if self._open_until is not None or began_at < self._closed_at:
            return
        self._note(1)
        if self._on_probation or failure in _OPENS_AT_ONCE or self._fails_too_often():
            self._open(now, failure, retry_after_seconds if failure is Failure.RATE_LIMITED else None)

    def wants_probe(self, now: float) -> bool:
        """Whether the caller is to send a probe now; whoever is told so owes a `probed`. Then others are told no."""
        if self._open_until is None or now < max(self._open_until, self._probe_until):
            return False
        self._probe_until = now + PROBE_SECONDS
        return True

    def probed(self, now: float, ok: bool) -> None:
        """What a probe has found. Nothing, where it comes too late to decide."""
        if self._open_until is None or now < self._open_until:
            return
        if not ok:
            self._open(now, self._reason, None)
            return
        self._open_until = self._reason = None
        self._closed_at = now
        self._on_probation = True
        self._recent = self._outcomes = 0

    def _note(self, failed: int) -> None:
        self._recent = (self._recent << 1 | failed) & _MASK
        if self._outcomes < WINDOW:
            self._outcomes += 1

    def _fails_too_often(self) -> bool:
        if self._recent & _ROW == _ROW:
            return True
        return self._outcomes >= MIN_OUTCOMES and 2 * self._recent.bit_count() >= self._outcomes

    def _open(self, now: float, failure: Failure | None, retry_after_seconds: float | None) -> None:
        """Open, or open again, from this time on.

        A time that the upstream named is no sign that it gets worse, so it is not doubled unless a probation was
        broken.
        """
        if self._open_until is None and now - self._closed_at >= FORGIVEN_SECONDS:
            self._next_seconds = self._base_seconds
        seconds = 0.0
        if retry_after_seconds:
            seconds = min(max(retry_after_seconds, MIN_RETRY_AFTER_SECONDS), MAX_RETRY_AFTER_SECONDS)
        if not seconds or self._on_probation:
            seconds = max(seconds, self._next_seconds)
            self._next_seconds = max(self._base_seconds, min(2 * self._next_seconds, MAX_COOLDOWN_SECONDS))
        self._open_until = now + seconds
        self._probe_until = -inf
        self._reason = failure
