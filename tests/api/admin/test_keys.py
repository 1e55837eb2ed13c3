"""The key routes: what they do to keys."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import pytest

from app.domain.keys import mint
from tests.api.admin.hosting import LIMITS, STANDING, Admin, Refused
from tests.storage.keys import NOON

FIELDS: dict[str, Any] = {
    "key_alias": "prod",
    "duration": "30d",
    "metadata": {"team": "sea", "nested": [1, {"a": None}]},
    "tags": ["a", "b"],
    "allowed_operations": ["containers.files.*", "containers.list"],
    "container_scope": "all",
    "allowed_deployments": ["azure-eu", "main"],
    "user_id": "ann",
    "team_id": "sea",
    "blocked": False,
    "role": "viewer",
    "allowed_ips": ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"],
    **LIMITS,
}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_generate_answers_with_the_key_and_all_about_it(admin: Admin) -> None:
    made = await admin.post("/key/generate", FIELDS)
    key, key_id = made.pop("key"), made.pop("key_id")
    assert re.fullmatch(r"sk-qm-[0-9a-f]{16}-[A-Za-z0-9_-]{43}", key)
    assert key.startswith(f"sk-qm-{key_id}-")
    assert made.pop("key_name") == f"sk-qm-{key_id}-..."
    assert at(made.pop("expires")) == NOON + timedelta(days=30)
    assert at(made.pop("created_at")) == at(made.pop("updated_at")) == NOON
    assert made.pop("previous_expires") is None
    assert {name: made.pop(name) for name in STANDING} == STANDING | {"remaining": 12.5}
    assert at(made.pop("budget_reset_at")) == NOON + timedelta(days=30)
    assert made == {name: value for name, value in FIELDS.items() if name != "duration"}
    assert await admin.works(key)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"key_alias":null,"duration":null,"tags":null,"blocked":null}'])
async def test_generate_needs_nothing(admin: Admin, body: bytes) -> None:
    made = await admin.post("/key/generate", content=body)
    assert (made["key_alias"], made["expires"], made["user_id"], made["team_id"]) == (None,) * 4
    assert (made["tags"], made["metadata"], made["allowed_operations"]) == ([], {}, ["*"])
    assert (made["container_scope"], made["allowed_deployments"]) == ("own", [])
    assert made["blocked"] is False
    assert await admin.works(made["key"])


async def test_a_key_may_be_made_blocked(admin: Admin) -> None:
    made = await admin.post("/key/generate", {"blocked": True})
    assert not await admin.works(made["key"])


async def test_a_key_may_be_made_to_do_nothing(admin: Admin) -> None:
    made = await admin.post("/key/generate", {"allowed_operations": []})
    assert made["allowed_operations"] == []
    assert (await admin.authenticator.authenticate(made["key"].encode())).allowed_operations == frozenset()


async def test_the_secret_is_shown_once(admin: Admin) -> None:
    made = await admin.post("/key/generate", FIELDS)
    secret = made["key"][23:]
    later = [
        await admin.get("/key/info", key=made["key"]),
        await admin.get("/key/list"),
        await admin.post("/key/update", {"key": made["key"], "tags": []}),
        await admin.post("/key/block", {"key": made["key"]}),
        await admin.post("/key/delete", {"keys": [made["key"]]}),
    ]
    assert secret not in str(later)


async def test_info_shows_a_key_by_each_of_its_names(admin: Admin) -> None:
    made = await admin.post("/key/generate", FIELDS)
    key = made.pop("key")
    for name in (key, made["key_id"], "prod"):
        assert await admin.get("/key/info", key=name) == {"key": made["key_id"], "info": made}


async def test_update_sets_what_is_given_and_nothing_else(admin: Admin) -> None:
    made = await admin.post("/key/generate", FIELDS)
    admin.clock.now += 60
    updated = await admin.post("/key/update", {"key": "prod", "tags": ["c"]})
    assert at(updated["updated_at"]) == NOON + timedelta(seconds=60)
    expected = made | {"tags": ["c"], "updated_at": updated["updated_at"]}
    del expected["key"]
    assert updated == expected
    assert (await admin.get("/key/info", key="prod"))["info"] == expected


async def test_null_brings_the_default_back(admin: Admin) -> None:
    await admin.post("/key/generate", FIELDS)
    key_id = (await admin.get("/key/info", key="prod"))["key"]
    updated = await admin.post("/key/update", {"key": key_id, **dict.fromkeys(FIELDS)})
    assert updated | {"created_at": None, "updated_at": None} == {
        "key_id": key_id,
        "key_name": f"sk-qm-{key_id}-...",
        "key_alias": None,
        "expires": None,
        "created_at": None,
        "updated_at": None,
        "blocked": False,
        "user_id": None,
        "team_id": None,
        "tags": [],
        "metadata": {},
        "allowed_operations": ["*"],
        "container_scope": "own",
        "allowed_deployments": [],
        "previous_expires": None,
        "role": "member",
        "allowed_ips": [],
        **dict.fromkeys(LIMITS),
        "budget_timezone": "UTC",
        "shadow": False,
        "budget_reset_at": None,
        **STANDING,
    }


async def test_a_null_does_not_unblock(admin: Admin) -> None:
    key_id = (await admin.post("/key/generate", {"blocked": True}))["key_id"]
    assert (await admin.post("/key/update", {"key": key_id, "blocked": None}))["blocked"] is True


async def test_a_duration_counts_from_the_update(admin: Admin) -> None:
    made = await admin.post("/key/generate", {"duration": "1h"})
    admin.clock.now += 1800
    updated = await admin.post("/key/update", {"key": made["key_id"], "duration": "1h"})
    assert at(updated["expires"]) == NOON + timedelta(minutes=90)
    admin.clock.now += 3599
    assert await admin.works(made["key"])
    admin.clock.now += 1
    assert not await admin.works(made["key"])
    await admin.post("/key/update", {"key": made["key_id"], "duration": None})
    assert await admin.works(made["key"])


async def test_changes_count_at_once(admin: Admin) -> None:
    made = await admin.post("/key/generate", {})
    key, key_id = made["key"], made["key_id"]
    assert await admin.works(key)
    assert (await admin.post("/key/block", {"key": key_id}))["blocked"] is True
    assert not await admin.works(key)
    assert (await admin.post("/key/unblock", {"key": key_id}))["blocked"] is False
    assert await admin.works(key)
    await admin.post("/key/update", {"key": key_id, "allowed_operations": ["containers.list"]})
    principal = await admin.authenticator.authenticate(key.encode())
    assert [operation.name for operation in principal.allowed_operations] == ["containers.list"]
    await admin.post("/key/update", {"key": key_id, "container_scope": "all", "allowed_deployments": ["*"]})
    principal = await admin.authenticator.authenticate(key.encode())
    assert principal.sees_all
    assert principal.may_choose("azure-eu")
    await admin.post("/key/delete", {"keys": [key_id]})
    assert not await admin.works(key)


async def test_delete_takes_names_and_aliases_and_counts_each_key_once(admin: Admin) -> None:
    first = await admin.post("/key/generate", {"key_alias": "first"})
    second = await admin.post("/key/generate", {"key_alias": "second"})
    third = await admin.post("/key/generate", {})
    assert await admin.post("/key/delete", {"key_aliases": ["first"]}) == {"deleted_keys": [first["key_id"]]}
    deleted = await admin.post(
        "/key/delete", {"keys": [third["key"], third["key_id"], "second"], "key_aliases": ["second"]}
    )
    assert deleted == {"deleted_keys": [third["key_id"], second["key_id"]]}
    assert (await admin.get("/key/list"))["total_count"] == 0


async def test_delete_is_all_or_nothing(admin: Admin) -> None:
    await admin.post("/key/generate", {"key_alias": "kept"})
    with pytest.raises(Refused) as refused:
        await admin.post("/key/delete", {"keys": ["kept", "nobody"]})
    assert (refused.value.status, refused.value.code, refused.value.param) == (404, "key_not_found", "keys.1")
    assert await admin.get("/key/info", key="kept")


@pytest.mark.parametrize("in_path", [True, False])
async def test_regenerate_replaces_the_secret_at_once(admin: Admin, in_path: bool) -> None:
    made = await admin.post("/key/generate", FIELDS)
    assert await admin.works(made["key"])
    if in_path:
        renewed = await admin.post(f"/key/{made['key']}/regenerate", {"tags": ["new"]})
    else:
        renewed = await admin.post("/key/regenerate", {"key": "prod", "tags": ["new"]})
    assert renewed["key"] != made["key"]
    assert renewed == made | {"key": renewed["key"], "tags": ["new"]}
    assert await admin.works(renewed["key"])
    assert not await admin.works(made["key"])


async def test_the_secret_before_works_for_the_grace_period(admin: Admin) -> None:
    made = await admin.post("/key/generate", {"key_alias": "prod"})
    renewed = await admin.post("/key/prod/regenerate", {"grace_period": "24h"})
    admin.clock.now += 24 * 3600 - 1
    assert await admin.works(made["key"])
    assert await admin.works(renewed["key"])
    admin.clock.now += 1
    assert not await admin.works(made["key"])
    assert await admin.works(renewed["key"])


async def test_a_grace_period_is_shown_while_it_runs(admin: Admin) -> None:
    await admin.post("/key/generate", {"key_alias": "prod"})
    renewed = await admin.post("/key/prod/regenerate", {"grace_period": "24h"})
    assert at(renewed["previous_expires"]) == NOON + timedelta(hours=24)
    admin.clock.now += 24 * 3600 - 1
    shown = (await admin.get("/key/info", key="prod"))["info"]
    assert shown["previous_expires"] == renewed["previous_expires"]
    assert (await admin.get("/key/list"))["keys"] == [shown]
    admin.clock.now += 1
    assert (await admin.get("/key/info", key="prod"))["info"]["previous_expires"] is None


async def test_regenerating_without_grace_ends_an_earlier_grace_too(admin: Admin) -> None:
    made = await admin.post("/key/generate", {"key_alias": "prod"})
    renewed = await admin.post("/key/prod/regenerate", {"grace_period": "24h"})
    last = await admin.post("/key/prod/regenerate")
    assert [await admin.works(each["key"]) for each in (made, renewed, last)] == [False, False, True]


async def test_the_path_and_the_body_may_not_disagree(admin: Admin) -> None:
    made = await admin.post("/key/generate", {"key_alias": "prod"})
    with pytest.raises(Refused) as refused:
        await admin.post("/key/prod/regenerate", {"key": "other"})
    assert (refused.value.status, refused.value.param) == (400, "key")
    assert await admin.works(made["key"])
    assert await admin.post("/key/prod/regenerate", {"key": "prod"})


async def test_list_pages_through_keys_newest_first(admin: Admin) -> None:
    made = []
    for number in range(5):
        admin.clock.now += 1
        made.append((await admin.post("/key/generate", {"user_id": f"user-{number % 2}"}))["key_id"])
    page = await admin.get("/key/list", page=2, size=2)
    assert [key["key_id"] for key in page.pop("keys")] == [made[2], made[1]]
    assert page == {"total_count": 5, "current_page": 2, "total_pages": 3}
    assert (await admin.get("/key/list", page=4, size=2))["keys"] == []
    odd = await admin.get("/key/list", user_id="user-1")
    assert [key["key_id"] for key in odd["keys"]] == [made[3], made[1]]
    for wanted in ({"team_id": "sea"}, {"key_alias": "prod"}):
        key_id = (await admin.post("/key/generate", wanted))["key_id"]
        assert [key["key_id"] for key in (await admin.get("/key/list", **wanted))["keys"]] == [key_id]


async def test_an_empty_list_has_no_pages(admin: Admin) -> None:
    empty = {"keys": [], "total_count": 0, "current_page": 1, "total_pages": 0}
    assert await admin.get("/key/list") == empty


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/key/update", {"tags": []}),
        ("/key/block", {}),
        ("/key/unblock", {}),
        ("/key/regenerate", {}),
        ("/key/{name}/regenerate", {}),
        ("/key/info", None),
    ],
)
async def test_an_unknown_key_is_a_404_that_does_not_repeat_it(
    admin: Admin, path: str, fields: dict[str, Any] | None
) -> None:
    for name in ("nobody", mint().key_id, mint().key):
        asked = (
            admin.get(path, key=name) if fields is None else admin.post(path.format(name=name), fields | {"key": name})
        )
        with pytest.raises(Refused) as refused:
            await asked
        assert (refused.value.status, refused.value.code) == (404, "key_not_found")
        assert name not in refused.value.message


async def test_an_alias_belongs_to_one_key(admin: Admin) -> None:
    await admin.post("/key/generate", {"key_alias": "prod"})
    other = await admin.post("/key/generate", {"key_alias": "other"})
    for path, fields in (
        ("/key/generate", {}),
        ("/key/update", {"key": "other"}),
        ("/key/regenerate", {"key": "other"}),
    ):
        with pytest.raises(Refused, match="'prod'") as refused:
            await admin.post(path, {**fields, "key_alias": "prod"})
        assert (refused.value.status, refused.value.code, refused.value.param) == (400, "invalid_value", "key_alias")
    assert await admin.works(other["key"])
    assert (await admin.post("/key/update", {"key": "prod", "key_alias": "prod"}))["key_alias"] == "prod"


@pytest.mark.parametrize("path", ["/key/generate", "/key/update", "/key/regenerate"])
async def test_a_key_may_be_allowed_only_deployments_that_there_are(admin: Admin, path: str) -> None:
    named = {} if path == "/key/generate" else {"key": "prod"}
    await admin.post("/key/generate", {"key_alias": "prod", "allowed_deployments": ["main"]})
    with pytest.raises(Refused, match=r"'azure-us'.*'azure-eu'.*azure-eu, main") as refused:
        await admin.post(path, {**named, "allowed_deployments": ["main", "azure-us"]})
    assert (refused.value.status, refused.value.code) == (400, "invalid_value")
    assert refused.value.param == "allowed_deployments.1"
    assert (await admin.get("/key/info", key="prod"))["info"]["allowed_deployments"] == ["main"]
    made = await admin.post(path, {**named, "allowed_deployments": ["*", "azure-eu"]})
    assert made["allowed_deployments"] == ["*", "azure-eu"]
