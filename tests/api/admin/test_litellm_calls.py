"""LiteLLM's admin calls, as its documentation writes them: which work unchanged, and what is said of those that cannot.

The bodies are those of its pages on virtual keys, on budgets, and on team and user management. docs/admin.md has the
same as a table.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from app.api.admin.litellm import MEANINGLESS
from app.domain.identity import MASTER, Holder, Principal, Role
from tests.api.admin.hosting import Admin, Refused
from tests.storage.keys import virtual_key

PAGE = (Path(__file__).parents[3] / "docs" / "admin.md").read_text()


async def refusal(admin: Admin, path: str, fields: dict[str, Any]) -> Refused:
    with pytest.raises(Refused) as refused:
        await admin.post(path, fields)
    return refused.value


async def test_keys(admin: Admin) -> None:
    made = await admin.post(
        "/key/generate",
        {
            "duration": "20m",
            "metadata": {"user": "ishaan@berri.ai"},
            "team_id": "core-infra",
            "max_budget": 10,
            "budget_duration": "30s",
        },
    )
    key = made["key"]
    assert made["max_budget"] == 10
    assert made["expires"]
    info = await admin.get("/key/info", key=key)
    assert (info["info"]["spend"], info["info"]["team_id"]) == (0, "core-infra")
    update = {"key": key, "metadata": {"user": "ishaan@berri.ai"}, "team_id": "core-infra", "max_parallel_requests": 2}
    assert (await admin.post("/key/update", update))["max_parallel_requests"] == 2
    assert (await admin.post("/key/block", {"key": key}))["blocked"] is True
    assert (await admin.post("/key/unblock", {"key": key}))["blocked"] is False
    listed = await admin.get("/key/list", page=1, size=10, team_id="core-infra", return_full_object="true")
    assert (listed["total_count"], listed["current_page"], listed["total_pages"]) == (1, 1, 1)
    again = await admin.post(f"/key/{key}/regenerate", {"max_budget": 100, "metadata": {"team": "core-infra"}})
    assert again["key"] != key
    deleted = await admin.post("/key/delete", {"keys": [again["key"]]})
    assert deleted == {"deleted_keys": [made["key_id"]]}


async def test_a_key_asks_about_itself(admin: Admin) -> None:
    made = await admin.post("/key/generate", {"role": "viewer"})
    admin.posing.principal = Principal.of(Holder(key=virtual_key(key_id=made["key_id"], role=Role.VIEWER)))
    assert (await admin.get("/key/info"))["key"] == made["key_id"]
    admin.posing.principal = MASTER
    with pytest.raises(Refused) as refused:
        await admin.get("/key/info")
    assert (refused.value.status, refused.value.code) == (400, "missing_required_parameter")


async def test_teams(admin: Admin) -> None:
    made = await admin.post("/team/new", {"team_alias": "my-new-team_4", "rpm_limit": 99, "budget_duration": "30s"})
    team_id = made["team_id"]
    named = ("team_alias", "rpm_limit", "max_budget", "spend", "max_parallel_requests", "budget_duration")
    assert [made[name] for name in named] == ["my-new-team_4", 99, None, 0, None, "30s"]
    assert made["budget_reset_at"]
    updated = await admin.post("/team/update", {"team_id": team_id, "max_budget": 10})
    assert (updated["team_id"], updated["data"]["max_budget"]) == (team_id, 10)
    key = (await admin.post("/key/generate", {"team_id": team_id}))["key"]
    assert (await admin.post("/team/block", {"team_id": team_id}))["blocked"] is True
    assert not await admin.works(key)
    assert (await admin.post("/team/unblock", {"team_id": team_id}))["blocked"] is False
    info = await admin.get("/team/info", team_id=team_id)
    assert (info["team_id"], info["team_info"]["team_alias"], len(info["keys"])) == (team_id, "my-new-team_4", 1)
    assert [team["team_id"] for team in await admin.get("/team/list")] == [team_id]
    assert (await admin.post("/team/delete", {"team_ids": [team_id]}))["deleted_teams"] == [team_id]


async def test_users(admin: Admin) -> None:
    made = await admin.post(
        "/user/new",
        {
            "user_id": "ishaan1",
            "user_email": "ishaan@litellm.ai",
            "team_id": "cto-team",
            "max_budget": 20,
            "budget_duration": "1h",
        },
    )
    assert (made["user_id"], made["max_budget"]) == ("ishaan1", 20)
    assert await admin.works(made["key"])
    assert (await admin.post("/user/update", {"user_id": "ishaan1", "max_budget": 5}))["data"]["max_budget"] == 5
    info = await admin.get("/user/info", user_id="ishaan1")
    assert (info["user_id"], info["user_info"]["max_budget"], info["teams"]) == ("ishaan1", 5, ["cto-team"])
    assert [key["key_id"] for key in info["keys"]] == [made["key_id"]]
    assert [user["user_id"] for user in (await admin.get("/user/list", page=1, page_size=25))["users"]] == ["ishaan1"]
    assert (await admin.post("/user/delete", {"user_ids": ["ishaan1"]}))["deleted_users"] == ["ishaan1"]


async def test_a_budget_of_a_part_of_a_cent(admin: Admin) -> None:
    assert (await admin.post("/key/generate", {"max_budget": 0.0000001}))["max_budget"] == 0.0000001


@pytest.mark.parametrize("path", ["/key/generate", "/team/new", "/user/new"])
async def test_fields_without_a_meaning_that_ask_for_nothing_are_passed_over(admin: Admin, path: str) -> None:
    nothings: list[Any] = [None, [], {}, "", False]
    for nothing in nothings:
        await admin.post(path, dict.fromkeys(MEANINGLESS, nothing))


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/key/generate", {"models": ["gpt-3.5-turbo", "gpt-4", "claude-2"], "duration": "20m"}),
        ("/key/generate", {"aliases": {"gpt-3.5-turbo": "my-free-tier"}, "duration": "30m"}),
        ("/key/generate", {"tpm_limit": 0}),
        ("/key/generate", {"model_max_budget": {"gpt-4o": {"budget_limit": "0.0000001", "time_period": "1d"}}}),
        ("/key/generate", {"guardrails": ["pii"]}),
        ("/key/generate", {"key_type": "management"}),
        ("/key/generate", {"send_invite_email": True}),
        ("/team/new", {"members_with_roles": [{"role": "admin", "user_id": "5c4a0aa3"}], "rpm_limit": 99}),
        ("/team/new", {"model_rpm_limit": {"gpt-4": 100}}),
        ("/team/new", {"organization_id": "acme"}),
        ("/user/new", {"models": ["azure-models"], "max_budget": 0, "user_id": "krrish3@berri.ai"}),
        ("/user/new", {"user_role": "proxy_admin"}),
    ],
)
async def test_fields_without_a_meaning_that_ask_for_something_are_refused(
    admin: Admin, path: str, fields: dict[str, Any]
) -> None:
    field = next(name for name in fields if name in MEANINGLESS)
    refused = await refusal(admin, path, fields)
    assert (refused.status, refused.code, refused.param) == (400, "unknown_parameter", field)
    assert refused.message == f"'{field}' has no meaning here: {MEANINGLESS[field]}."


def test_the_page_names_every_field_without_a_meaning() -> None:
    section = PAGE.partition("### Fields without a meaning here")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(\w+)`", section)) >= set(MEANINGLESS)
