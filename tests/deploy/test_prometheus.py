"""Alerts ask for metrics and labels that exist: one on a name that was changed would never fire."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from app.domain.errors import ErrorCode
from app.telemetry.metrics import Metrics
from tests.deploy.dockerfile import ROOT

FOLDER = ROOT / "deploy" / "prometheus"


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def samples() -> str:
    """A scrape in which every metric has been used once."""
    metrics = Metrics(version="1")
    metrics.request_ended(
        operation="containers.list",
        status=200,
        error_code="",
        provider="local",
        duration_seconds=1,
        overhead_seconds=1,
        bytes_in=1,
        bytes_out=1,
        client_gone=True,
    )
    metrics.attempt_ended(deployment="local", result="2xx", duration_seconds=1)
    metrics.hook_failed("Plugin.settled")
    return metrics.render().decode()


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_there_is(rule: dict[str, Any]) -> None:
    scrape = samples()
    for name in re.findall(r"quaymaster_\w+", rule["expr"]):
        assert re.search(rf"^{name}[ {{]", scrape, re.MULTILINE), name
    for name, label in re.findall(r"(quaymaster_\w+)\{(\w+)", rule["expr"]):
        assert re.search(rf"^{name}{{.*\b{label}=", scrape, re.MULTILINE), (name, label)
    for codes in re.findall(r'error_code=~"([^"]+)"', rule["expr"]):
        assert set(codes.split("|")) <= set(ErrorCode)
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"]


def test_the_scrape_finds_the_gateway_and_its_alerts() -> None:
    configuration = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    assert all((FOLDER / name).exists() for name in configuration["rule_files"])
    (job,) = configuration["scrape_configs"]
    assert job["job_name"] == "quaymaster"
    assert job["static_configs"] == [{"targets": ["127.0.0.1:4000"]}]
