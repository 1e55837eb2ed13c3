from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import FaultKind
from app.routing.health import Circuit, CircuitState, Failure, failure_of, failure_of_fault

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
SOFT = [Failure.SERVER_ERROR, Failure.UNREACHABLE, Failure.TIMEOUT, Failure.PROTOCOL]
ERROR = Failure.SERVER_ERROR


def opened(now: float = 0.0) -> Circuit:
    circuit = Circuit()
    circuit.failed(now, Failure.REFUSED)
    return circuit


def on_probation() -> Circuit:
    """Opened at 0, closed by a probe at 5."""
    circuit = opened()
    circuit.probed(5.0, True)
    return circuit


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        *[(status, None) for status in (100, 200, 204, 301, 400, 404, 405, 408, 409, 413, 422, 428, 430, 451, 499)],
        *[(status, Failure.REFUSED) for status in (401, 402, 403)],
        (429, Failure.RATE_LIMITED),
        *[(status, ERROR) for status in (500, 501, 502, 503, 504, 529, 599)],
    ],
)
def test_what_a_status_says(status: int, failure: Failure | None) -> None:
    assert failure_of(status) is failure


def test_what_the_lack_of_an_answer_says() -> None:
    assert {kind: failure_of_fault(kind) for kind in FaultKind} == {
        FaultKind.UNREACHABLE: Failure.UNREACHABLE,
        FaultKind.TIMEOUT: Failure.TIMEOUT,
        FaultKind.PROTOCOL: Failure.PROTOCOL,
    }


def test_a_new_circuit_is_closed() -> None:
    circuit = Circuit()
    assert circuit.state(0.0) is CLOSED
    assert circuit.reason is None
    assert circuit.seconds_left(0.0) == 0
    assert not circuit.wants_probe(0.0)


@pytest.mark.parametrize("failure", [Failure.REFUSED, Failure.RATE_LIMITED])
def test_a_refusal_and_a_rate_limit_open_it_at_once(failure: Failure) -> None:
    circuit = Circuit()
    circuit.failed(0.0, failure)
    assert circuit.state(0.0) is OPEN
    assert circuit.reason is failure
    assert circuit.seconds_left(1.0) == 4


@pytest.mark.parametrize("failure", SOFT)
def test_other_failures_open_it_when_there_are_three_in_a_row(failure: Failure) -> None:
    circuit = Circuit()
    circuit.failed(0.0, ERROR)
    circuit.failed(1.0, ERROR)
    assert circuit.state(1.0) is CLOSED
    circuit.failed(2.0, failure)
    assert circuit.state(2.0) is OPEN
    assert circuit.reason is failure


@pytest.mark.parametrize(
    ("outcomes", "opens_at"),
    [
        ("ffsffs", None),
        ("sfsfsf", 5),
        ("fsfsf", None),
        ("fsfsfsf", 6),
        ("ffsffsf", 6),
        ("ssf" * 30, None),
        ("s" * 20 + "fs" * 9, None),
        ("s" * 20 + "fs" * 9 + "f", 38),
        ("s" * 20 + "f" + "sf" * 8 + "ssf", 39),
        ("s" * 20 + "fs" + "sf" * 8 + "ssf", None),
        ("s" * 1000 + "fff", 1002),
    ],
)
def test_half_of_the_last_twenty(outcomes: str, opens_at: int | None) -> None:
    circuit = Circuit()
    found = None
    for at, outcome in enumerate(outcomes):
        if outcome == "f":
            circuit.failed(0.0, ERROR)
        else:
            circuit.succeeded(0.0)
        if circuit.state(0.0) is OPEN:
            found = at
            break
    assert found == opens_at


def test_after_its_cooldown_a_probe_decides() -> None:
    circuit = opened()
    assert circuit.state(4.99) is OPEN
    assert not circuit.wants_probe(4.99)
    assert circuit.state(5.0) is HALF_OPEN
    assert circuit.seconds_left(5.0) == 0
    assert circuit.reason is Failure.REFUSED
    assert circuit.wants_probe(5.0)
    circuit.probed(5.5, True)
    assert circuit.state(5.5) is CLOSED
    assert circuit.reason is None
    assert not circuit.wants_probe(60.0)


