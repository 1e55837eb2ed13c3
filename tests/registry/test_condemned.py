"""Which containers are condemned, and in which words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from app.domain.containers import Ending
from app.domain.identity import Holder
from app.registry.condemned import Criteria, condemn, spoken, why_revoked
from tests.storage.containers import at, container
from tests.storage.keys import NOON, virtual_key

MADE = container(expires_after_minutes=None, key_id="0123456789abcdef", last_active_at=at(30))
NOW = at(90)
REVOKED = {"0123456789abcdef": "is blocked"}


@pytest.mark.parametrize(
    ("criteria", "reason"),
    [
        ({"owner": "team:sea"}, "it is team:sea's"),
        ({"key_id": "0123456789abcdef"}, "made by the key 0123456789abcdef"),
        ({"revoked_keys": True}, "made by a key that is blocked"),
        ({"older_than": timedelta(minutes=89)}, "made 1h 30m ago"),
        ({"idle_for": timedelta(minutes=59)}, "idle for 1h"),
        ({"unknown": True}, "the registry never heard of it"),
        ({"owner": "team:sea", "idle_for": timedelta(minutes=59)}, "it is team:sea's, idle for 1h"),
        ({"older_than": timedelta(minutes=89), "deployment": "here"}, "made 1h 30m ago"),
    ],
)
def test_what_fits_is_condemned_with_the_reason(criteria: dict[str, Any], reason: str) -> None:
    condemned = condemn(MADE, Criteria(**criteria), NOW, REVOKED)
    assert condemned
    assert condemned.reason == reason


@pytest.mark.parametrize(
    "criteria",
    [
        {},
        {"deployment": "here"},
        {"owner": "team:se"},
        {"owner": "user:sea"},
        {"key_id": "0123456789abcde0"},
        {"older_than": timedelta(minutes=90)},
        {"idle_for": timedelta(minutes=60)},
        {"unknown": True, "deployment": "there"},
        {"owner": "team:sea", "idle_for": timedelta(minutes=60)},
        {"owner": "user:ann", "idle_for": timedelta(minutes=59)},
    ],
)
def test_one_criterion_that_does_not_hold_is_enough_to_live(criteria: dict[str, Any]) -> None:
    assert condemn(MADE, Criteria(**criteria), NOW, REVOKED) is None


def test_only_what_runs_is_condemned() -> None:
    wanted = Criteria(owner="team:sea")
    for fields in (
        {"status": "expired"},
        {"expires_after_minutes": 60},
        {"ending": Ending.DELETED, "ended_at": NOW},
        {"ending": Ending.GONE, "ended_at": NOW},
    ):
        made = container(**({"expires_after_minutes": None, "last_active_at": at(30)} | fields))
        assert condemn(made, wanted, NOW) is None, fields


def test_what_was_never_used_is_idle_since_it_was_made() -> None:
    made = container(last_active_at=None, expires_after_minutes=None)
    condemned = condemn(made, Criteria(idle_for=timedelta(minutes=89)), NOW)
    assert condemned
    assert condemned.reason == "idle for 1h 30m"


def test_a_container_without_a_key_is_nobodys_revocation() -> None:
    assert (
        condemn(container(key_id=None, expires_after_minutes=None), Criteria(revoked_keys=True), NOW, REVOKED) is None
    )


def test_why_a_key_is_revoked() -> None:
    assert why_revoked(None, NOON) == "was deleted"
    assert why_revoked(Holder(key=virtual_key(blocked=True)), NOON) == "is blocked"
    assert why_revoked(Holder(key=virtual_key(expires_at=NOON)), NOON) == "has expired"
    assert why_revoked(Holder(key=virtual_key(expires_at=NOON + timedelta(microseconds=1))), NOON) is None
    assert why_revoked(Holder(key=virtual_key(previous_expires_at=NOON)), NOON) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0s"), (0.9, "0s"), (20, "20s"), (60, "1m"), (61, "1m 1s"), (3605, "1h"), (90_000, "1d 1h"), (86_460, "1d")],
)
def test_durations_in_two_units(seconds: float, text: str) -> None:
    assert spoken(timedelta(seconds=seconds)) == text
