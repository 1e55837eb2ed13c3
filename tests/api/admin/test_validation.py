"""The key routes: what they refuse, and in which words."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.api.admin.hosting import Admin, Refused
from tests.storage.keys import DEED, virtual_key

REFUSED_FIELDS: list[tuple[dict[str, Any], str, str]] = [
    ({"key_alias": 1}, "invalid_type", "key_alias"),
    ({"key_alias": ""}, "invalid_value", "key_alias"),
    ({"key_alias": "a" * 257}, "invalid_value", "key_alias"),
    ({"key_alias": "a\0b"}, "invalid_value", "key_alias"),
    ({"key_alias": "0123456789abcdef"}, "invalid_value", "key_alias"),
    ({"key_alias": "sk-qm-me"}, "invalid_value", "key_alias"),
    ({"duration": 30}, "invalid_type", "duration"),
    ({"duration": "30 days"}, "invalid_value", "duration"),
    ({"duration": "0s"}, "invalid_value", "duration"),
    ({"duration": "99999999999d"}, "invalid_value", "duration"),
    ({"metadata": []}, "invalid_type", "metadata"),
    ({"metadata": {"a": "b" * 65536}}, "invalid_value", "metadata"),
    ({"metadata": {"a": [{"b": "\0"}]}}, "invalid_value", "metadata"),
    ({"metadata": {"a": {"\0": 1}}}, "invalid_value", "metadata"),
    ({"tags": "a"}, "invalid_type", "tags"),
    ({"tags": ["a", 1]}, "invalid_type", "tags.1"),
    ({"tags": ["a", ""]}, "invalid_value", "tags.1"),
    ({"tags": ["a"] * 101}, "invalid_value", "tags"),
    ({"tags": ["\0"]}, "invalid_value", "tags.0"),
    ({"allowed_operations": "*"}, "invalid_type", "allowed_operations"),
    ({"allowed_operations": ["containers.list", "containers.drop"]}, "invalid_value", "allowed_operations.1"),
    ({"container_scope": "team"}, "invalid_value", "container_scope"),
    ({"allowed_deployments": "*"}, "invalid_type", "allowed_deployments"),
    ({"allowed_deployments": [1]}, "invalid_type", "allowed_deployments.0"),
    ({"allowed_deployments": ["main"] * 101}, "invalid_value", "allowed_deployments"),
    ({"allowed_deployments": ["main", "elsewhere"]}, "invalid_value", "allowed_deployments.1"),
    ({"user_id": 1}, "invalid_type", "user_id"),
    ({"user_id": "a\0"}, "invalid_value", "user_id"),
    ({"team_id": ["a"]}, "invalid_type", "team_id"),
    ({"blocked": "yes"}, "invalid_type", "blocked"),
    ({"blocked": 1}, "invalid_type", "blocked"),
    ({"grace": "1h"}, "unknown_parameter", "grace"),
]


async def refusal(admin: Admin, path: str, fields: Any = None, content: bytes | None = None) -> Refused:
    with pytest.raises(Refused) as refused:
        await admin.post(path, fields, content=content)
    assert refused.value.message
    return refused.value


async def test_fields_are_checked_wherever_they_are_set(admin: Admin) -> None:
    await admin.post("/key/generate", {"key_alias": "prod"})
    before = await admin.get("/key/list")
    for fields, code, param in REFUSED_FIELDS:
        for path, name in (
            ("/key/generate", {}),
            ("/key/update", {"key": "prod"}),
            ("/key/regenerate", {"key": "prod"}),
            ("/key/prod/regenerate", {}),
        ):
            refused = await refusal(admin, path, {**name, **fields})
            assert (refused.status, refused.code, refused.param) == (400, code, param), (path, fields)
            assert "\0" not in refused.message
    assert await admin.get("/key/list") == before


NO_JSON_OBJECTS = [
    (b"{", "invalid_json"),
    (b"key_alias=prod", "invalid_json"),
    (b"\xff", "invalid_json"),
    (b'{"metadata":{"a":NaN}}', "invalid_json"),
    (b'{"key_alias":"\\ud800"}', "invalid_json"),
    (b'{"metadata":' + b'{"a":' * 2000 + b"1" + b"}" * 2001, "invalid_json"),
    (b'{"metadata":' + b'{"a":' * 500 + b"1" + b"}" * 501, "invalid_value"),
    (b"[]", "invalid_type"),
    (b"null", "invalid_type"),
    (b'"key"', "invalid_type"),
]


async def test_bodies_that_are_no_json_object(admin: Admin) -> None:
    for content, code in NO_JSON_OBJECTS:
        refused = await refusal(admin, "/key/generate", content=content)
        assert (refused.status, refused.code) == (400, code), content[:40]


async def test_the_largest_fields_are_kept(admin: Admin) -> None:
    fields = {
        "key_alias": "é" * 256,
        "tags": ["t" * 256] * 100,
        "metadata": {"a": "b" * (65536 - len('{"a":""}'))},
        "duration": "36500d",
    }
    key_id = (await admin.post("/key/generate", fields))["key_id"]
    info = (await admin.get("/key/info", key=key_id))["info"]
    assert {name: info[name] for name in fields if name != "duration"} == {
        name: value for name, value in fields.items() if name != "duration"
    }


async def test_metadata_comes_back_as_it_was(admin: Admin) -> None:
    metadata = {"z": 1, "a": [1.5, -0.0, 1e300, 2**63, True, None, "\\u0000", "🗝"], "": {}}
    made = await admin.post("/key/generate", content=orjson.dumps({"metadata": metadata}))
    info = (await admin.get("/key/info", key=made["key_id"]))["info"]
    assert orjson.dumps(made["metadata"]) == orjson.dumps(info["metadata"]) == orjson.dumps(metadata)


async def test_all_unknown_fields_are_named_with_what_was_meant(admin: Admin) -> None:
    refused = await refusal(admin, "/key/generate", {"alias_key": "a", "durations": "1d", "max_budgets": 1})
    assert (refused.status, refused.code) == (400, "unknown_parameter")
    assert "'durations'. Did you mean 'duration'?" in refused.message
    assert "'max_budgets'. Did you mean 'max_budget'?" in refused.message
    assert "'alias_key'." in refused.message


async def test_a_long_name_is_not_repeated_whole(admin: Admin) -> None:
    refused = await refusal(admin, "/key/generate", {"x" * 10_000: 1})
    assert len(refused.message) < 200
    assert refused.param is not None
    assert len(refused.param) < 100


async def test_a_pattern_that_matches_nothing_is_answered_with_the_nearest(admin: Admin) -> None:
    for pattern, near in (("containers.file.create", "containers.files.create"), ("contaners.*", "containers.*")):
        refused = await refusal(admin, "/key/generate", {"allowed_operations": [pattern]})
        assert f"'{pattern}'" in refused.message
        assert f"'{near}'" in refused.message


OTHER_BODIES: list[tuple[str, dict[str, Any], str, str]] = [
    ("/key/update", {"tags": []}, "missing_required_parameter", "key"),
    ("/key/update", {"key": None}, "invalid_type", "key"),
    ("/key/block", {}, "missing_required_parameter", "key"),
    ("/key/block", {"key": 1}, "invalid_type", "key"),
    ("/key/block", {"key": "a\0"}, "invalid_value", "key"),
    ("/key/block", {"key": "a", "blocked": True}, "unknown_parameter", "blocked"),
    ("/key/unblock", {"keys": ["a"]}, "unknown_parameter", "keys"),
    ("/key/regenerate", {}, "missing_required_parameter", "key"),
    ("/key/regenerate", {"key": "a", "grace_period": "soon"}, "invalid_value", "grace_period"),
    ("/key/a%00b/regenerate", {}, "invalid_value", "key"),
    ("/key/delete", {}, "missing_required_parameter", "keys"),
    ("/key/delete", {"keys": []}, "missing_required_parameter", "keys"),
    ("/key/delete", {"keys": "a"}, "invalid_type", "keys"),
    ("/key/delete", {"keys": ["a"] * 101}, "invalid_value", "keys"),
    ("/key/delete", {"key_aliases": [1]}, "invalid_type", "key_aliases.0"),
    ("/key/delete", {"key_aliases": ["nobody"]}, "key_not_found", "key_aliases.0"),
]


async def test_other_bodies(admin: Admin) -> None:
    for path, fields, code, param in OTHER_BODIES:
        refused = await refusal(admin, path, fields)
        assert (refused.code, refused.param) == (code, param), (path, fields)


QUERIES = [
    ("/key/info", "missing_required_parameter", "key"),
    ("/key/info?key=", "invalid_value", "key"),
    ("/key/info?key=a%00", "invalid_value", "key"),
    ("/key/info?key=a&key=b", "invalid_value", "key"),
    ("/key/info?kee=a&key=b", "unknown_parameter", "kee"),
    ("/key/list?page=0", "invalid_value", "page"),
    ("/key/list?page=x", "invalid_type", "page"),
    ("/key/list?page=99999999999999999999", "invalid_value", "page"),
    ("/key/list?size=0", "invalid_value", "size"),
    ("/key/list?size=101", "invalid_value", "size"),
    ("/key/list?size=1.5", "invalid_type", "size"),
    ("/key/list?pages=1", "unknown_parameter", "pages"),
]


async def test_queries(admin: Admin) -> None:
    for query, code, param in QUERIES:
        with pytest.raises(Refused) as refused:
            await admin.get(query)
        assert (refused.value.status, refused.value.code, refused.value.param) == (400, code, param), query


async def test_the_page_of_the_api_shows_bodies_parameters_and_answers(admin: Admin) -> None:
    paths = (await admin.client.get("/openapi.json")).json()["paths"]
    generate = paths["/key/generate"]["post"]
    fields = generate["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert {"key_alias", "duration", "allowed_operations"} <= set(fields)
    assert generate["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("GeneratedKey")
    assert [each["name"] for each in paths["/key/list"]["get"]["parameters"]][:2] == ["page", "size"]
    assert "422" not in str([route["responses"] for path in paths.values() for route in path.values()])


async def test_a_database_that_is_away_is_a_503(admin: Admin) -> None:
    from app.storage.keys import SqlKeyStore

    assert isinstance(admin.store, SqlKeyStore)
    await admin.store.add(virtual_key(alias="prod"), DEED)
    rename = "ALTER TABLE virtual_keys RENAME TO elsewhere"
    await admin.store._database.write(lambda connection: connection.exec_driver_sql(rename))
    for path, fields in (("/key/generate", {}), ("/key/block", {"key": "prod"}), ("/key/delete", {"keys": ["prod"]})):
        refused = await refusal(admin, path, fields)
        assert (refused.status, refused.code) == (503, "store_unavailable")
    with pytest.raises(Refused, match="store_unavailable"):
        await admin.get("/key/list")