def test_one_probe_at_a_time_and_another_when_it_is_lost() -> None:
    circuit = opened()
    assert [circuit.wants_probe(now) for now in (5.0, 5.0, 14.9, 15.0, 15.1)] == [True, False, False, True, False]
    circuit.probed(16.0, False)
    assert [circuit.wants_probe(now) for now in (16.0, 25.9, 26.0, 26.0)] == [False, False, True, False]


def test_the_next_cooldown_has_a_probe_of_its_own() -> None:
    circuit = Circuit(1.0)
    circuit.failed(0.0, Failure.REFUSED)
    assert circuit.wants_probe(1.0)
    circuit.probed(1.0, False)
    assert circuit.wants_probe(3.0)


def test_a_probe_that_comes_too_late_decides_nothing() -> None:
    circuit = opened()
    circuit.probed(5.0, False)
    circuit.probed(6.0, True)
    assert circuit.state(6.0) is OPEN
    assert circuit.seconds_left(6.0) == 9
    closed = on_probation()
    closed.probed(6.0, False)
    assert closed.state(6.0) is CLOSED


def test_every_failed_probe_doubles_the_cooldown_up_to_five_minutes() -> None:
    circuit = opened()
    now, waited = 0.0, []
    for _ in range(9):
        waited.append(circuit.seconds_left(now))
        now += waited[-1]
        circuit.probed(now, False)
    assert waited == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_a_cooldown_that_is_configured_longer_is_never_shortened() -> None:
    circuit = Circuit(1000.0)
    circuit.failed(0.0, Failure.REFUSED)
    assert circuit.seconds_left(0.0) == 1000
    circuit.probed(1000.0, False)
    assert circuit.seconds_left(1000.0) == 1000


@pytest.mark.parametrize("failure", Failure)
def test_on_probation_one_failure_opens_it_for_twice_as_long(failure: Failure) -> None:
    circuit = on_probation()
    circuit.failed(6.0, failure)
    assert circuit.state(6.0) is OPEN
    assert circuit.seconds_left(6.0) == 10


def test_one_success_ends_the_probation_but_not_the_doubling() -> None:
    circuit = on_probation()
    circuit.succeeded(6.0)
    circuit.failed(7.0, ERROR)
    circuit.failed(7.0, ERROR)
    assert circuit.state(7.0) is CLOSED
    circuit.failed(7.0, ERROR)
    assert circuit.seconds_left(7.0) == 10


@pytest.mark.parametrize(("later", "cooldown"), [(599, 10), (600, 5)])
def test_ten_minutes_closed_make_it_forgotten(later: float, cooldown: float) -> None:
    circuit = on_probation()
    circuit.succeeded(6.0)
    circuit.failed(5.0 + later, Failure.REFUSED)
    assert circuit.seconds_left(5.0 + later) == cooldown


def test_outcomes_from_before_it_opened_are_forgotten() -> None:
    circuit = Circuit()
    for _ in range(3):
        circuit.failed(0.0, ERROR)
    circuit.probed(5.0, True)
    circuit.succeeded(6.0)
    circuit.failed(6.0, ERROR)
    circuit.failed(6.0, ERROR)
    assert circuit.state(6.0) is CLOSED


def test_so_are_the_successes_that_would_hide_new_failures() -> None:
    circuit = Circuit()
    for _ in range(20):
        circuit.succeeded(0.0)
    circuit.failed(0.0, Failure.REFUSED)
    circuit.probed(5.0, True)
    for _ in range(3):
        circuit.succeeded(6.0)
        circuit.failed(6.0, ERROR)
    assert circuit.state(6.0) is OPEN


