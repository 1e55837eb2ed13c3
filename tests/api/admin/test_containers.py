"""The container routes: what an operator sees of containers, and does with them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from app.domain.containers import Access, Ending
from app.domain.identity import Holder, Principal, VirtualKey
from app.domain.ports import Observations, SeenFile
from tests.api.admin.hosting import Admin, Refused
from tests.registry.harbour import HERE, THERE, Harbour
from tests.storage.keys import DEED, NOON


def ids(answer: dict[str, Any]) -> list[str]:
    return [container["id"] for container in answer["containers"]]


async def refusal(admin: Admin, path: str, fields: dict[str, Any]) -> tuple[int, str | None, str | None]:
    with pytest.raises(Refused) as refused:
        await (admin.get(path, **fields) if path.endswith(("info", "list")) else admin.post(path, fields))
    return refused.value.status, refused.value.code, refused.value.param


async def key_named(harbour: Harbour, alias: str, **fields: Any) -> VirtualKey:
    key = await harbour.keys.get(await harbour.add_key(alias=alias, **fields))
    assert key
    return key


# Seeing.


async def test_info_shows_everything_the_registry_knows(operator: Admin, harbour: Harbour) -> None:
    added = await harbour.add("cntr_1", expires_after_minutes=20, last_active_at=NOON - timedelta(minutes=5))
    await harbour.containers.share("cntr_1", "user:bob", Access.WRITE)
    await harbour.containers.share("cntr_1", "key:0123456789abcdef", Access.READ)
    files = [
        SeenFile(container_id="cntr_1", file_id=f"cfile_{number}", bytes=size) for number, size in ((1, 7), (2, None))
    ]
    await harbour.containers.observe(Observations(files_seen=files))
    shown = await operator.get("/container/info", container_id="cntr_1")
    times = {name: shown.pop(name) for name in ("created_at", "last_active_at", "expires_at", "last_seen")}
    assert shown == {
        "id": "cntr_1",
        "owner": "team:sea",
        "key_id": "0123456789abcdef",
        "deployment": HERE,
        "name": "crate",
        "status": "running",
        "memory_limit": "1g",
        "ended_at": None,
        "shares": {"key:0123456789abcdef": "read", "user:bob": "write"},
        "files": 2,
        "bytes": 7,
    }
    assert {name: datetime.fromisoformat(text) for name, text in times.items()} == {
        "created_at": added.created_at,
        "last_active_at": added.last_active_at,
        "expires_at": NOON + timedelta(minutes=15),
        "last_seen": added.seen_at,
    }


async def test_the_list_has_pages_newest_first(operator: Admin, harbour: Harbour) -> None:
    for number in range(5):
        await harbour.add(f"cntr_{number}", hours_old=9 - number)
    page = await operator.get("/container/list", page=2, size=2)
    assert ids(page) == ["cntr_2", "cntr_1"]
    assert page["containers"][0] == await operator.get("/container/info", container_id="cntr_2")
    assert {name: page[name] for name in ("total_count", "current_page", "total_pages")} == {
        "total_count": 5,
        "current_page": 2,
        "total_pages": 3,
    }
    assert ids(await operator.get("/container/list", page=4, size=2)) == []


async def test_the_list_is_narrowed(operator: Admin, harbour: Harbour) -> None:
    key = await key_named(harbour, "prod")
    await harbour.add("cntr_lake", hours_old=1, owner="team:lake")
    await harbour.add("cntr_nobodys", hours_old=2, owner=None)
    await harbour.add("cntr_there", hours_old=3, deployment=THERE)
    await harbour.add("cntr_keyed", hours_old=4, key_id=key.key_id)
    await harbour.add("cntr_master", hours_old=5, owner="master", key_id="master")
    await harbour.add("cntr_over", hours_old=6, expires_after_minutes=20)
    await harbour.add("cntr_ended", hours_old=7)
    await harbour.containers.end("cntr_ended", Ending.DELETED, NOON)
    for query, expected in (
        ({"owner": "team:lake"}, ["cntr_lake"]),
        ({"owner": "master"}, ["cntr_master"]),
        ({"unowned": "true"}, ["cntr_nobodys"]),
        ({"deployment": THERE}, ["cntr_there"]),
        ({"deployment": "taken out"}, []),
        ({"key": "prod"}, ["cntr_keyed"]),
        ({"key": key.key_id}, ["cntr_keyed"]),
        ({"key": f"sk-qm-{key.key_id}-{'a' * 43}"}, ["cntr_keyed"]),
        ({"key": "master"}, ["cntr_master"]),
        ({"status": "expired"}, ["cntr_over"]),
        ({"status": "deleted"}, ["cntr_ended"]),
        ({"status": "running", "owner": "team:sea"}, ["cntr_there", "cntr_keyed"]),
    ):
        assert ids(await operator.get("/container/list", **query)) == expected, query
    await harbour.keys.delete([key.key_id], DEED)
    assert ids(await operator.get("/container/list", key=key.key_id)) == ["cntr_keyed"]


async def test_what_cannot_be_asked_for_is_refused(operator: Admin) -> None:
    for query, expected in (
        ({"size": 101}, (400, "invalid_value", "size")),
        ({"page": 0}, (400, "invalid_value", "page")),
        ({"owner": "sea"}, (400, "invalid_value", "owner")),
        ({"owner": "team:"}, (400, "invalid_value", "owner")),
        ({"owner": "group:sea"}, (400, "invalid_value", "owner")),
        ({"owner": "team:sea", "unowned": "true"}, (400, "invalid_value", "unowned")),
        ({"unowned": "perhaps"}, (400, "invalid_type", "unowned")),
        ({"key": "nobody"}, (404, "key_not_found", "key")),
        ({"ownr": "team:sea"}, (400, "unknown_parameter", "ownr")),
    ):
        assert await refusal(operator, "/container/list", query) == expected, query
    assert await refusal(operator, "/container/info", {}) == (400, "missing_required_parameter", "container_id")
    assert await refusal(operator, "/container/info", {"container_id": "cntr_1"}) == (404, None, "container_id")


# Giving away.


async def test_a_registered_container_gets_another_owner_at_once(operator: Admin, harbour: Harbour) -> None:
    await harbour.add("cntr_1", key_id=await harbour.add_key(blocked=True))
    await harbour.containers.share("cntr_1", "user:bob", Access.READ)
    assert await harbour.ownerships.any("cntr_1")
    shown = await operator.post("/container/adopt", {"container_id": "cntr_1", "team_id": "lake"})
    assert (shown["owner"], shown["shares"], shown["key_id"], shown["deployment"]) == ("team:lake", {}, None, HERE)
    known = await harbour.ownerships.any("cntr_1")
    assert known
    assert (known.owner, known.shares) == ("team:lake", {})
    assert harbour.here.asked == []
    reaped = await operator.post("/container/reap", {"revoked_keys": True})
    assert ids(reaped) == []  # it is not the revoked key's any more


@pytest.mark.parametrize("deployment", [None, THERE])
async def test_an_unknown_container_is_found_in_the_lists(
    operator: Admin, harbour: Harbour, deployment: str | None
) -> None:
    assert await harbour.ownerships.any("cntr_1") is None
    harbour.yards[THERE].put("cntr_1", created_at=NOON.timestamp() - 60, name="found")
    shown = await operator.post(
        "/container/adopt", {"container_id": "cntr_1", "user_id": "ann", "deployment": deployment}
    )
    assert (shown["owner"], shown["deployment"], shown["name"]) == ("user:ann", THERE, "found")
    assert datetime.fromisoformat(shown["created_at"]) == NOON.replace(microsecond=0) - timedelta(seconds=60)
    known = await harbour.ownerships.any("cntr_1")
    assert known
    assert known.owner == "user:ann"
    assert set(harbour.yards[THERE].asked) == {"GET /v1/containers"}
    assert harbour.here.asked == ([] if deployment else ["GET /v1/containers"])


async def test_one_that_nobody_owned_can_be_adopted(operator: Admin, harbour: Harbour) -> None:
    await harbour.add("cntr_1", owner=None)
    shown = await operator.post("/container/adopt", {"container_id": "cntr_1", "team_id": "lake", "deployment": HERE})
    assert shown["owner"] == "team:lake"


@pytest.mark.parametrize("fields", [{}, {"user_id": "ann"}, {"user_id": "ann", "team_id": "lake"}])
async def test_given_to_a_key_it_is_as_if_that_key_had_made_it(
    operator: Admin, harbour: Harbour, fields: dict[str, str]
) -> None:
    key = await key_named(harbour, "prod", **fields)
    await harbour.add("cntr_1")
    shown = await operator.post("/container/adopt", {"container_id": "cntr_1", "key": "prod"})
    assert shown["owner"] == key.owner
    principal = Principal.of(Holder(key=key))
    known = await harbour.ownerships.accessible(principal, "cntr_1")
    assert known
    assert known.access_of(principal.identities, principal.owner) is Access.WRITE


async def test_one_that_was_gone_is_taken_from_the_list_again(operator: Admin, harbour: Harbour) -> None:
    await harbour.add("cntr_1")
    await harbour.containers.end("cntr_1", Ending.GONE, NOON)
    shown = await operator.post("/container/adopt", {"container_id": "cntr_1", "team_id": "lake"})
    assert (shown["status"], shown["ended_at"], shown["owner"]) == ("running", None, "team:lake")
    await harbour.add("cntr_2", listed=False)
    await harbour.containers.end("cntr_2", Ending.GONE, NOON)
    fields = {"container_id": "cntr_2", "team_id": "lake"}
    assert await refusal(operator, "/container/adopt", fields) == (404, None, "container_id")


async def test_what_cannot_be_adopted(operator: Admin, harbour: Harbour) -> None:
    await harbour.add("cntr_1")
    await harbour.add("cntr_deleted")
    await harbour.containers.end("cntr_deleted", Ending.DELETED, NOON)
    lake = {"team_id": "lake"}
    for fields, expected in (
        (lake, (400, "missing_required_parameter", "container_id")),
        ({"container_id": "cntr_1"}, (400, "missing_required_parameter", "team_id")),
        ({"container_id": "cntr_1", "user_id": "ann"} | lake, (400, "invalid_value", "user_id")),
        ({"container_id": "cntr_1", "key": "nobody"}, (404, "key_not_found", "key")),
        ({"container_id": "cntr_1", "deployment": THERE} | lake, (400, "invalid_value", "deployment")),
        ({"container_id": "cntr_1", "deployment": "nowhere"} | lake, (400, "invalid_value", "deployment")),
        ({"container_id": "cntr_deleted"} | lake, (404, None, "container_id")),
        ({"container_id": "cntr_unknown"} | lake, (404, None, "container_id")),
        ({"container_id": "cntr_1", "team_id": 1}, (400, "invalid_type", "team_id")),
    ):
        assert await refusal(operator, "/container/adopt", fields) == expected, fields
    assert (await operator.get("/container/info", container_id="cntr_1"))["owner"] == "team:sea"


async def test_a_list_that_does_not_answer_is_no_proof(operator: Admin, harbour: Harbour) -> None:
    harbour.here.list_status = 401
    lake = {"container_id": "cntr_1", "team_id": "lake"}
    assert (await refusal(operator, "/container/adopt", lake))[:2] == (502, "upstream_protocol_error")
    harbour.yards[THERE].put("cntr_1", created_at=NOON.timestamp())
    assert (await operator.post("/container/adopt", lake))["deployment"] == THERE


# Sharing.


async def test_a_share_counts_at_once_and_so_does_its_end(operator: Admin, harbour: Harbour) -> None:
    key = await key_named(harbour, "prod", team_id="lake")
    await harbour.add("cntr_1")
    for party, identity in (
        ({"team_id": "lake"}, "team:lake"),
        ({"user_id": "bob"}, "user:bob"),
        ({"key": "prod"}, f"key:{key.key_id}"),
    ):
        named = {"container_id": "cntr_1", **party}
        assert await harbour.ownerships.any("cntr_1")
        assert (await operator.post("/container/share", named))["shares"] == {identity: "read"}
        known = await harbour.ownerships.any("cntr_1")
        assert known
        assert known.shares == {identity: Access.READ}
        assert (await operator.post("/container/share", {**named, "access": "write"}))["shares"] == {identity: "write"}
        assert (await operator.post("/container/unshare", named))["shares"] == {}
        known = await harbour.ownerships.any("cntr_1")
        assert known
        assert known.shares == {}


async def test_what_cannot_be_shared(operator: Admin, harbour: Harbour) -> None:
    await harbour.add("cntr_1")
    await harbour.add("cntr_deleted")
    await harbour.containers.end("cntr_deleted", Ending.DELETED, NOON)
    lake = {"team_id": "lake"}
    for path in ("/container/share", "/container/unshare"):
        for fields, expected in (
            (lake, (400, "missing_required_parameter", "container_id")),
            ({"container_id": "cntr_1"}, (400, "missing_required_parameter", "team_id")),
            ({"container_id": "cntr_1", "key": "nobody"}, (404, "key_not_found", "key")),
            ({"container_id": "cntr_2"} | lake, (404, None, "container_id")),
            ({"container_id": "cntr_deleted"} | lake, (404, None, "container_id")),
        ):
            assert await refusal(operator, path, fields) == expected, (path, fields)
    named = {"container_id": "cntr_1", **lake}
    assert await refusal(operator, "/container/share", {**named, "access": "all"}) == (400, "invalid_value", "access")
    assert (await refusal(operator, "/container/unshare", named))[:2] == (400, "invalid_value")
    assert (await refusal(operator, "/container/unshare", {**named, "access": "read"}))[1] == "unknown_parameter"


# Cleaning up.


async def test_nothing_is_deleted_until_that_is_asked_for(operator: Admin, harbour: Harbour) -> None:
    await harbour.add("cntr_1", hours_old=3)
    wanted = {"team_id": "sea", "older_than": "2h"}
    answer = await operator.post("/container/reap", wanted)
    (container,) = answer.pop("containers")
    assert answer == {
        "dry_run": True,
        "matched": 1,
        "deleted": 0,
        "gone": 0,
        "kept": 0,
        "failed": 0,
        "has_more": False,
        "unlisted": {},
    }
    assert container["reason"] == "it is team:sea's, made 3h ago"
    assert (container["id"], container["owner"], container["outcome"]) == ("cntr_1", "team:sea", "would_delete")
    assert harbour.here.asked == []
    answer = await operator.post("/container/reap", wanted | {"dry_run": False})
    assert (answer["dry_run"], answer["deleted"]) == (False, 1)
    assert harbour.here.deletions == ["cntr_1"]
    shown = await operator.get("/container/info", container_id="cntr_1")
    assert (shown["status"], datetime.fromisoformat(shown["ended_at"])) == ("deleted", NOON)


async def test_every_way_to_say_which(operator: Admin, harbour: Harbour) -> None:
    key = await key_named(harbour, "prod")
    revoked = await key_named(harbour, "old", blocked=True)
    await harbour.add("cntr_sea", hours_old=1, key_id=key.key_id)
    await harbour.add("cntr_ann", hours_old=2, owner="user:ann", key_id=revoked.key_id)
    await harbour.add("cntr_key", hours_old=3, owner=f"key:{key.key_id}", key_id=key.key_id, last_active_at=NOON)
    await harbour.add("cntr_master", hours_old=4, owner="master", key_id="master", deployment=THERE)
    harbour.here.put("cntr_unknown", created_at=NOON.timestamp() - 60)
    for wanted, expected in (
        ({"owner": "team:sea"}, ["cntr_sea"]),
        ({"owner": "master"}, ["cntr_master"]),
        ({"owner": f"key:{key.key_id}"}, ["cntr_key"]),
        ({"team_id": "sea"}, ["cntr_sea"]),
        ({"user_id": "ann"}, ["cntr_ann"]),
        ({"key": "prod"}, ["cntr_sea", "cntr_key"]),
        ({"key": "master"}, ["cntr_master"]),
        ({"revoked_keys": True}, ["cntr_ann"]),
        ({"older_than": "150m"}, ["cntr_key", "cntr_master"]),
        ({"older_than": "150m", "deployment": THERE}, ["cntr_master"]),
        ({"idle_for": "150m"}, ["cntr_master"]),
        ({"unknown": True}, ["cntr_unknown"]),
        ({"unknown": True, "older_than": "2m"}, []),
        ({"key": "prod", "team_id": "sea"}, ["cntr_sea"]),
    ):
        assert ids(await operator.post("/container/reap", wanted)) == expected, wanted


async def test_failures_are_told(operator: Admin, harbour: Harbour) -> None:
    await harbour.add("cntr_1")
    harbour.here.statuses["cntr_1"] = 403
    answer = await operator.post("/container/reap", {"team_id": "sea", "dry_run": False})
    assert (answer["deleted"], answer["failed"]) == (0, 1)
    (container,) = answer["containers"]
    assert (container["outcome"], container["error"]) == ("failed", "its deployment answered 403")
    harbour.here.list_status = 500
    answer = await operator.post("/container/reap", {"unknown": True, "dry_run": False})
    assert answer["unlisted"] == {HERE: "its list answered 500"}


async def test_the_limit_is_kept_and_told(operator: Admin, harbour: Harbour) -> None:
    for number in range(3):
        await harbour.add(f"cntr_{number}", hours_old=1 + number)
    answer = await operator.post("/container/reap", {"team_id": "sea", "dry_run": False, "limit": 2})
    assert (answer["deleted"], answer["has_more"]) == (2, True)
    assert harbour.here.containers.keys() == {"cntr_2"}


async def test_what_is_too_vague_or_makes_no_sense_deletes_nothing(operator: Admin, harbour: Harbour) -> None:
    await harbour.add("cntr_1", hours_old=9)
    really = {"dry_run": False}
    missing = (400, "missing_required_parameter", "owner")
    for wanted, expected in (
        ({}, missing),
        (really, missing),
        ({"deployment": HERE} | really, missing),
        ({"revoked_keys": False, "unknown": False, "owner": None} | really, missing),
        ({"unknown": True, "owner": "team:sea"} | really, (400, "invalid_value", "unknown")),
        ({"unknown": True, "revoked_keys": True} | really, (400, "invalid_value", "unknown")),
        ({"owner": "team:sea", "team_id": "sea"} | really, (400, "invalid_value", "team_id")),
        ({"owner": "*"} | really, (400, "invalid_value", "owner")),
        ({"older_than": "2 hours"} | really, (400, "invalid_value", "older_than")),
        ({"older_than": 3600} | really, (400, "invalid_type", "older_than")),
        ({"older_than": "1h", "dry_run": "false"}, (400, "invalid_type", "dry_run")),
        ({"older_than": "1h", "limit": 0} | really, (400, "invalid_value", "limit")),
        ({"older_than": "1h", "limit": 1001} | really, (400, "invalid_value", "limit")),
        ({"older_than": "1h", "deployment": "nowhere"} | really, (400, "invalid_value", "deployment")),
        ({"key": "nobody"} | really, (404, "key_not_found", "key")),
        ({"older_then": "1h"} | really, (400, "unknown_parameter", "older_then")),
    ):
        assert await refusal(operator, "/container/reap", wanted) == expected, wanted
    assert harbour.here.asked == []


async def test_without_a_database_every_route_says_so(operator: Admin, harbour: Harbour) -> None:
    harbour.here.put("cntr_2", created_at=1)
    await harbour.rename_table("containers", "elsewhere")
    one = {"container_id": "cntr_1", "team_id": "sea"}
    for path, fields in (
        ("/container/list", {}),
        ("/container/info", {"container_id": "cntr_1"}),
        ("/container/adopt", one),
        ("/container/share", one),
        ("/container/unshare", one),
        ("/container/reap", {"team_id": "sea"}),
        ("/container/reap", {"unknown": True, "deployment": HERE, "dry_run": False}),
    ):
        assert (await refusal(operator, path, fields))[:2] == (503, "store_unavailable"), path
    assert harbour.here.deletions == []
