"""What Prometheus is told, and that all of it is documented."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from app.routing.health import CircuitState
from app.telemetry.metrics import Metrics

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def ended(metrics: Metrics, **changes: Any) -> None:
    metrics.request_ended(
        **{
            "operation": "containers.retrieve",
            "status": 200,
            "error_code": "",
            "provider": "openai",
            "duration_seconds": 0.02,
            "overhead_seconds": 0.0003,
            "bytes_in": 0,
            "bytes_out": 300,
            "client_gone": False,
            **changes,
        }
    )


def exercised() -> Metrics:
    metrics = Metrics("1.2.3", log_lines_dropped=lambda: 7)
    metrics.watch_deployments(lambda: {"openai-main": "half_open"})
    metrics.watch_request_log(lambda: {"table": 1})
    ended(metrics)
    ended(metrics, status=404, error_code="upstream")
    ended(metrics, status=None, client_gone=True, bytes_in=5)
    metrics.attempt_ended(deployment="openai-main", result="2xx", duration_seconds=0.01)
    metrics.hook_failed("Plugin.request")
    metrics.limit_reached("team", "requests", shadow=True)
    metrics.soft_budget_crossed("team")
    metrics.watch_limiter(lambda: True, lambda: 9)
    metrics.watch_requests(lambda: 3)
    return metrics


def test_requests_are_counted_by_their_labels() -> None:
    metrics = exercised()
    labels = {"operation": "containers.retrieve", "provider": "openai"}
    name = "quaymaster_requests_total"
    assert sample(metrics, name, **labels, status_class="2xx", error_code="") == 1
    assert sample(metrics, name, **labels, status_class="4xx", error_code="upstream") == 1
    assert sample(metrics, name, **labels, status_class="none", error_code="") == 1
    ended(metrics, status=201)
    assert sample(metrics, name, **labels, status_class="2xx", error_code="") == 2


def test_durations_bytes_and_departures() -> None:
    metrics = exercised()
    operation = {"operation": "containers.retrieve"}
    assert sample(metrics, "quaymaster_request_duration_seconds_sum", **operation) == 0.06
    assert sample(metrics, "quaymaster_request_duration_seconds_bucket", **operation, le="0.01") == 0
    assert sample(metrics, "quaymaster_request_duration_seconds_bucket", **operation, le="0.025") == 3
    assert sample(metrics, "quaymaster_overhead_seconds_bucket", **operation, le="0.00025") == 0
    assert sample(metrics, "quaymaster_overhead_seconds_bucket", **operation, le="0.0005") == 3
    assert sample(metrics, "quaymaster_upstream_duration_seconds_count", deployment="openai-main") == 1
    assert sample(metrics, "quaymaster_upstream_attempts_total", deployment="openai-main", result="2xx") == 1
    assert sample(metrics, "quaymaster_bytes_total", direction="in") == 5
    assert sample(metrics, "quaymaster_bytes_total", direction="out") == 900
    assert sample(metrics, "quaymaster_client_gone_total") == 1
    assert sample(metrics, "quaymaster_hook_failures_total", hook="Plugin.request") == 1
    assert sample(metrics, "quaymaster_log_lines_dropped_total") == 7
    assert sample(metrics, "quaymaster_requests_in_flight") == 3


def test_each_deployment_is_in_one_state() -> None:
    states = {
        state: sample(exercised(), "quaymaster_deployment_state", deployment="openai-main", state=state)
        for state in (str(state) for state in CircuitState)
    }
    assert states == {"closed": 0, "open": 0, "half_open": 1}


def test_limits_that_were_reached_and_requests_judged_without_redis() -> None:
    metrics = exercised()
    metrics.limit_reached("team", "requests", shadow=False)
    for shadow in ("true", "false"):
        labels = {"account": "team", "limit": "requests", "shadow": shadow}
        assert sample(metrics, "quaymaster_limit_refusals_total", **labels) == 1
    assert sample(metrics, "quaymaster_limits_alone") == 1
    assert sample(metrics, "quaymaster_limits_judged_alone_total") == 9


def test_two_applications_count_for_themselves() -> None:
    first, second = Metrics("1"), Metrics("1")
    ended(first)
    assert b"containers.retrieve" in first.render()
    assert b"containers.retrieve" not in second.render()


def test_what_is_rendered_is_what_is_documented() -> None:
    """Names, kinds and labels, in both directions; and no series that only says when it began."""
    exposed: dict[str, tuple[str, set[str]]] = {}
    for family in text_string_to_metric_families(exercised().render().decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for metric in family.samples for label in metric.labels} - {"le"}
        exposed[name] = (family.type, labels)
    rows = re.findall(r"^\| `([a-z_]+)` \| (\w+)[^|]*\|([^|]*)\|", PAGE.read_text(), re.MULTILINE)
    documented = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert exposed == documented