@pytest.mark.parametrize(
    ("told", "cooldown"), [(None, 5), (0.0, 5), (0.25, 1), (30.0, 30), (600.0, 600), (86_400.0, 600)]
)
def test_a_rate_limit_is_believed_about_how_long_it_lasts(told: float | None, cooldown: float) -> None:
    circuit = Circuit()
    circuit.failed(0.0, Failure.RATE_LIMITED, told)
    assert circuit.seconds_left(0.0) == cooldown


def test_a_time_that_was_told_doubles_nothing_unless_a_probation_is_broken() -> None:
    circuit = Circuit()
    now = 0.0
    for _ in range(5):
        circuit.failed(now, Failure.RATE_LIMITED, 1.0)
        circuit.probed(now + 1, True)
        circuit.succeeded(now + 2)
        now += 2
    circuit.failed(now, Failure.REFUSED)
    assert circuit.seconds_left(now) == 5
    for told, cooldown in ((1.0, 10), (60.0, 60)):
        broken = on_probation()
        broken.failed(6.0, Failure.RATE_LIMITED, told)
        assert broken.seconds_left(6.0) == cooldown


@pytest.mark.parametrize("failure", [*SOFT, Failure.REFUSED])
def test_only_a_rate_limit_can_say_how_long(failure: Failure) -> None:
    circuit = Circuit()
    for _ in range(3):
        circuit.failed(0.0, failure, 60.0)
    assert circuit.seconds_left(0.0) == 5


def test_many_that_were_stuck_together_are_one_event() -> None:
    circuit = Circuit()
    for number in range(64):
        circuit.failed(10.0 + number * 0.01, Failure.TIMEOUT, began_at=0.0)
    assert circuit.seconds_left(10.02) == 5
    circuit.probed(16.0, True)
    for number in range(64):
        circuit.failed(16.1 + number, Failure.TIMEOUT, began_at=0.0 if number % 2 else 15.99)
    assert circuit.state(90.0) is CLOSED
    circuit.failed(91.0, Failure.TIMEOUT, began_at=16.0)
    assert circuit.seconds_left(91.0) == 10


def test_a_success_that_began_before_ends_no_probation() -> None:
    circuit = on_probation()
    circuit.succeeded(6.0, began_at=4.9)
    circuit.failed(6.0, ERROR, began_at=5.1)
    assert circuit.state(6.0) is OPEN


def test_while_it_is_open_requests_change_nothing() -> None:
    circuit = opened()
    circuit.succeeded(1.0)
    circuit.failed(2.0, Failure.RATE_LIMITED, 600.0)
    assert circuit.seconds_left(2.0) == 3
    assert circuit.reason is Failure.REFUSED
    circuit.succeeded(6.0)
    circuit.failed(6.0, ERROR)
    assert circuit.state(6.0) is HALF_OPEN


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["ok", "probe ok", "probe failed", "ask", *Failure]),
        st.floats(0, 700),
        st.floats(0, 800) | st.none(),
        st.floats(0, 100),
    ),
    max_size=80,
)


@given(EVENTS)
def test_whatever_happens_its_states_follow_the_picture(events: list[tuple[str, float, float | None, float]]) -> None:
    circuit = Circuit()
    now = 0.0
    for what, passed, told, age in events:
        before_waiting = circuit.state(now)
        now += passed
        before = circuit.state(now)
        assert (before_waiting, before) in {(s, s) for s in CircuitState} | {(OPEN, HALF_OPEN)}
        if what == "ok":
            circuit.succeeded(now, began_at=now - age)
        elif what == "ask":
            wanted = circuit.wants_probe(now)
            assert not wanted or before is HALF_OPEN
        elif what.startswith("probe"):
            circuit.probed(now, what == "probe ok")
        else:
            circuit.failed(now, Failure(what), told, began_at=now - age)
        after = circuit.state(now)
        assert (before, after) in {(s, s) for s in CircuitState} | {
            (CLOSED, OPEN),
            (HALF_OPEN, OPEN),
            (HALF_OPEN, CLOSED),
        }
        assert (after is CLOSED) == (circuit.reason is None)
        assert (after is OPEN) == (circuit.seconds_left(now) > 0)
        assert circuit.seconds_left(now) <= 600.001
