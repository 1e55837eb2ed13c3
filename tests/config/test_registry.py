from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from app.config.problems import describe
from app.config.registry import ReapSettings, RoutingSettings
from app.config.settings import Settings
from app.routing.selection import Policy


def problems_of(**values: Any) -> list[str]:
    with pytest.raises(ValidationError) as refusal:
        Settings(**values)
    return describe(refusal.value, [])


def settings(**values: Any) -> Settings:
    return Settings(**values)


def test_the_policies_are_those_there_are() -> None:
    assert set(get_args(RoutingSettings.model_fields["policy"].annotation)) == set(Policy)
    assert problems_of(routing={"policy": "random"}) == [
        "routing.policy: must be 'weighted', 'least-busy', 'lowest-latency' or 'round-robin'"
    ]


@pytest.mark.parametrize(
    ("section", "written", "problem"),
    [
        ("routing", {"retry_deadline_seconds": -1}, "routing.retry_deadline_seconds: must be greater than or equal"),
        ("routing", {"cooldown_seconds": 0}, "routing.cooldown_seconds: must be greater than 0"),
        ("registry", {"refresh_seconds": 0}, "registry.refresh_seconds: must be greater than 0"),
        ("registry", {"retain_days": -1}, "registry.retain_days: must be greater than or equal to 0"),
        ("registry", {"retain_days": "inf"}, "registry.retain_days: must be less than or equal to 36500"),
        ("reap", {"every_seconds": 0, "unknown": True}, "reap.every_seconds: must be greater than 0"),
        ("reap", {"idle_seconds": "long"}, "reap.idle_seconds: must be a number of seconds, or a time such as"),
        ("reap", {"unknown": "perhaps"}, "reap.unknown: must be true or false"),
        ("reap", {"evry_seconds": 5}, "reap.evry_seconds: unknown setting; did you mean reap.every_seconds?"),
    ],
)
def test_values_that_make_no_sense(section: str, written: dict[str, Any], problem: str) -> None:
    [found] = problems_of(**{section: written})
    assert found.startswith(problem)


def test_retries_can_be_switched_off_and_nothing_retained() -> None:
    assert settings(routing={"retry_deadline_seconds": 0}).routing.retry_deadline_seconds == 0
    assert settings(registry={"retain_days": 0}).registry.retain_days == 0


@pytest.mark.parametrize("more", [{}, {"dry_run": True}, {"unknown": False, "revoked_keys": False}])
def test_a_reap_that_does_not_say_what_refuses_to_start(more: dict[str, Any]) -> None:
    assert problems_of(reap={"every_seconds": "1h", **more}) == [
        "reap.every_seconds: says when to delete but not what: "
        "set at least one of older_than_seconds, idle_seconds, revoked_keys, unknown"
    ]


@pytest.mark.parametrize(
    "criterion", [{"older_than_seconds": "30d"}, {"idle_seconds": 1}, {"revoked_keys": True}, {"unknown": True}]
)
def test_one_criterion_is_enough(criterion: dict[str, Any]) -> None:
    reap = settings(reap={"every_seconds": "15m", **criterion}).reap
    assert reap.every_seconds == 900
    assert reap.has_criterion


def test_by_default_nothing_is_reaped() -> None:
    assert ReapSettings().every_seconds is None
    assert not ReapSettings().has_criterion
