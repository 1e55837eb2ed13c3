from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.routing.health import CircuitState, Failure
from app.routing.track import Track


def closed(track: Track, now: float) -> bool:
    return track.circuit.state(now) is CircuitState.CLOSED


def measured(*seconds: float) -> Track:
    """A track that has answered so many requests, all of them at 0."""
    track = Track("a")
    for each in seconds:
        track.answered(track.begin(-each), 0.0, None)
    return track


def test_attempts_are_in_flight_until_they_end() -> None:
    track = Track("a")
    one, two, three = track.begin(0.0), track.begin(0.0, streamed=True), track.begin(0.0)
    assert len({one, two, three}) == 3
    assert track.in_flight == 3
    track.answered(one, 1.0, None)
    track.abandoned(two, 1.0)
    track.answered(three, 1.0, Failure.TIMEOUT)
    assert track.in_flight == 0


@pytest.mark.parametrize("streamed", [False, True])
def test_what_has_ended_may_be_ended_again(streamed: bool) -> None:
    track = Track("a")
    token = track.begin(0.0, streamed=streamed)
    track.answered(token, 1.0, None)
    latency = track.latency_seconds
    for _ in range(3):
        track.abandoned(token, 2.0)
        track.answered(token, 2.0, Failure.REFUSED)
    assert (track.in_flight, track.latency_seconds) == (0, latency)
    assert closed(track, 2.0)


def test_answers_feed_the_circuit() -> None:
    track = Track("a")
    track.answered(track.begin(0.0), 0.0, Failure.RATE_LIMITED, 30.0)
    assert track.circuit.seconds_left(0.0) == 30
    track = Track("a")
    for failure in (Failure.TIMEOUT, Failure.TIMEOUT, None, Failure.TIMEOUT):
        track.answered(track.begin(0.0), 0.0, failure)
    assert closed(track, 0.0)


def test_the_circuit_learns_when_an_attempt_began() -> None:
    track = Track("a")
    tokens = [track.begin(0.0, streamed=number % 2 == 1) for number in range(64)]
    for token in tokens[:32]:
        track.answered(token, 10.0, Failure.TIMEOUT)
    assert track.circuit.seconds_left(10.0) == 5
    track.circuit.probed(15.0, True)
    for token in tokens[32:]:
        track.answered(token, 16.0, Failure.TIMEOUT)
    assert closed(track, 16.0)


def test_an_answer_to_what_began_before_ends_no_probation() -> None:
    track = Track("a")
    token = track.begin(0.0)
    track.circuit.failed(1.0, Failure.REFUSED)
    track.circuit.probed(6.0, True)
    track.answered(token, 7.0, None)
    track.answered(track.begin(7.0), 8.0, Failure.SERVER_ERROR)
    assert not closed(track, 8.0)


def test_latency_is_the_mean_of_what_was_measured_together() -> None:
    assert Track("a").latency_seconds is None
    assert measured(1.0).latency_seconds == 1.0
    assert measured(1.0, 2.0, 6.0).latency_seconds == pytest.approx(3.0)


def test_an_old_measurement_loses_to_a_fresh_one() -> None:
    track = measured(*[10.0] * 5)
    for _ in range(5):
        track.answered(track.begin(299.0), 300.0, None)
    assert track.latency_seconds == pytest.approx(1.0, rel=0.01)
    assert measured(10.0).latency_seconds == 10.0


def test_measurements_of_about_the_same_time_count_alike() -> None:
    track = Track("a")
    for now, seconds in ((1000.0, 1.0), (1000.1, 2.0), (1000.2, 6.0)):
        track.answered(track.begin(now - seconds), now, None)
    assert track.latency_seconds == pytest.approx(3.0, rel=0.01)


def test_failures_and_uploads_are_not_measured() -> None:
    track = Track("a")
    track.answered(track.begin(0.0), 1.0, Failure.SERVER_ERROR)
    track.answered(track.begin(0.0, streamed=True), 100.0, None)
    track.abandoned(track.begin(0.0), 1.0)
    assert track.latency_seconds is None


def test_silence_is_a_stall() -> None:
    track = Track("a")
    assert not track.stalled(100.0)
    token = track.begin(0.0)
    track.begin(4.0)
    assert not track.stalled(5.0)
    assert track.stalled(5.1)
    track.answered(token, 6.0, None)
    assert not track.stalled(100.0)


def test_a_slow_deployment_is_given_ten_times_what_it_takes() -> None:
    track = measured(2.0)
    track.begin(0.0)
    assert not track.stalled(20.0)
    assert track.stalled(20.1)


def test_the_patience_can_be_set() -> None:
    track = Track("a", stall_seconds=0.5)
    track.begin(0.0)
    assert track.stalled(0.6)


