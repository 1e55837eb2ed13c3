"""Counters and histograms for what every request counts: plain numbers, made into metrics when somebody asks.

Counting a request and its attempt takes 1 µs; with prometheus_client's own, which take a lock at every step, it took 4.
Nobody may count but the event loop's thread. Any thread may collect: it may be a request behind, but a histogram's
count is always the sum of its buckets.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector


class Count:
    """One series of a counter: add to `value`."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Counts(Collector):
    """A counter: its series, by the values of its labels."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._series: dict[tuple[str, ...], Count] = {}

    def of(self, *values: str) -> Count:
        """The series with these labels; from now on it is shown."""
        return self._series.setdefault(values, Count())

    def collect(self) -> Iterator[CounterMetricFamily]:
        """All series, as they stand."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, count in self._series.copy().items():
            family.add_metric(values, count.value)
        yield family


class Distribution:
    """One series of a histogram, whose buckets end at `bounds`: each holds what is no larger."""

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, value: float) -> None:
        """Count one more."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def so_far(self) -> tuple[list[int], float]:
        """How many there are up to each bound, and in all; and their sum."""
        return list(accumulate(self._counts.copy())), self._total


class Distributions(Collector):
    """A histogram: its series, by the value of its one label."""

    def __init__(self, name: str, documentation: str, label: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._documentation = documentation
        self._label = label
        self._bounds = bounds
        self._series: dict[str, Distribution] = {}

    def of(self, value: str) -> Distribution:
        """The series with this label; from now on it is shown."""
        return self._series.setdefault(value, Distribution(self._bounds))

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """All series, as they stand."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=[self._label])
        ends = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for value, series in self._series.copy().items():
            counts, total = series.so_far()
            family.add_metric([value], list(zip(ends, counts, strict=True)), total)
        yield family
