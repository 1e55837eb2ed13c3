"""Metrics of several processes, as one. A snapshot is what a process has counted so far, in plain values for JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

Snapshot = list[list[Any]]
"""For each metric [name, help, kind, samples]; each sample is [name, labels, value]."""

_LEAST: Final = frozenset({"process_start_time_seconds"})
_MOST: Final = frozenset({"quaymaster_build_info", "process_max_fds"})
_LASTING: Final = frozenset({"counter", "histogram"})

SnapshotSource = Callable[[], Snapshot]


class Peers(Protocol):
    """The processes that serve one address together."""

    def publish(self, snapshot: SnapshotSource) -> None:
        """How the others learn of this process's metrics."""
        ...

    async def snapshots(self) -> list[Snapshot]:
        """Those of every process, this one's among them."""
        ...


def snapshot_of(registry: CollectorRegistry) -> Snapshot:
    """Everything in a registry."""
    return [
        [
            family.name,
            family.documentation,
            family.type,
            [[each.name, each.labels, each.value] for each in family.samples],
        ]
        for family in registry.collect()
    ]


def lasting(snapshot: Snapshot) -> Snapshot:
    """What of a process's snapshot stays true when the process is no more: what it has counted."""
    return [family for family in snapshot if family[2] in _LASTING]


def merged(snapshots: Iterable[Snapshot]) -> Snapshot:
    """One snapshot for all. Values are added up, except where the sum would tell nothing."""
    families: dict[str, tuple[list[Any], dict[Any, list[Any]]]] = {}
    for snapshot in snapshots:
        for name, documentation, kind, samples in snapshot:
            _, series = families.setdefault(name, ([name, documentation, kind], {}))
            for sample, labels, value in samples:
                known = series.setdefault((sample, *sorted(labels.items())), [sample, labels, None])
                known[2] = value if known[2] is None else _together(sample, known[2], value)
    return [[*family, list(series.values())] for family, series in families.values()]


def rendered(snapshots: Sequence[Snapshot]) -> bytes:
    """Snapshots together, in Prometheus' text format. Takes milliseconds: call it in a thread."""
    registry = CollectorRegistry()
    registry.register(_Gathered(merged(snapshots)))
    return generate_latest(registry)


def _together(sample: str, one: float, other: float) -> float:
    if sample in _LEAST:
        return min(one, other)
    return max(one, other) if sample in _MOST else one + other


class _Gathered(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        for name, documentation, kind, samples in self._snapshot:
            metric = Metric(name, documentation, kind)
            for sample, labels, value in samples:
                metric.add_sample(sample, labels, value)
            yield metric
