"""The team and user routes: what they do to teams, to users and to their keys."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.api.admin.hosting import Admin, Refused
from tests.storage.keys import NOON

KINDS = ("team", "user")
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


async def refusal(admin: Admin, path: str, fields: dict[str, Any]) -> Refused:
    with pytest.raises(Refused) as refused:
        await admin.post(path, fields)
    return refused.value


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_new_is_answered_and_shown_alike(admin: Admin, kind: str) -> None:
    fields = {f"{kind}_alias": "The Sea", "metadata": {"a": [1, None]}, "tags": ["x"], "blocked": True}
    made = await admin.post(f"/{kind}/new", {f"{kind}_id": "sea", **fields})
    assert {name: made[name] for name in fields} == fields
    assert made["created_at"] == made["updated_at"] == NOON.isoformat().replace("+00:00", "Z")
    shown = await admin.get(f"/{kind}/info", **{f"{kind}_id": "sea"})
    assert shown[f"{kind}_info"] == {name: made[name] for name in made if name not in {"key", "key_id", "expires"}}


@pytest.mark.parametrize("kind", KINDS)
async def test_an_id_is_made_up_where_none_is_given(admin: Admin, kind: str) -> None:
    first, second = [(await admin.post(f"/{kind}/new"))[f"{kind}_id"] for _ in range(2)]
    assert re.fullmatch(UUID, first)
    assert first != second


@pytest.mark.parametrize("kind", KINDS)
async def test_ids_and_aliases_are_unique(admin: Admin, kind: str) -> None:
    await admin.post(f"/{kind}/new", {f"{kind}_id": "alias-1", f"{kind}_alias": "sea"})
    refused = await refusal(admin, f"/{kind}/new", {f"{kind}_id": "alias-1"})
    assert (refused.status, refused.code, refused.param) == (400, "invalid_value", f"{kind}_id")
    refused = await refusal(admin, f"/{kind}/new", {f"{kind}_alias": "sea"})
    assert (refused.status, refused.code, refused.param) == (400, "invalid_value", f"{kind}_alias")
    await admin.post(f"/{kind}/new", {f"{kind}_id": "lake"})
    refused = await refusal(admin, f"/{kind}/update", {f"{kind}_id": "lake", f"{kind}_alias": "sea"})
    assert refused.param == f"{kind}_alias"


@pytest.mark.parametrize("kind", KINDS)
async def test_an_update_sets_what_it_names(admin: Admin, kind: str) -> None:
    await admin.post(f"/{kind}/new", {f"{kind}_id": "sea", "tags": ["a"], "metadata": {"a": 1}, "rpm_limit": 1})
    changed = await admin.post(f"/{kind}/update", {f"{kind}_id": "sea", "tags": None, "rpm_limit": 2})
    assert changed[f"{kind}_id"] == "sea"
    data = changed["data"]
    assert (data["tags"], data["metadata"], data["rpm_limit"]) == ([], {"a": 1}, 2)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_does_not_exist_is_not_found(admin: Admin, kind: str) -> None:
    named = {f"{kind}_id": "nobody"}
    for path, fields in (
        ("update", named),
        ("block", named),
        ("unblock", named),
        ("delete", {f"{kind}_ids": ["nobody"]}),
    ):
        refused = await refusal(admin, f"/{kind}/{path}", fields)
        assert (refused.status, refused.code) == (404, "group_not_found"), path
    with pytest.raises(Refused) as shown:
        await admin.get(f"/{kind}/info", **named)
    assert (shown.value.status, shown.value.code) == (404, "group_not_found")


@pytest.mark.parametrize("kind", KINDS)
async def test_blocking_refuses_keys_that_are_in_use_at_once(admin: Admin, kind: str) -> None:
    await admin.post(f"/{kind}/new", {f"{kind}_id": "sea"})
    theirs = (await admin.post("/key/generate", {f"{kind}_id": "sea"}))["key"]
    other = (await admin.post("/key/generate", {f"{kind}_id": "lake"}))["key"]
    assert await admin.works(theirs)
    assert await admin.works(other)
    assert (await admin.post(f"/{kind}/block", {f"{kind}_id": "sea"}))["blocked"] is True
    assert not await admin.works(theirs)
    assert await admin.works(other)
    assert (await admin.post(f"/{kind}/unblock", {f"{kind}_id": "sea"}))["blocked"] is False
    assert await admin.works(theirs)


@pytest.mark.parametrize("kind", KINDS)
async def test_limits_reach_keys_that_are_in_use_at_once(admin: Admin, kind: str) -> None:
    key = (await admin.post("/key/generate", {f"{kind}_id": "sea"}))["key"].encode()
    await admin.authenticator.authenticate(key)
    await admin.post(f"/{kind}/new", {f"{kind}_id": "sea", "rpm_limit": 7})
    principal = await admin.authenticator.authenticate(key)
    assert [account.limits.rpm_limit for account in principal.accounts] == [None, 7]
    await admin.post(f"/{kind}/update", {f"{kind}_id": "sea", "rpm_limit": 8})
    principal = await admin.authenticator.authenticate(key)
    assert principal.accounts[1].limits.rpm_limit == 8


@pytest.mark.parametrize("kind", KINDS)
async def test_deleting_takes_the_keys_along(admin: Admin, kind: str) -> None:
    await admin.post(f"/{kind}/new", {f"{kind}_id": "sea"})
    theirs = await admin.post("/key/generate", {f"{kind}_id": "sea"})
    other = await admin.post("/key/generate", {f"{kind}_id": "lake"})
    assert await admin.works(theirs["key"])
    refused = await refusal(admin, f"/{kind}/delete", {f"{kind}_ids": ["sea", "nobody"]})
    assert refused.param == f"{kind}_ids.1"
    assert await admin.works(theirs["key"])
    deleted = await admin.post(f"/{kind}/delete", {f"{kind}_ids": ["sea", "sea"]})
    assert deleted == {f"deleted_{kind}s": ["sea"]}
    assert not await admin.works(theirs["key"])
    assert await admin.works(other["key"])


async def test_info_shows_the_keys(admin: Admin) -> None:
    await admin.post("/team/new", {"team_id": "sea"})
    await admin.post("/user/new", {"user_id": "ann", "auto_create_key": False})
    made = await admin.post("/key/generate", {"team_id": "sea", "user_id": "ann"})
    await admin.post("/key/generate", {"team_id": "lake"})
    team, user = await admin.get("/team/info", team_id="sea"), await admin.get("/user/info", user_id="ann")
    for shown in (team, user):
        assert [key["key_id"] for key in shown["keys"]] == [made["key_id"]]
        assert shown["key_count"] == 1
    assert user["teams"] == ["sea"]


async def test_lists_go_page_by_page(admin: Admin) -> None:
    for number in range(3):
        admin.clock.now += 1
        await admin.post("/team/new", {"team_id": f"team-{number}", "team_alias": f"alias-{number}"})
        await admin.post("/user/new", {"user_id": f"user-{number}", "auto_create_key": False})
    assert [team["team_id"] for team in await admin.get("/team/list")] == ["team-2", "team-1", "team-0"]
    assert [team["team_id"] for team in await admin.get("/team/list", page=2, page_size=2)] == ["team-0"]
    page = await admin.get("/v2/team/list", team_alias="alias-1")
    assert ([team["team_id"] for team in page.pop("teams")], page) == (
        ["team-1"],
        {"total": 1, "page": 1, "page_size": 100, "total_pages": 1},
    )
    page = await admin.get("/user/list", page=2, page_size=2)
    assert ([user["user_id"] for user in page.pop("users")], page) == (
        ["user-0"],
        {"total": 3, "page": 2, "page_size": 2, "total_pages": 2},
    )


async def test_a_new_user_gets_a_key(admin: Admin) -> None:
    fields = {
        "user_id": "ann",
        "user_email": "ann@example.com",
        "key_alias": "anns",
        "duration": "1h",
        "team_id": "sea",
    }
    made = await admin.post("/user/new", fields)
    assert await admin.works(made["key"])
    key = (await admin.get("/key/info", key="anns"))["info"]
    assert (key["key_id"], key["user_id"], key["team_id"], key["expires"]) == (
        made["key_id"],
        "ann",
        "sea",
        made["expires"],
    )
    assert made["user_email"] == "ann@example.com"


async def test_no_user_is_made_whose_key_could_not_be(admin: Admin) -> None:
    await admin.post("/key/generate", {"key_alias": "taken"})
    refused = await refusal(admin, "/user/new", {"user_id": "ann", "key_alias": "taken"})
    assert refused.param == "key_alias"
    assert (await admin.get("/user/list"))["total"] == 0
