"""What the figures have to be, and what they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bench import plan, report
from bench.figures import Summary
from bench.report import BASELINE, DIRECT, count, megabytes, microseconds, percent, times

OURS: Final = "quaymaster"


@dataclass(frozen=True, slots=True)
class Medians:
    """The medians of a run. What was not measured raises LookupError."""

    summaries: Mapping[str, Mapping[str, Summary]]

    def __call__(self, figure: str, title: str = OURS) -> float:
        return self.summaries[title][figure].median

    def beside(self, figure: str, other: str, title: str = OURS) -> float:
        """As a multiple of another contender's."""
        return self.summaries[title][figure].beside(self.summaries[other][figure])

    def added(self, figure: str) -> float:
        """How much more it is than without a gateway."""
        return self.summaries[OURS][figure].more_than(self.summaries[DIRECT][figure])

    def change(self, figure: str, title: str) -> float:
        """How far it is from that with few keys, containers and deployments, as a share; less is negative."""
        return self.beside(figure, report.FEW, title) - 1


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing that must be so: a figure that is at least `limit`, or with `below`, less."""

    text: str
    figure: Callable[[Medians], float]
    limit: float
    shown: Callable[[float], str]
    below: bool = False

    def met_by(self, value: float) -> bool:
        """Whether it is so."""
        return value < self.limit if self.below else value >= self.limit


def _under(text: str, figure: Callable[[Medians], float], limit: float, shown: Callable[[float], str]) -> Mark:
    return Mark(text, figure, limit, shown, below=True)


def _slower(what: str, title: str) -> Mark:
    return _under(f"retrieve at 64, slower with {what}", lambda m: -m.change(_RETRIEVE, title), 0.10, percent)


_RETRIEVE, _DOWNLOAD = "retrieve_64_per_second", "download_bytes_per_second"

MARKS: Final = (
    Mark("retrieve at 64 connections, beside nginx", lambda m: m.beside(_RETRIEVE, BASELINE), 0.20, times),
    Mark("… beside Portkey", lambda m: m.beside(_RETRIEVE, "portkey"), 10, times),
    Mark("… beside LiteLLM", lambda m: m.beside(_RETRIEVE, "litellm"), 80, times),
    Mark("… at 256 connections, of that", lambda m: m("retrieve_256_per_second") / m(_RETRIEVE), 0.80, percent),
    _under("… p99 beside p50", lambda m: m("retrieve_64_p99_us") / m("retrieve_64_p50_us"), 3, times),
    _under(
        "retrieve at 1 connection, p50 added",
        lambda m: m.added("retrieve_1_p50_us"),
        200,
        microseconds,
    ),
    _under("… p99", lambda m: m("retrieve_1_p99_us"), 600, microseconds),
    Mark("create at 64 connections on SQLite, per second", lambda m: m("create_64_per_second"), 1_500, count),
    _under(
        "create at 1 connection, p50 added",
        lambda m: m.added("create_1_p50_us"),
        2_000,
        microseconds,
    ),
    Mark(
        "create at 64 connections on PostgreSQL, per second",
        lambda m: m("create_64_per_second", plan.POSTGRES.title),
        1_000,
        count,
    ),
    Mark("download of 1 GiB, beside nginx", lambda m: m.beside(_DOWNLOAD, BASELINE), 0.8, times),
    Mark("… beside LiteLLM", lambda m: m.beside(_DOWNLOAD, "litellm"), 30, times),
    _under("200 downloads of 100 MB, memory grows by", lambda m: m("crowd_growth_bytes"), 64e6, megabytes),
    _under("… slowest beside fastest", lambda m: m("crowd_unfairness_ratio"), 2, times),
    Mark("upload of 1 GiB, beside nginx", lambda m: m.beside("upload_bytes_per_second", BASELINE), 0.4, times),
    Mark(
        "retrieve at 64 with Redis and PostgreSQL, of that without",
        lambda m: m.beside(_RETRIEVE, plan.FEW.title, plan.REDIS.title),
        0.60,
        percent,
    ),
    Mark(
        "two workers on two cores, beside one",
        lambda m: (
            (1 + m("retrieve_64_balance_ratio", plan.WORKERS.title))
            / m.beside("retrieve_64_cpu_us", plan.REDIS.title, plan.WORKERS.title)
        ),
        1.8,
        times,
    ),
    _under("ready after", lambda m: m("ready_us"), 800_000, microseconds),
    _under("memory, idle", lambda m: m("idle_rss_bytes"), 80e6, megabytes),
    _under(
        "… grown after 1,000,000 requests", lambda m: m("endurance_growth_bytes", plan.TIRED.title), 10e6, megabytes
    ),
    _slower("100,000 keys than with 10", plan.MANY_KEYS.title),
    _slower("1,000,000 containers than with 100", plan.MANY_CONTAINERS.title),
    _slower("50 deployments than with 1", plan.MANY_DEPLOYMENTS.title),
    _under(
        "a list of 20, slower with 1,000,000 containers than with 100",
        lambda m: m.change("list_20_p50_us", plan.MANY_CONTAINERS.title),
        0.10,
        percent,
    ),
    _under(
        "healthy p99 beside slow neighbours, to that without",
        lambda m: m("neighbours_p99_us", plan.CROWDED.title) / m("alone_p99_us", plan.CROWDED.title),
        2,
        times,
    ),
)


def table(document: Mapping[str, Any]) -> list[list[str]]:
    """Every mark: what it asks, what was measured, whether it is met."""
    medians = Medians(report.summaries(document))
    lines = [["", "mark", "measured", "met"]]
    for mark in MARKS:
        limit = ("< " if mark.below else "≥ ") + mark.shown(mark.limit)
        try:
            value = mark.figure(medians)
        except LookupError:
            lines.append([mark.text, limit, "-", "-"])
        else:
            lines.append([mark.text, limit, mark.shown(value), "yes" if mark.met_by(value) else "no"])
    return lines
