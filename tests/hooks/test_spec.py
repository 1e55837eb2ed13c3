"""The documentation shows every hook, and its example works."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

from app.gateway.settle import Settler
from app.hooks.runner import HookRunner, load_plugin
from app.hooks.spec import Hooks
from app.tasks import Tasks
from app.telemetry.metrics import Metrics
from tests.exchanges import answered_exchange
from tests.logs import captured_log

PAGE = (Path(__file__).parents[2] / "docs" / "hooks.md").read_text()
NAMES = [name for name in vars(Hooks) if not name.startswith("_")]


def fenced(language: str) -> str:
    match = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert match is not None
    return match.group(1)


def test_every_hook_is_documented_on_the_page_and_in_its_docstring() -> None:
    assert re.findall(r"^\| `(\w+)\(", PAGE, re.MULTILINE) == NAMES
    assert all(getattr(Hooks, name).__doc__ for name in NAMES)


def test_the_hooks_are_those_that_were_promised() -> None:
    assert NAMES == [
        "startup",
        "request",
        "soft_budget_crossed",
        "shadow_limit_crossed",
        "attempt",
        "attempt_failed",
        "response",
        "settled",
        "shutdown",
    ]


async def test_the_example_of_the_page_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_requests.py").write_text(fenced("python"))
    monkeypatch.syspath_prepend(tmp_path)
    (configured,) = yaml.safe_load(fenced("yaml"))["hooks"]["plugins"]
    try:
        with captured_log() as log:
            plugin = load_plugin(configured["use"], configured["options"])
            metrics, tasks = Metrics("1"), Tasks()
            Settler(metrics, HookRunner([plugin], metrics), tasks).settle(answered_exchange())
            await tasks.drain(5)
            (event,) = log.events("slow_request")
    finally:
        sys.modules.pop("slow_requests", None)
    assert event["level"] == "warning"
    assert event["request_id"] == "req_1"
    assert event["operation"] == "containers.retrieve"
    assert event["duration_seconds"] >= 0.5
