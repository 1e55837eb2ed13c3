"""`custom_llm_provider`: from header, then query, then body; stripped from all three; never an error by its absence."""

from __future__ import annotations

import json
import resource
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.gateway import forwarding_to
from tests.e2e.serving import ServingGateway, serving_gateway
from tests.fakes.scripted import ScriptedUpstream, answers, reply

JSON = (b"content-type", b"application/json")
BOUNDARY = "a-boundary"
FILES = "/v1/containers/cntr_1/files"


@asynccontextmanager
async def two_providers(
    folder: Path, **settings: int
) -> AsyncIterator[tuple[ServingGateway, ScriptedUpstream, ScriptedUpstream]]:
    """A gateway with the providers openai (the default) and other."""
    ok = answers(reply(200, b"{}", JSON))
    async with ScriptedUpstream(ok) as openai, ScriptedUpstream(ok) as other:
        second = {"name": "second", "provider": "other", "api_base": f"{other.origin}/v1", "api_key": "k"}
        config = forwarding_to(openai.origin, others=[second], server=settings)
        async with serving_gateway(folder, config) as gateway:
            yield gateway, openai, other


def form(*parts: tuple[str, str | None, bytes]) -> bytes:
    """A multipart body of (name, filename, content)."""
    pieces = []
    for name, filename, content in parts:
        shown = f'; filename="{filename}"' if filename else ""
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n\r\n'
        pieces.append(head.encode() + content + b"\r\n")
    return b"".join(pieces) + f"--{BOUNDARY}--\r\n".encode()


MULTIPART = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


