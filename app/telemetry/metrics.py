"""What Prometheus sees, in a registry of its own: one `Metrics` per application, no module-level state.

Every metric is described in docs/metrics.md; a test fails where one is missing. Label values come from the program and
its configuration only, never from a client, so the number of series is bounded.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from app.telemetry.counting import Count, Counts, Distribution, Distributions
from app.telemetry.gathering import Snapshot, snapshot_of
from app.telemetry.logging import lines_dropped

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_DURATION_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_OVERHEAD_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5)
DEPLOYMENT_STATES: Final = ("closed", "open", "half_open")
_STATUS_CLASSES: Final = {0: "none", 1: "1xx", 2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}


class Metrics:
    """The gateway's metrics.

    `log_lines_dropped` tells how many log lines were lost so far.
    """

    def __init__(self, version: str, *, log_lines_dropped: Callable[[], int] = lines_dropped) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # twice the series, for when this process started
        self.registry = CollectorRegistry()
        self._requests = Counts(
            "quaymaster_requests",
            "Requests that ended, whatever the end.",
            ["operation", "status_class", "error_code", "provider"],
        )
        self._duration = Distributions(
            "quaymaster_request_duration_seconds",
            "From a request's head to the end of its answer.",
            "operation",
            _DURATION_BUCKETS,
        )
        self._overhead = Distributions(
            "quaymaster_overhead_seconds",
            "From a request's head to the head of its answer, less the time spent waiting for upstreams.",
            "operation",
            _OVERHEAD_BUCKETS,
        )
        self._upstream_duration = Distributions(
            "quaymaster_upstream_duration_seconds",
            "From the start of an attempt to the head of the upstream's answer, or to its failure.",
            "deployment",
            _DURATION_BUCKETS,
        )
        self._attempts = Counts(
            "quaymaster_upstream_attempts",
            "Attempts at a deployment, by what came of them.",
            ["deployment", "result"],
        )
        self._bytes = Counts("quaymaster_bytes", "Bytes of bodies, from clients and to clients.", ["direction"])
        for often in (
            self._requests,
            self._duration,
            self._overhead,
            self._upstream_duration,
            self._attempts,
            self._bytes,
        ):
            self.registry.register(often)
        self._hook_failures = Counter(
            "quaymaster_hook_failures", "Hooks that raised or took too long.", ["hook"], registry=self.registry
        )
        self._client_gone = Counter(
            "quaymaster_client_gone", "Clients that left before they had their answer.", registry=self.registry
        )
        self._observe_accounts()
        self._observe_process(version, log_lines_dropped)
        self._bytes_in = self._bytes.of("in")
        self._bytes_out = self._bytes.of("out")
        self._of_requests: dict[tuple[str, int, str, str], tuple[Count, Distribution, Distribution]] = {}
        self._of_attempts: dict[tuple[str, str], tuple[Count, Distribution]] = {}

    def _observe_accounts(self) -> None:
        self._limit_refusals = Counter(
            "quaymaster_limit_refusals",
            "Requests that a rate limit or a quota refused, or, in shadow, would have refused.",
            ["account", "limit", "shadow"],
            registry=self.registry,
        )
        self._soft_budgets = Counter(
            "quaymaster_soft_budgets_crossed",
            "Creates with which an account went past its soft budget.",
            ["account"],
            registry=self.registry,
        )

    def _observe_process(self, version: str, log_lines_dropped: Callable[[], int]) -> None:
        build = Info("quaymaster_build", "What is running.", registry=self.registry)
        build.info({"version": version, "python": platform.python_version()})
        self.registry.register(
            _Told("quaymaster_log_lines_dropped", "Log lines lost because nobody read them.", log_lines_dropped)
        )
        ProcessCollector(registry=self.registry)

    def request_ended(
        self,
        *,
        operation: str,
        status: int | None,
        error_code: str,
        provider: str,
        duration_seconds: float,
        overhead_seconds: float,
        bytes_in: int,
        bytes_out: int,
        client_gone: bool,
    ) -> None:
        """Count one request. `status` is None where no answer began; empty labels mean there is none."""
        labels = (operation, (status or 0) // 100, error_code, provider)
        series = self._of_requests.get(labels)
        if series is None:
            status_class = _STATUS_CLASSES.get(labels[1], "none")
            count = self._requests.of(operation, status_class, error_code, provider)
            series = self._of_requests[labels] = count, self._duration.of(operation), self._overhead.of(operation)
        count, duration, overhead = series
        count.value += 1
        duration.observe(duration_seconds)
        overhead.observe(overhead_seconds)
        if bytes_in:
            self._bytes_in.value += bytes_in
        self._bytes_out.value += bytes_out
        if client_gone:
            self._client_gone.inc()

    def attempt_ended(self, *, deployment: str, result: str, duration_seconds: float) -> None:
        """Count one attempt at a deployment."""
        labels = (deployment, result)
        series = self._of_attempts.get(labels)
        if series is None:
            series = self._attempts.of(deployment, result), self._upstream_duration.of(deployment)
            self._of_attempts[labels] = series
        count, duration = series
        count.value += 1
        duration.observe(duration_seconds)

    def watch_requests(self, in_flight: Callable[[], int]) -> None:
        """Show how many requests are in flight."""
        gauge = Gauge(
            "quaymaster_requests_in_flight",
            "Requests whose head has arrived and whose answer has not ended.",
            registry=self.registry,
        )
        gauge.set_function(in_flight)

    def watch_deployments(self, states: Callable[[], Mapping[str, str]]) -> None:
        """Show the state that each deployment's circuit is in: `states` gives it by the deployment's name."""
        self.registry.register(_States(states))

    def limit_reached(self, account: str, limit: str, *, shadow: bool) -> None:
        """Count a refusal by a limit: the kind of the account, and what is limited."""
        self._limit_refusals.labels(account, limit, str(shadow).lower()).inc()

    def soft_budget_crossed(self, account: str) -> None:
        """Count an account, by its kind, that went past its soft budget."""
        self._soft_budgets.labels(account).inc()

    def watch_limiter(self, is_alone: Callable[[], bool], judged_alone: Callable[[], int]) -> None:
        """Show whether the shared store of rate limits is away, and how many requests were judged without it."""
        alone = Gauge(
            "quaymaster_limits_alone", "Whether Redis is away and rates are judged without it.", registry=self.registry
        )
        alone.set_function(is_alone)
        self.registry.register(
            _Told("quaymaster_limits_judged_alone", "Requests whose rates were judged without Redis.", judged_alone)
        )

    def watch_request_log(self, dropped: Callable[[], Mapping[str, int]]) -> None:
        """Show how many requests the request log has lost: `dropped` gives it by what should have kept them."""
        self.registry.register(_Dropped(dropped))

    def hook_failed(self, hook: str) -> None:
        """Count a hook that raised or took too long; `hook` is `Class.method`."""
        self._hook_failures.labels(hook).inc()

    def render(self) -> bytes:
        """Everything in Prometheus' text format (`CONTENT_TYPE`). Takes milliseconds: call it in a thread."""
        return generate_latest(self.registry)

    def snapshot(self) -> Snapshot:
        """Everything in plain values, for a process that shows several processes' metrics as one."""
        return snapshot_of(self.registry)


class _States(Collector):
    """One series a deployment for each state, of which one is 1."""

    def __init__(self, states: Callable[[], Mapping[str, str]]) -> None:
        self._states = states

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "quaymaster_deployment_state",
            "Whether new containers are made in a deployment: 1 for the state that it is in.",
            labels=["deployment", "state"],
        )
        for deployment, current in self._states().items():
            for state in DEPLOYMENT_STATES:
                family.add_metric([deployment, state], 1.0 if state == current else 0.0)
        yield family


class _Dropped(Collector):
    """One series for each place that requests are written down in."""

    def __init__(self, dropped: Callable[[], Mapping[str, int]]) -> None:
        self._dropped = dropped

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(
            "quaymaster_request_log_dropped", "Requests that were not written down.", labels=["sink"]
        )
        for sink, count in self._dropped().items():
            family.add_metric([sink], count)
        yield family


class _Told(Collector):
    """A counter that is kept elsewhere."""

    def __init__(self, name: str, documentation: str, count: Callable[[], int]) -> None:
        self._name = name
        self._documentation = documentation
        self._count = count

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(self._name, self._documentation, value=self._count())