def test_a_slow_request_among_answered_ones_is_no_stall_but_does_not_hide_one() -> None:
    track = Track("a")
    track.begin(0.0)
    for second in range(20):
        track.answered(track.begin(float(second)), second + 0.1, None)
    assert not track.stalled(60.0)
    track.begin(60.0)
    assert track.stalled(65.1)


def test_an_upload_may_take_its_time() -> None:
    track = Track("a")
    track.begin(0.0, streamed=True)
    assert not track.stalled(600.0)


@pytest.mark.parametrize(
    ("failure", "silent"),
    [(failure, failure in (Failure.UNREACHABLE, Failure.TIMEOUT)) for failure in Failure],
)
def test_only_an_answer_breaks_the_silence(failure: Failure, silent: bool) -> None:
    track = Track("a")
    first = track.begin(0.0)
    track.begin(0.0)
    track.answered(first, 6.0, failure)
    assert track.stalled(6.0) is silent


def test_where_nobody_waits_there_is_no_silence() -> None:
    track = Track("a")
    track.answered(track.begin(0.0), 6.0, Failure.TIMEOUT)
    track.abandoned(track.begin(6.0), 7.0)
    assert not track.stalled(100.0)
    track.begin(100.0)
    assert not track.stalled(104.0)


def test_a_client_that_left_says_nothing() -> None:
    track = Track("a")
    for number in range(100):
        track.abandoned(track.begin(float(number)), number + 4.9)
    assert closed(track, 200.0)


def test_clients_that_left_after_waiting_in_vain_say_something() -> None:
    track = Track("a")
    tokens = [track.begin(0.0) for _ in range(3)]
    latecomer = track.begin(9.0)
    track.abandoned(latecomer, 10.0)
    for token in tokens[:2]:
        track.abandoned(token, 10.0)
    assert closed(track, 10.0)
    track.abandoned(tokens[2], 10.0)
    assert track.circuit.reason is Failure.TIMEOUT


def test_clients_that_left_a_deployment_which_answers_others_do_not() -> None:
    track = Track("a")
    slow = [track.begin(0.0) for _ in range(3)]
    track.answered(track.begin(8.0), 8.1, None)
    for token in slow:
        track.abandoned(token, 10.0)
    assert closed(track, 10.0)


def test_clients_that_came_before_it_was_well_again_do_not() -> None:
    track = Track("a")
    stuck = track.begin(0.0)
    track.circuit.failed(1.0, Failure.REFUSED)
    track.circuit.probed(6.0, True)
    assert track.stalled(7.0)
    track.abandoned(stuck, 7.0)
    assert closed(track, 7.0)


def test_a_stall_is_probed_and_again_when_the_probe_is_lost() -> None:
    track = Track("a")
    assert not track.wants_probe(0.0)
    track.begin(0.0)
    asked = [track.wants_probe(now) for now in (5.0, 5.1, 5.2, 15.0, 15.1, 15.2)]
    assert asked == [False, True, False, False, True, False]


def test_a_stalled_deployment_that_answers_a_probe_is_only_slow() -> None:
    track = Track("a")
    track.begin(0.0)
    track.probed(6.0, True)
    assert not track.stalled(60.0)
    assert closed(track, 60.0)


def test_three_probes_that_a_stalled_deployment_does_not_answer_open_its_circuit() -> None:
    track = Track("a")
    track.begin(0.0)
    for now in (6.0, 11.0, 16.0):
        assert closed(track, now)
        assert track.wants_probe(now)
        track.probed(now, False)
    assert track.circuit.reason is Failure.TIMEOUT
    assert not track.wants_probe(20.9)
    assert track.wants_probe(21.0)
    track.probed(22.0, True)
    assert closed(track, 22.0)
    assert not track.stalled(22.0)


def test_a_failed_probe_counts_only_while_it_is_stalled() -> None:
    track = Track("a")
    track.begin(0.0)
    for now, ok in ((6.0, False), (11.0, False), (12.0, True), (13.0, False)):
        track.probed(now, ok)
    assert closed(track, 13.0)


@given(
    st.lists(
        st.tuples(st.sampled_from(["begin", "upload", "answer", "leave", *Failure]), st.floats(0, 10), st.integers(0)),
        max_size=100,
    )
)
def test_whatever_happens_it_keeps_count(events: list[tuple[str, float, int]]) -> None:
    track = Track("a")
    now, waiting, uploading = 0.0, list[int](), list[int]()
    for what, passed, which in events:
        now += passed
        if what == "begin":
            waiting.append(track.begin(now))
        elif what == "upload":
            uploading.append(track.begin(now, streamed=True))
        elif waiting or uploading:
            tokens = waiting if which % 2 and waiting else uploading or waiting
            token = tokens.pop(which % len(tokens))
            if what == "leave":
                track.abandoned(token, now)
            else:
                track.answered(token, now, None if what == "answer" else Failure(what))
        assert track.in_flight == len(waiting) + len(uploading)
        assert waiting or not track.stalled(now + 1e6)
