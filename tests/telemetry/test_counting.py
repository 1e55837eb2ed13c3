"""What is counted in plain numbers is shown as prometheus_client would have shown it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest

from app.telemetry.counting import Counts, Distributions

BOUNDS = (0.001, 0.25, 1, 30)
LABELS = st.sampled_from(["containers.create", "other", 'a"b\\c\n'])
disable_created_metrics()  # type: ignore[no-untyped-call]  # as `Metrics` does
VALUES = st.one_of(st.sampled_from(BOUNDS), st.floats(min_value=0, max_value=1000))


@given(st.lists(st.tuples(LABELS, VALUES)))
def test_a_histogram_is_what_it_would_have_been(observed: list[tuple[str, float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    histogram = Histogram("seconds", "What it took.", ["operation"], buckets=BOUNDS, registry=theirs)
    distributions = Distributions("seconds", "What it took.", "operation", BOUNDS)
    ours.register(distributions)
    for label, value in observed:
        histogram.labels(label).observe(value)
        distributions.of(label).observe(value)
    assert generate_latest(ours) == generate_latest(theirs)


@given(st.lists(st.tuples(LABELS, st.sampled_from(["2xx", "fault"]), st.integers(0, 10**12))))
def test_a_counter_is_what_it_would_have_been(counted: list[tuple[str, str, int]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    counter = Counter("attempts", "By what came of them.", ["deployment", "result"], registry=theirs)
    counts = Counts("attempts", "By what came of them.", ["deployment", "result"])
    ours.register(counts)
    for deployment, result, amount in counted:
        counter.labels(deployment, result).inc(amount)
        counts.of(deployment, result).value += amount
    assert generate_latest(ours) == generate_latest(theirs)


def test_what_has_been_collected_does_not_change_any_more() -> None:
    distributions = Distributions("seconds", "What it took.", "operation", BOUNDS)
    distributions.of("other").observe(0.1)
    (family,) = distributions.collect()
    before = list(family.samples)
    distributions.of("other").observe(0.1)
    distributions.of("containers.create").observe(0.1)
    assert family.samples == before
