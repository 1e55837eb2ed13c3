from __future__ import annotations

import base64
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.local.hosting import Provider, hosted


def archive() -> str:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as written:
        written.writestr("SKILL.md", "# Skill")
    return base64.b64encode(content.getvalue()).decode()


def inline_skill(**source: object) -> dict[str, object]:
    source = {"type": "base64", "media_type": "application/zip", "data": archive(), **source}
    return {"type": "inline", "name": "s", "description": "d", "source": source}


def expiry(**fields: object) -> dict[str, object]:
    return {"expires_after": {"anchor": "last_active_at", "minutes": 5, **fields}}


def allowlist(**fields: object) -> dict[str, object]:
    return {"network_policy": {"type": "allowlist", "allowed_domains": ["a.test"], **fields}}


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"name": ...}, "missing_required_parameter", "name"),
        ({"name": None}, "invalid_type", "name"),
        ({"name": 3}, "invalid_type", "name"),
        ({"name": "x" * 1025}, "string_above_max_length", "name"),
        ({"expires_after": "5m"}, "invalid_type", "expires_after"),
        ({"expires_after": {"minutes": 5}}, "missing_required_parameter", "expires_after.anchor"),
        ({"expires_after": {"anchor": "last_active_at"}}, "missing_required_parameter", "expires_after.minutes"),
        (expiry(anchor="created_at"), "invalid_value", "expires_after.anchor"),
        (expiry(minutes=0), "integer_below_min_value", "expires_after.minutes"),
        (expiry(minutes=21), "integer_above_max_value", "expires_after.minutes"),
        (expiry(minutes=5.0), "invalid_type", "expires_after.minutes"),
        (expiry(minutes="5"), "invalid_type", "expires_after.minutes"),
        (expiry(minutes=True), "invalid_type", "expires_after.minutes"),
        ({"memory_limit": "2g"}, "invalid_value", "memory_limit"),
        ({"memory_limit": 1}, "invalid_type", "memory_limit"),
        ({"network_policy": "none"}, "invalid_type", "network_policy"),
        ({"network_policy": {}}, "missing_required_parameter", "network_policy.type"),
        ({"network_policy": {"type": "open"}}, "invalid_value", "network_policy.type"),
        (
            {"network_policy": {"type": "allowlist"}},
            "missing_required_parameter",
            "network_policy.allowed_domains",
        ),
        (allowlist(allowed_domains=None), "invalid_type", "network_policy.allowed_domains"),
        (allowlist(allowed_domains=[]), "invalid_value", "network_policy.allowed_domains"),
        (allowlist(allowed_domains=["a", 1]), "invalid_type", "network_policy.allowed_domains[1]"),
        (allowlist(allowed_domains=["a.test"] * 2000), "string_above_max_length", "network_policy"),
        (allowlist(domain_secrets=["x"]), "invalid_type", "network_policy.domain_secrets[0]"),
        (
            allowlist(domain_secrets=[{"domain": "a.test", "name": "n"}]),
            "missing_required_parameter",
            "network_policy.domain_secrets[0].value",
        ),
        (
            allowlist(domain_secrets=[{"domain": "a.test", "name": "", "value": "v"}]),
            "invalid_value",
            "network_policy.domain_secrets[0].name",
        ),
        ({"skills": {}}, "invalid_type", "skills"),
        ({"skills": [{"type": "other"}]}, "invalid_value", "skills[0].type"),
        ({"skills": [{"type": "skill_reference"}]}, "missing_required_parameter", "skills[0].skill_id"),
        ({"skills": [{"type": "inline", "description": ""}]}, "missing_required_parameter", "skills[0].name"),
        ({"skills": [inline_skill(media_type="text/plain")]}, "invalid_value", "skills[0].source.media_type"),
        ({"skills": [inline_skill(data="%%%")]}, "invalid_value", "skills[0].source.data"),
        ({"skills": [inline_skill(data=f"!{archive()}")]}, "invalid_value", "skills[0].source.data"),
        ({"skills": [inline_skill(data="AAAA")]}, "invalid_value", "skills[0].source.data"),
        ({"file_ids": "file-1"}, "invalid_type", "file_ids"),
        ({"file_ids": [1]}, "invalid_type", "file_ids[0]"),
        ({"file_ids": ["file-unknown"]}, "invalid_value", "file_ids[0]"),
    ],
)
def test_a_wrong_field_is_named(provider: Provider, fields: dict[str, object], code: str, param: str) -> None:
    body = {name: value for name, value in {"name": "n", **fields}.items() if value is not ...}
    reply = provider.http.post("/v1/containers", json=body)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert (error["code"], error["param"], error["type"]) == (code, param, "invalid_request_error")
    assert error["message"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": 3}, "Invalid type for 'name': expected a string, but got an integer instead."),
        (
            {"memory_limit": "2g"},
            "Invalid value: '2g'. Supported values are: '1g', '4g', '16g' and '64g'.",
        ),
        (
            expiry(minutes=30),
            "Invalid 'expires_after.minutes': integer above maximum value. Expected a value <= 20, but got 30 instead.",
        ),
        (
            expiry(minutes=-1),
            "Invalid 'expires_after.minutes': integer below minimum value. Expected a value >= 1, but got -1 instead.",
        ),
    ],
)
def test_the_words_are_openais(provider: Provider, fields: dict[str, object], message: str) -> None:
    reply = provider.http.post("/v1/containers", json={"name": "n", **fields})
    assert reply.json()["error"]["message"] == message


