"""What keys, teams and users may be limited to, and how they stand, as the routes take and show it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from app.storage.tables import balances
from tests.api.admin.hosting import LIMITS, STANDING, Admin, Refused
from tests.storage.keys import NOON

KINDS = ("key", "team", "user")
WAYS = {"key": ("/key/generate", "key_id"), "team": ("/team/new", "team_id"), "user": ("/user/new", "user_id")}


async def make(admin: Admin, kind: str, **fields: Any) -> tuple[str, Any]:
    """One of a kind: its id, and what was answered."""
    path, name = WAYS[kind]
    made = await admin.post(path, fields)
    return made[name], made


async def update(admin: Admin, kind: str, name: str, **fields: Any) -> Any:
    answer = await admin.post(f"/{kind}/update", {"key" if kind == "key" else f"{kind}_id": name, **fields})
    return answer if kind == "key" else answer["data"]


async def info(admin: Admin, kind: str, name: str) -> Any:
    answer = await admin.get(f"/{kind}/info", **{"key" if kind == "key" else f"{kind}_id": name})
    return answer["info" if kind == "key" else f"{kind}_info"]


async def spend(admin: Admin, account: str, nanousd: int, reserved: int = 0) -> None:
    """Put on the books what nobody spent."""
    row = {"account": account, "spent_nanousd": nanousd, "spent_before_nanousd": 0, "reserved_nanousd": reserved}
    alive = {"containers": 2, "memory_gb": 8, "reset_at": None}
    await admin.database.write(lambda connection: connection.execute(insert(balances).values(**row, **alive)))


@pytest.mark.parametrize("kind", KINDS)
async def test_every_limit_is_kept_and_shown(admin: Admin, kind: str) -> None:
    name, made = await make(admin, kind, **LIMITS)
    shown = await info(admin, kind, name)
    for view in (made, shown):
        assert {limit: view[limit] for limit in LIMITS} == LIMITS
    bare, _ = await make(admin, kind)
    assert {
        limit: value for limit, value in (await info(admin, kind, bare)).items() if limit in LIMITS
    } == dict.fromkeys(LIMITS) | {"budget_timezone": "UTC", "shadow": False}


@pytest.mark.parametrize("kind", KINDS)
async def test_limits_that_are_not_named_stay_and_a_null_takes_one_away(admin: Admin, kind: str) -> None:
    name, _ = await make(admin, kind, **LIMITS)
    view = await update(admin, kind, name, rpm_limit=None, max_budget=0)
    assert {limit: view[limit] for limit in LIMITS} == LIMITS | {"rpm_limit": None, "max_budget": 0.0}


@pytest.mark.parametrize("dollars", [0.1, 0.03, 0.000000001, 2.675, 10, 123456.789012345, 1_000_000_000])
async def test_dollars_come_back_as_they_were_written(admin: Admin, dollars: float) -> None:
    made = await admin.post("/key/generate", {"max_budget": dollars})
    assert made["max_budget"] == dollars
    key = await admin.store.get(made["key_id"])
    assert key is not None
    assert isinstance(key.limits.max_budget_nanousd, int)


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("max_budget", -0.01, "invalid_value"),
        ("max_budget", 1e10, "invalid_value"),
        ("max_budget", "10", "invalid_type"),
        ("soft_budget", True, "invalid_type"),
        ("budget_duration", "30", "invalid_value"),
        ("budget_duration", "monthly", "invalid_value"),
        ("budget_duration", 30, "invalid_type"),
        ("budget_timezone", "Europe/Atlantis", "invalid_value"),
        ("budget_timezone", "../../etc/passwd", "invalid_value"),
        ("rpm_limit", -1, "invalid_value"),
        ("rpm_limit", 1.5, "invalid_type"),
        ("max_upload_bytes_per_day", 2**60, "invalid_value"),
        ("allowed_memory_limits", "1g", "invalid_type"),
        ("shadow", "yes", "invalid_type"),
        ("spend", 5, "invalid_value"),
    ],
)
async def test_what_is_no_limit_is_refused_by_name(admin: Admin, field: str, value: Any, code: str) -> None:
    for kind in KINDS:
        with pytest.raises(Refused) as refused:
            await make(admin, kind, **{field: value})
        assert (refused.value.status, refused.value.code, refused.value.param) == (400, code, field)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_was_spent_is_shown_in_dollars(admin: Admin, kind: str) -> None:
    name, _ = await make(admin, kind, max_budget=1)
    await spend(admin, f"{kind}:{name}", 300_000_000, reserved=250_000_000)
    shown = await info(admin, kind, name)
    assert {field: shown[field] for field in STANDING} == {
        "spend": 0.3,
        "total_spend": 0.3,
        "reserved": 0.25,
        "remaining": 0.45,
        "containers": 2,
        "memory_gb": 8,
    }


async def test_nothing_remains_where_more_was_spent_than_may_be(admin: Admin) -> None:
    name, _ = await make(admin, "key", max_budget=1)
    await spend(admin, f"key:{name}", 1_500_000_000)
    assert (await info(admin, "key", name))["remaining"] == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_a_window_begins_when_it_is_set(admin: Admin, kind: str) -> None:
    name, made = await make(admin, kind, budget_duration="1h")
    assert datetime.fromisoformat(made["budget_reset_at"]) == NOON + timedelta(hours=1)
    admin.clock.now += 600
    view = await update(admin, kind, name, max_budget=5)
    assert datetime.fromisoformat(view["budget_reset_at"]) == NOON + timedelta(hours=1)
    view = await update(admin, kind, name, budget_duration="1h")
    assert datetime.fromisoformat(view["budget_reset_at"]) == NOON + timedelta(hours=1, minutes=10)
    assert datetime.fromisoformat((await info(admin, kind, name))["budget_reset_at"]) == NOON + timedelta(minutes=70)
    view = await update(admin, kind, name, budget_duration="month", budget_timezone="Europe/Berlin")
    assert view["budget_reset_at"] == "2026-08-31T22:00:00Z"
    assert (await update(admin, kind, name, budget_duration=None))["budget_reset_at"] is None
    assert (await info(admin, kind, name))["budget_reset_at"] is None


@pytest.mark.parametrize("kind", KINDS)
async def test_spend_is_forgotten_for_its_window_and_that_is_written_down(admin: Admin, kind: str) -> None:
    name, _ = await make(admin, kind, max_budget=1)
    await spend(admin, f"{kind}:{name}", 900_000_000)
    view = await update(admin, kind, name, spend=0)
    shown = await info(admin, kind, name)
    for each in (view, shown):
        assert (each["spend"], each["total_spend"], each["remaining"]) == (0, 0.9, 1)
    newest = (await admin.get("/audit/list", size=1))["audit"][0]
    assert (newest["action"], newest["subject"]) == (f"{kind}.reset_spend", f"{kind}:{name}")
    assert (newest["before"], newest["after"]) == ({"spend": 0.9}, {"spend": 0})


@pytest.mark.parametrize("kind", ["team", "user"])
async def test_the_window_of_whoever_had_the_name_before_ends_with_it(admin: Admin, kind: str) -> None:
    """Else a budget for all time would begin anew at its end."""
    name, _ = await make(admin, kind, budget_duration="30d", max_budget=1)
    await admin.post(f"/{kind}/delete", {f"{kind}_ids": [name]})
    _, made = await make(admin, kind, **{f"{kind}_id": name, "max_budget": 1})
    assert made["budget_reset_at"] is None
    assert (await info(admin, kind, name))["budget_reset_at"] is None
