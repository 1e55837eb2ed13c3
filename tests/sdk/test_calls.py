"""What is sent for a call, to the byte, and how answers are read: no sockets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quaymaster import calls
from quaymaster.calls import Call, Outgoing, outgoing
from quaymaster.errors import InvalidArgumentError
from quaymaster.options import RequestOptions, Settings
from quaymaster.pages import ContainerFilePage, ContainerPage
from quaymaster.types import ExpiresAfter, NetworkPolicy

BASE = "http://host/v1"


def sent(call: Call[Any], options: RequestOptions | None = None, **destination: Any) -> Outgoing:
    settings = Settings.of_client({"api_key": "sk-key", "api_base": BASE, **destination})  # type: ignore[typeddict-item]
    return outgoing(call, settings.joined(options or {}))


@pytest.mark.parametrize(
    ("call", "method", "path"),
    [
        (calls.create_container("x"), "POST", "/containers"),
        (calls.list_containers(ContainerPage), "GET", "/containers"),
        (calls.retrieve_container("cntr_1"), "GET", "/containers/cntr_1"),
        (calls.delete_container("cntr_1"), "DELETE", "/containers/cntr_1"),
        (calls.create_container_file("cntr_1", file_id="file-1"), "POST", "/containers/cntr_1/files"),
        (calls.list_container_files(ContainerFilePage, "cntr_1"), "GET", "/containers/cntr_1/files"),
        (calls.retrieve_container_file("cntr_1", "cfile_1"), "GET", "/containers/cntr_1/files/cfile_1"),
        (calls.delete_container_file("cntr_1", "cfile_1"), "DELETE", "/containers/cntr_1/files/cfile_1"),
        (
            calls.retrieve_container_file_content("cntr_1", "cfile_1"),
            "GET",
            "/containers/cntr_1/files/cfile_1/content",
        ),
    ],
)
def test_each_operation_has_its_path(call: Call[Any], method: str, path: str) -> None:
    out = sent(call)
    assert (out.method, out.url) == (method, BASE + path)
    assert out.headers["authorization"] == "Bearer sk-key"
    assert (out.content is None) == (method != "POST")
    assert ("idempotency-key" in out.headers) == (method == "POST")


@pytest.mark.parametrize(
    ("container_id", "segment"),
    [("a/b c", "a%2Fb%20c"), ("..", "%2E%2E"), (".", "%2E"), ("ü?#%", "%C3%BC%3F%23%25"), ("a..b", "a..b")],
)
def test_an_id_is_one_segment_whatever_is_in_it(container_id: str, segment: str) -> None:
    assert sent(calls.retrieve_container(container_id)).url == f"{BASE}/containers/{segment}"


@pytest.mark.parametrize("wrong", ["", None, 7])
def test_an_id_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="container_id"):
        calls.retrieve_container(wrong)
    with pytest.raises(ValueError, match="file_id"):
        calls.retrieve_container_file("cntr_1", wrong)


def test_a_create_sends_what_was_given_and_nothing_else() -> None:
    call = calls.create_container(
        "boîte",
        expires_after=ExpiresAfter(anchor="last_active_at", minutes=0),
        file_ids=("file-1",),
        memory_limit="4g",
        network_policy=NetworkPolicy(type="disabled"),
        skills=[{"type": "skill_reference", "skill_id": "s"}],
    )
    out = sent(call, {"extra_body": {"new_in_2027": [1], "name": "wins"}})
    assert json.loads(out.content or b"") == {
        "name": "wins",
        "expires_after": {"anchor": "last_active_at", "minutes": 0},
        "file_ids": ["file-1"],
        "memory_limit": "4g",
        "network_policy": {"type": "disabled"},
        "skills": [{"type": "skill_reference", "skill_id": "s"}],
        "new_in_2027": [1],
    }
    assert out.headers["content-type"] == "application/json"
    assert sent(calls.create_container("boîte")).content == '{"name":"boîte"}'.encode()


def test_what_json_cannot_say_is_refused() -> None:
    for value in (float("nan"), b"bytes"):
        with pytest.raises(InvalidArgumentError, match="JSON"):
            sent(calls.create_container("x"), {"extra_body": {"field": value}})


def test_a_file_is_given_somehow() -> None:
    with pytest.raises(InvalidArgumentError, match=r"file.*file_id"):
        sent(calls.create_container_file("cntr_1"))
    out = sent(calls.create_container_file("cntr_1"), {"extra_body": {"file_id": "file-1"}})
    assert out.content == b'{"file_id":"file-1"}'


def test_an_upload_is_a_form_with_the_other_fields_first() -> None:
    call = calls.create_container_file("cntr_1", file=("a.txt", b"hello"), file_id="file-1")
    out = sent(call, {"extra_body": {"n": 1}})
    assert out.content is None
    assert out.upload is not None
    assert out.headers["content-type"].startswith("multipart/form-data; boundary=")
    body = b"".join(out.upload.pieces())
    assert out.headers["content-length"] == str(len(body))
    assert body.index(b"file-1") < body.index(b'name="n"') < body.index(b"hello")


def test_queries_say_what_was_given() -> None:
    call = calls.list_containers(ContainerPage, after="cntr_1", limit=0, order="asc", name="a&b c")
    assert sent(call).url == f"{BASE}/containers?after=cntr_1&limit=0&order=asc&name=a%26b%20c"
    more: RequestOptions = {"extra_query": {"limit": 3, "deep": True, "include": ["x", "y"], "none": None}}
    assert sent(call, more).url.endswith("limit=3&order=asc&name=a%26b%20c&deep=true&include=x&include=y")
    azure = sent(calls.retrieve_container("c"), custom_llm_provider="azure", api_version="preview")
    assert azure.url == f"{BASE}/containers/c?api-version=preview"
    assert azure.headers["api-key"] == "sk-key"
    assert "authorization" not in azure.headers


def test_a_provider_travels_as_a_header_and_only_to_a_gateway() -> None:
    create = calls.create_container("x")
    assert "custom-llm-provider" not in sent(create).headers
    assert sent(create, custom_llm_provider="openai").headers["custom-llm-provider"] == "openai"
    named: RequestOptions = {"extra_body": {"custom_llm_provider": "azure"}}
    for call in (create, calls.retrieve_container("c")):
        out = sent(call, named)
        assert out.headers["custom-llm-provider"] == "azure"
        assert b"custom_llm_provider" not in (out.content or b"")
    direct = sent(create, named, api_base="https://api.openai.com/v1", custom_llm_provider="openai")
    assert "custom-llm-provider" not in direct.headers
    assert direct.content == b'{"name":"x"}'


def test_content_is_asked_for_as_it_is() -> None:
    headers = sent(calls.retrieve_container_file_content("c", "f")).headers
    assert (headers["accept"], headers["accept-encoding"]) == ("*/*", "identity")


def test_additional_headers_win() -> None:
    out = sent(calls.create_container("x"), {"extra_headers": {"Idempotency-Key": "mine", "X-Team": "a"}})
    assert out.headers["idempotency-key"] == "mine"
    assert out.headers["x-team"] == "a"
    assert [name for name in out.headers if name != name.lower()] == []


def test_every_create_has_an_idempotency_key_of_its_own() -> None:
    keys = {sent(calls.create_container("x")).headers["idempotency-key"] for _ in range(20)}
    assert len(keys) == 20


def test_nothing_shows_a_secret() -> None:
    secret = {"type": "allowlist", "domain_secrets": [{"value": "hush"}]}
    call = calls.create_container("x", network_policy=secret)
    assert "hush" not in repr(call)
    assert "hush" not in repr(sent(call))
    assert "sk-key" not in repr(sent(call))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'"text"',
        b"\xff",
        b'{"id": 7}',
        b'{"id":"cntr_1","created_at":"soon"}',
        b"[" * 100_000,
    ],
)
def test_an_answer_that_is_no_container_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(ValueError, match="no Container"):
        calls.retrieve_container("c").parse(body)