@pytest.mark.parametrize("content", [b"{", b"[]", b'"name"', b'{"name": "\\ud800"}', b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_no_json_object(provider: Provider, content: bytes) -> None:
    reply = provider.http.post("/v1/containers", content=content)
    assert reply.status_code == 400
    assert "JSON" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    "fields",
    [
        {"something_new": {"a": 1}},
        {"expires_after": None, "memory_limit": None, "network_policy": None, "skills": None, "file_ids": None},
        {"skills": [{"type": "skill_reference", "skill_id": "skill_1", "version": "2"}, inline_skill()]},
        {"name": ""},
        {"name": "\x00 ☃ 𝄞 '\""},
        expiry(minutes=1),
        expiry(minutes=20),
    ],
)
def test_what_is_accepted(provider: Provider, fields: dict[str, Any]) -> None:
    body = {"name": "n", **fields}
    reply = provider.http.post("/v1/containers", json=body)
    assert (reply.status_code, reply.json()["name"]) == (200, body["name"])


@pytest.mark.parametrize("memory_limit", ["1g", "4g", "16g", "64g"])
def test_every_memory_tier(provider: Provider, memory_limit: str) -> None:
    reply = provider.http.post("/v1/containers", json={"name": "n", "memory_limit": memory_limit})
    assert reply.json()["memory_limit"] == memory_limit


def test_a_network_policy_is_echoed_without_its_secrets(provider: Provider) -> None:
    secret = {"domain": "a.test", "name": "TOKEN", "value": "hush", "also": "hush"}
    fields = allowlist(domain_secrets=[secret], unknown="hush")
    container = provider.http.post("/v1/containers", json={"name": "n", **fields}).json()
    again = provider.http.get(f"/v1/containers/{container['id']}").json()
    for seen in (container, again):
        assert seen["network_policy"] == {
            "type": "allowlist",
            "allowed_domains": ["a.test"],
            "domain_secrets": [{"domain": "a.test", "name": "TOKEN"}],
        }


def test_file_ids_are_copied_in(provider: Provider) -> None:
    first = provider.sdk.files.create(file=("1.txt", b"one"), purpose="assistants").id
    second = provider.sdk.files.create(file=("2.txt", b"two!"), purpose="assistants").id
    container_id = provider.container(file_ids=[first, second])
    files = list(provider.sdk.containers.files.list(container_id, order="asc"))
    assert [(file.path[-6:], file.bytes, file.source) for file in files] == [
        ("-1.txt", 3, "user"),
        ("-2.txt", 4, "user"),
    ]
    content = provider.sdk.containers.files.content.retrieve(files[1].id, container_id=container_id)
    assert content.read() == b"two!"


def test_half_a_body_makes_no_container(tmp_path: Path) -> None:
    with hosted(tmp_path) as provider, provider.connect() as connection:
        connection.sendall(b'POST /v1/containers HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"name": "n"}')
    with hosted(tmp_path) as provider:
        assert provider.sdk.containers.list().data == []


def test_an_unknown_file_makes_no_container(provider: Provider) -> None:
    provider.http.post("/v1/containers", json={"name": "never made", "file_ids": ["file-unknown"]})
    assert provider.sdk.containers.list(name="never made").data == []
