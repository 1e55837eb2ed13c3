"""Metrics of several processes, as one."""

from __future__ import annotations

import json
import re

from app.telemetry.gathering import Snapshot, lasting, merged, rendered
from app.telemetry.metrics import Metrics
from tests.telemetry.test_metrics import ended


def counting(requests: int) -> Metrics:
    metrics = Metrics("1.2.3", log_lines_dropped=lambda: 7)
    metrics.watch_deployments(lambda: {"main": "open"})
    for _ in range(requests):
        ended(metrics)
    metrics.watch_requests(lambda: requests)
    return metrics


def as_sent(metrics: Metrics) -> Snapshot:
    sent: Snapshot = json.loads(json.dumps(metrics.snapshot()))
    return sent


def value(text: bytes, name: str) -> float:
    [found] = re.findall(rf"^{re.escape(name)}(?:\{{.*\}})? (.+)$", text.decode(), re.MULTILINE)
    return float(found)


def test_one_process_looks_as_it_does_without_others() -> None:
    metrics = counting(3)
    stable = re.compile(rb"^(?!process_(?:cpu|resident|virtual|open)).*$", re.MULTILINE)
    assert stable.findall(rendered([as_sent(metrics)])) == stable.findall(metrics.render())


def test_several_are_added_up() -> None:
    one, other = counting(3), counting(4)
    text = rendered([as_sent(one), as_sent(other)])
    assert value(text, "quaymaster_requests_total") == 7
    assert value(text, "quaymaster_requests_in_flight") == 7
    assert value(text, "quaymaster_request_duration_seconds_count") == 7
    assert value(text, "quaymaster_log_lines_dropped_total") == 14
    assert b'quaymaster_request_duration_seconds_bucket{le="0.025",operation="containers.retrieve"} 7.0' in text
    assert b'quaymaster_deployment_state{deployment="main",state="open"} 2.0' in text


def test_what_a_sum_would_spoil_is_not_added_up() -> None:
    text = rendered([as_sent(counting(1)), as_sent(counting(1))])
    alone = counting(1).render()
    for name in ("quaymaster_build_info", "process_max_fds", "process_start_time_seconds"):
        assert value(text, name) == value(alone, name)


def test_series_that_only_one_has_are_kept() -> None:
    one, other = counting(1), counting(0)
    other.hook_failed("Plugin.request")
    text = rendered([as_sent(one), as_sent(other)])
    assert value(text, "quaymaster_requests_total") == 1
    assert value(text, "quaymaster_hook_failures_total") == 1


def test_what_a_process_counted_outlives_it() -> None:
    left = lasting(as_sent(counting(5)))
    text = rendered([merged([left, left]), as_sent(counting(1))])
    assert value(text, "quaymaster_requests_total") == 11
    assert value(text, "quaymaster_requests_in_flight") == 1