@pytest.mark.parametrize(
    ("header", "query", "body", "where"),
    [
        (None, None, None, "openai"),
        ("other", None, None, "other"),
        (None, "other", None, "other"),
        (None, None, "other", "other"),
        ("other", "openai", "openai", "other"),
        (None, "other", "openai", "other"),
        ("openai", "other", "other", "openai"),
        ("", "", "other", "other"),
        (None, None, "", "openai"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
async def test_header_then_query_then_body(
    tmp_path: Path, method: str, header: str | None, query: str | None, body: str | None, where: str
) -> None:
    async with two_providers(tmp_path) as (gateway, openai, other):
        answer = await gateway.client.request(
            method,
            "/v1/containers" if method != "DELETE" else "/v1/containers/cntr_1",
            headers={} if header is None else {"custom-llm-provider": header},
            params={"limit": "5"} | ({} if query is None else {"custom_llm_provider": query}),
            json={"name": "x"} | ({} if body is None else {"custom_llm_provider": body}),
        )
    assert answer.status_code == 200
    reached, spared = (openai, other) if where == "openai" else (other, openai)
    assert not spared.requests
    (received,) = reached.requests
    assert received.target.endswith(b"?limit=5")
    assert b"provider" not in received.raw_head.lower()
    assert bytes(received.body) == (b'{"name":"x"}' if method == "POST" else b"")
    if method != "POST":
        assert received.header(b"content-type") is None
        assert received.header(b"content-length") is None


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(
    "body", [b"", b"not json", b"[1]", b"null", b'{"a"', b"\xff\xfe", b'"custom_llm_provider"', b"{}"]
)
async def test_a_body_that_says_nothing_is_no_error_where_none_is_due(tmp_path: Path, method: str, body: bytes) -> None:
    async with two_providers(tmp_path) as (gateway, openai, _):
        answer = await gateway.client.request(method, "/v1/containers/cntr_1", content=body)
        assert answer.status_code == 200, answer.text
    assert bytes(openai.requests[0].body) == b""


@pytest.mark.parametrize("place", ["header", "query", "body", "form", "late form"])
async def test_an_unknown_provider_is_refused_and_the_configured_ones_are_named(tmp_path: Path, place: str) -> None:
    async with two_providers(tmp_path) as (gateway, openai, other):
        field = ("custom_llm_provider", None, b"bedrock")
        file = ("file", "a", b"x" * 200_000)
        match place:
            case "header":
                answer = await gateway.client.get("/v1/containers", headers={"custom-llm-provider": "bedrock"})
            case "query":
                answer = await gateway.client.get("/v1/containers?custom_llm_provider=bedrock")
            case "body":
                answer = await gateway.client.post("/v1/containers", json={"custom_llm_provider": "bedrock"})
            case "form":
                answer = await gateway.client.post(FILES, content=form(field, file), headers=MULTIPART)
            case _:
                answer = await gateway.client.post(FILES, content=form(file, field), headers=MULTIPART)
    assert answer.status_code == 400
    assert answer.json() == {
        "error": {
            "message": "Unknown provider 'bedrock'. Configured here: openai, other.",
            "type": "invalid_request_error",
            "param": "custom_llm_provider",
            "code": "unknown_provider",
        }
    }
    assert not [request for request in openai.requests + other.requests if request.whole]


async def test_a_provider_that_is_no_string_is_refused(tmp_path: Path) -> None:
    async with two_providers(tmp_path) as (gateway, _, _):
        answer = await gateway.client.post("/v1/containers", json={"custom_llm_provider": 5})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_type")
    assert answer.json()["error"]["param"] == "custom_llm_provider"


SIZES = [10, 70_000, 3_000_000]
"""Held whole, streamed or held in memory, held on disk."""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("order", ["before", "between", "after"])
@pytest.mark.parametrize("header", [None, "other"])
async def test_a_form_field_counts_wherever_it_stands_and_does_not_go_up(
    tmp_path: Path, size: int, order: str, header: str | None
) -> None:
    field = ("custom_llm_provider", None, b"other")
    file = ("file", "é.bin", bytes(range(256)) * (size // 256) + b"\r\n--")
    purpose = ("purpose", None, b"x")
    parts = {"before": [field, file, purpose], "between": [file, field, purpose], "after": [file, purpose, field]}[
        order
    ]
    async with two_providers(tmp_path) as (gateway, openai, other):
        headers = MULTIPART | ({} if header is None else {"custom-llm-provider": header})
        answer = await gateway.client.post(FILES, content=form(*parts), headers=headers)
        assert answer.status_code == 200, answer.text
    assert not openai.requests
    (received,) = other.requests
    assert received.whole
    assert bytes(received.body).rstrip(b"\r\n") == form(file, purpose).rstrip(b"\r\n")
    assert received.header(b"transfer-encoding") is None
    assert received.header(b"content-length") == str(len(received.body)).encode()


async def test_a_body_that_was_sent_in_chunks_goes_up_in_chunks(tmp_path: Path) -> None:
    body = form(("custom_llm_provider", None, b"other"), ("file", "a", b"x" * 200_000))

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    async with two_providers(tmp_path) as (gateway, _, other):
        answer = await gateway.client.post(FILES, content=pieces(), headers=MULTIPART)
        assert answer.status_code == 200
    assert other.requests[0].header(b"transfer-encoding") == b"chunked"
    assert bytes(other.requests[0].body) == form(("file", "a", b"x" * 200_000))


async def test_without_a_hint_an_upload_goes_to_the_default(tmp_path: Path) -> None:
    body = form(("file", "a", b"x" * 2_000_000))
    async with two_providers(tmp_path) as (gateway, openai, other):
        assert (await gateway.client.post(FILES, content=body, headers=MULTIPART)).status_code == 200
    assert bytes(openai.requests[0].body) == body
    assert not other.requests


async def test_an_upload_that_cannot_be_held_is_told_how_to_go_through(tmp_path: Path) -> None:
    body = form(("file", "a", b"x" * 2_000_000))
    async with two_providers(tmp_path) as (gateway, openai, _):
        (tmp_path / "data" / "spool").rmdir()
        refused = await gateway.client.post(FILES, content=body, headers=MULTIPART)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
        assert "header custom-llm-provider" in refused.json()["error"]["message"]
        headers = MULTIPART | {"custom-llm-provider": "openai"}
        assert (await gateway.client.post(FILES, content=body, headers=headers)).status_code == 200
    assert bytes(openai.requests[0].body) == body


async def test_what_is_buffered_of_an_upload_needs_room_too(tmp_path: Path) -> None:
    limit_bytes = 2_000_000
    async with two_providers(tmp_path) as (gateway, _, _):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
        try:
            for over_bytes in (1, 4000):
                size = limit_bytes + over_bytes - len(form(("file", "a", b"")))
                refused = await gateway.client.post(FILES, content=form(("file", "a", b"x" * size)), headers=MULTIPART)
                assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, before)


async def test_a_file_by_reference_is_json(tmp_path: Path) -> None:
    body = {"file_id": "file-abc", "custom_llm_provider": "other"}
    async with two_providers(tmp_path) as (gateway, _, other):
        assert (await gateway.client.post(FILES, json=body)).status_code == 200
    assert json.loads(bytes(other.requests[0].body)) == {"file_id": "file-abc"}


async def test_an_inline_skill_is_not_parsed_and_goes_up_whole(tmp_path: Path) -> None:
    skill = {"type": "inline", "source": {"type": "base64", "data": "QUJD" * 5_000_000}}
    body = json.dumps({"custom_llm_provider": "other", "name": "x", "skills": [skill]}).encode()
    async with two_providers(tmp_path) as (gateway, _, other):
        assert (await gateway.client.post("/v1/containers", content=body)).status_code == 200
    assert bytes(other.requests[0].body) == body.replace(b'"custom_llm_provider": "other",', b"")


@pytest.mark.parametrize(
    ("path", "size", "limit"),
    [("/v1/containers", 2001, "2000"), ("/v1/containers/cntr_1/files", 3_000_001, "3000000")],
)
@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_past_the_limit_are_refused(
    tmp_path: Path, path: str, size: int, limit: str, chunked: bool
) -> None:
    json_body = b'{"name":"' + b"x" * (size - 11) + b'"}'
    body = json_body if path == "/v1/containers" else form(("file", "a", b"x" * size))

    async def pieces() -> AsyncIterator[bytes]:
        yield body

    async with two_providers(tmp_path, max_json_bytes=2000, max_upload_bytes=3_000_000) as (gateway, openai, _):
        headers = {} if path == "/v1/containers" else MULTIPART
        answer = await gateway.client.post(path, content=pieces() if chunked else body, headers=headers)
        assert answer.status_code == 413, answer.text
        error = answer.json()["error"]
        assert (error["code"], error["type"]) == ("request_too_large", "invalid_request_error")
        assert limit in error["message"]
        assert not [request for request in openai.requests if request.whole]


async def test_bodies_at_the_limit_pass(tmp_path: Path) -> None:
    async with two_providers(tmp_path, max_json_bytes=2000, max_upload_bytes=3_000_000) as (gateway, _, _):
        exact = b'{"name":"' + b"x" * (2000 - 11) + b'"}'
        assert len(exact) == 2000
        assert (await gateway.client.post("/v1/containers", content=exact)).status_code == 200
        upload = form(("file", "a", b"x" * 3_000_000))
        assert (await gateway.client.post(FILES, content=upload, headers=MULTIPART)).status_code == 200


@pytest.mark.parametrize("body", [b"{", b'{"a":1}x', b"\xff", b'{"a":' + b"[" * 100_000])
async def test_json_that_is_not_json_is_refused(tmp_path: Path, body: bytes) -> None:
    async with two_providers(tmp_path) as (gateway, openai, _):
        answer = await gateway.client.post("/v1/containers", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")
    assert not openai.requests


@pytest.mark.parametrize("body", [b"[]", b"null", b'"x"', b"5"])
async def test_json_that_is_no_object_is_refused(tmp_path: Path, body: bytes) -> None:
    async with two_providers(tmp_path) as (gateway, _, _):
        answer = await gateway.client.post("/v1/containers", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_type")


async def test_an_empty_create_is_for_the_upstream_to_judge(tmp_path: Path) -> None:
    async with two_providers(tmp_path) as (gateway, openai, _):
        assert (await gateway.client.post("/v1/containers")).status_code == 200
    assert openai.requests[0].header(b"content-length") == b"0"
