"""What goes up and what comes down: everything but what is the gateway's own, byte for byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from quaymaster.operations import OPERATIONS, Operation, Payload
from tests.e2e.gateway import MASTER_KEY, forwarding_to
from tests.e2e.serving import ServingGateway, fronting, serving_gateway
from tests.fakes.scripted import Peer, ScriptedUpstream, answers, head, reply
from tests.logs import captured_log

JSON = (b"content-type", b"application/json")
CONTAINER = "cntr_" + "ab" * 24
FILE = "cfile_" + "cd" * 16


@asynccontextmanager
async def forwarding(
    folder: Path, *replies: bytes, **settings: Any
) -> AsyncIterator[tuple[ServingGateway, ScriptedUpstream]]:
    """A gateway in front of an upstream that gives these replies in turn, the last one again and again."""
    async with fronting(folder, answers(*replies), **settings) as both:
        yield both


def path_of(operation: Operation) -> str:
    return operation.path.format(container_id=CONTAINER, file_id=FILE)


@pytest.mark.parametrize("prefix", ["/v1", ""])
async def test_every_operation_reaches_its_path_with_and_without_v1(tmp_path: Path, prefix: str) -> None:
    async with forwarding(tmp_path, reply(200, b"{}", JSON)) as (gateway, upstream):
        for operation in OPERATIONS:
            body = b'{"name":"x"}' if operation.request is not Payload.NONE else None
            headers = {"content-type": "application/json"} if body else {}
            answer = await gateway.client.request(
                operation.method, prefix + path_of(operation), content=body, headers=headers
            )
            assert answer.status_code == 200, answer.text
    assert [(r.method.decode(), r.target.decode()) for r in upstream.requests] == [
        (operation.method, "/v1" + path_of(operation)) for operation in OPERATIONS
    ]


async def test_a_create_goes_up_as_it_came(tmp_path: Path) -> None:
    body = (
        b'{ "name" : "x", "memory_limit":"64g", "new_in_2027": {"n": 1.50, "big": 123456789012345678901234567890},\n'
        b'  "network_policy": {"type":"allowlist","domain_secrets":[{"domain":"a.b","name":"K","value":"s"}]} }'
    )
    async with forwarding(tmp_path, reply(200, b"{}", JSON)) as (gateway, upstream):
        await gateway.client.post("/v1/containers?future=1&a=b%2Fc", content=body)
    assert bytes(upstream.requests[0].body) == body
    assert upstream.requests[0].target == b"/v1/containers?future=1&a=b%2Fc"


async def test_only_allowed_request_headers_go_up(tmp_path: Path) -> None:
    sent = {
        "Cookie": "session=1",
        "Idempotency-Key": "of-one-owner",
        "OpenAI-Organization": "org-of-the-client",
        "OpenAI-Project": "proj-of-the-client",
        "X-Forwarded-For": "1.2.3.4",
        "Proxy-Authorization": "Basic x",
        "TE": "trailers",
        "Connection": "x-secret",
        "X-Secret": "1",
        "Range": "bytes=0-4",
        "If-None-Match": '"etag"',
        "User-Agent": "test/1",
        "Accept": "application/binary",
        "OpenAI-Beta": "containers=v1",
        "X-Stainless-Lang": "python",
    }
    async with forwarding(tmp_path, reply(206, b"hello")) as (gateway, upstream):
        await gateway.client.get(f"/v1/containers/{CONTAINER}/files/{FILE}/content", headers=sent)
    received = {name.lower(): value for name, value in upstream.requests[0].headers}
    assert received == {
        b"host": upstream.origin.removeprefix("http://").encode(),
        b"authorization": b"Bearer sk-upstream-secret",
        b"accept-encoding": b"identity",
        b"range": b"bytes=0-4",
        b"if-none-match": b'"etag"',
        b"user-agent": b"test/1",
        b"accept": b"application/binary",
        b"openai-beta": b"containers=v1",
    }


async def test_useful_answer_headers_come_down_and_no_others(tmp_path: Path) -> None:
    headers = [
        (b"Content-Type", b"text/csv"),
        (b"Content-Disposition", b'attachment; filename="a.csv"'),
        (b"ETag", b'"1"'),
        (b"Content-Range", b"bytes 0-4/10"),
        (b"Accept-Ranges", b"bytes"),
        (b"X-Request-Id", b"req_of_the_upstream"),
        (b"Set-Cookie", b"a=b"),
        (b"Server", b"secret/1.0"),
        (b"X-Ratelimit-Remaining-Requests", b"5"),
        (b"Connection", b"keep-alive"),
    ]
    async with forwarding(tmp_path, reply(206, b"hello", *headers)) as (gateway, _):
        answer = await gateway.client.get(f"/v1/containers/{CONTAINER}/files/{FILE}/content")
    received = dict(answer.headers)
    assert answer.content == b"hello"
    assert received.pop("x-request-id").startswith("req_")
    assert float(received.pop("x-quaymaster-overhead-ms")) > 0
    received.pop("date")
    assert received == {
        "content-type": "text/csv",
        "content-disposition": 'attachment; filename="a.csv"',
        "content-length": "5",
        "content-range": "bytes 0-4/10",
        "accept-ranges": "bytes",
        "etag": '"1"',
        "x-upstream-request-id": "req_of_the_upstream",
        "x-quaymaster-deployment": "main",
        "x-quaymaster-attempts": "1",
        "x-quaymaster-cost-usd": "0",
        "x-content-type-options": "nosniff",
    }


@pytest.mark.parametrize("status", [400, 401, 404, 409, 418, 429, 500, 503])
async def test_an_upstreams_own_error_is_passed_on_unchanged(tmp_path: Path, status: int) -> None:
    body = b'{"error": {"message": "no", "type": "x", "code": null}, "path": "/a/b", "extra": 1 }'
    own = [JSON, (b"retry-after", b"7"), (b"retry-after-ms", b"6500"), (b"x-should-retry", b"false")]
    # What it asks to wait is longer than that, so nothing is tried again.
    async with forwarding(tmp_path, reply(status, body, *own), routing={"retry_deadline_seconds": 5}) as (gateway, _):
        answer = await gateway.client.get(f"/v1/containers/{CONTAINER}")
    assert (answer.status_code, answer.content) == (status, body)
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["retry-after-ms"] == "6500"
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body(tmp_path: Path, status: int) -> None:
    async with forwarding(tmp_path, reply(status, b"", (b"etag", b'"1"'))) as (gateway, _):
        path = f"/v1/containers/{CONTAINER}/files/{FILE}/content"
        answer = await gateway.client.get(path, headers={"If-None-Match": '"1"'})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (status, b"", '"1"')
        assert (await gateway.client.get(path)).status_code == status


ADDED = [
    (
        "containers.retrieve",
        {"expires_after": {"anchor": "last_active_at", "minutes": 20}, "last_active_at": 1000},
        2200,
    ),
    ("containers.retrieve", {"expires_after": {"anchor": "last_active_at", "minutes": 20}, "created_at": 1000}, None),
    ("containers.create", {"expires_after": {"anchor": "last_active_at", "minutes": 20}, "created_at": 1000}, 2200),
    ("containers.retrieve", {"expires_after": None, "last_active_at": 1000}, None),
    ("containers.retrieve", {"expires_after": {"anchor": "other", "minutes": 1}, "last_active_at": 1000}, None),
]


@pytest.mark.parametrize(("operation", "container", "expires_at"), ADDED)
async def test_expires_at_is_added_where_it_can_be_known(
    tmp_path: Path, operation: str, container: dict[str, object], expires_at: int | None
) -> None:
    body = json.dumps(container | {"id": CONTAINER, "new": 1.50}).encode()
    async with forwarding(tmp_path, reply(200, body, JSON)) as (gateway, _):
        if operation == "containers.create":
            answer = await gateway.client.post("/v1/containers", json={"name": "x"})
        else:
            answer = await gateway.client.get(f"/v1/containers/{CONTAINER}")
    expected = body if expires_at is None else body[:-1] + f',"expires_at":{expires_at}}}'.encode()
    assert answer.content == expected


async def test_what_is_there_is_not_added_again(tmp_path: Path) -> None:
    body = b'{"path":"/mnt/data/x-a.csv","filename":null,"expires_at":null}'
    async with forwarding(tmp_path, reply(200, body, JSON)) as (gateway, _):
        for path in (f"/v1/containers/{CONTAINER}", f"/v1/containers/{CONTAINER}/files/{FILE}"):
            assert (await gateway.client.get(path)).content == body


async def test_filename_is_added_to_files_and_lists_of_them(tmp_path: Path) -> None:
    files = [{"id": FILE, "path": '/mnt/data/é"x.csv', "bytes": None}, {"id": FILE, "path": None}]
    page = json.dumps({"object": "list", "data": files, "has_more": False}).encode()
    async with forwarding(tmp_path, reply(200, json.dumps(files[0]).encode(), JSON), reply(200, page, JSON)) as (
        gateway,
        _,
    ):
        one = await gateway.client.get(f"/v1/containers/{CONTAINER}/files/{FILE}")
        many = await gateway.client.get(f"/v1/containers/{CONTAINER}/files")
    assert one.json() == files[0] | {"filename": 'é"x.csv'}
    assert many.json()["data"] == [files[0] | {"filename": 'é"x.csv'}, files[1]]


@pytest.mark.parametrize(
    "body", [b"", b"[1", b"null", b'"x"', b'{"data":3}', b'{"object":"list","data":[' + b"[" * 5000]
)
async def test_an_answer_that_is_not_what_it_should_be_is_passed_on(tmp_path: Path, body: bytes) -> None:
    async with forwarding(tmp_path, reply(200, body, JSON)) as (gateway, _):
        for path in ("/v1/containers", f"/v1/containers/{CONTAINER}"):
            answer = await gateway.client.get(path)
            assert (answer.status_code, answer.content) == (200, body)


async def test_an_encoded_answer_is_passed_on_as_it_is(tmp_path: Path) -> None:
    body = b"\x1f\x8b not really"
    async with (
        forwarding(tmp_path, reply(200, body, JSON, (b"content-encoding", b"br"))) as (gateway, _),
        gateway.client.stream("GET", f"/v1/containers/{CONTAINER}") as answer,
    ):
        assert b"".join([piece async for piece in answer.aiter_raw()]) == body
        assert answer.headers["content-encoding"] == "br"


async def test_a_json_answer_too_large_to_hold_streams_through(tmp_path: Path) -> None:
    body = b'{"object":"list","data":["' + b"x" * 9_000_000 + b'"]}'
    async with forwarding(tmp_path, reply(200, body, JSON)) as (gateway, _):
        answer = await gateway.client.get("/v1/containers")
    assert answer.content == body
    assert answer.headers["content-length"] == str(len(body))


IDS = [
    ("cfile%2Fa%20b", b"cfile%2Fa%20b"),
    ("%252e%252e%252f", b"%252e%252e%252f"),
    ("a;b=c", b"a%3Bb%3Dc"),
    ("caf%C3%A9", b"caf%C3%A9"),
    ("a%3Fb%23c", b"a%3Fb%23c"),
]


@pytest.mark.parametrize(("segment", "sent"), IDS)
async def test_an_id_goes_up_as_one_encoded_segment(tmp_path: Path, segment: str, sent: bytes) -> None:
    async with forwarding(tmp_path, reply(200, b"{}", JSON)) as (gateway, upstream):
        answer = await gateway.client.get(f"/v1/containers/{CONTAINER}/files/{segment}")
    assert answer.status_code == 200
    assert upstream.requests[0].target == f"/v1/containers/{CONTAINER}/files/".encode() + sent


@pytest.mark.parametrize("provider", ["openai", "azure", "oci", "my-own-host"])
async def test_each_provider_is_spelt_its_way(tmp_path: Path, provider: str) -> None:
    more = {"azure": {"api_version": "2025-04-01-preview"}, "openai": {"organization": "org-1", "project": "proj-1"}}
    deployment = more.get(provider, {})
    async with forwarding(tmp_path, reply(200, b"{}", JSON), provider=provider, deployment=deployment) as (
        gateway,
        upstream,
    ):
        await gateway.client.get("/v1/containers?limit=5")
        await gateway.client.get(f"/containers/{CONTAINER}", params={"custom_llm_provider": provider})
    listed, retrieved = upstream.requests
    if provider == "azure":
        assert (listed.header(b"api-key"), listed.header(b"authorization")) == (b"sk-upstream-secret", None)
        assert listed.target == b"/v1/containers?limit=5&api-version=2025-04-01-preview"
        assert retrieved.target == f"/v1/containers/{CONTAINER}?api-version=2025-04-01-preview".encode()
    else:
        assert listed.header(b"authorization") == b"Bearer sk-upstream-secret"
        assert listed.target == b"/v1/containers?limit=5"
    wanted = (b"org-1", b"proj-1") if provider == "openai" else (None, None)
    assert (listed.header(b"openai-organization"), listed.header(b"openai-project")) == wanted


async def test_the_httpx_transport_serves_a_deployment_too(tmp_path: Path) -> None:
    async with forwarding(tmp_path, reply(200, b'{"id":"x"}', JSON), deployment={"transport": "httpx"}) as (
        gateway,
        upstream,
    ):
        answer = await gateway.client.post("/v1/containers", content=b'{"name":"x"}')
    assert answer.json() == {"id": "x"}
    assert bytes(upstream.requests[0].body) == b'{"name":"x"}'


async def test_a_client_that_leaves_during_a_hook_leaves_no_connection_behind(tmp_path: Path) -> None:
    left = asyncio.Event()

    async def endless(peer: Peer) -> None:
        await peer.request()
        await peer.send(head(200, length=2**40) + b"x" * 1_000_000)
        await peer.gone()
        left.set()

    hooks = {"plugins": ["tests.fakes.plugins:HoldsResponses"], "timeout_seconds": 600}
    async with (
        ScriptedUpstream(endless) as upstream,
        serving_gateway(tmp_path, forwarding_to(upstream.origin, hooks=hooks)) as gateway,
    ):
        with pytest.raises(httpx.ReadTimeout):
            await gateway.client.get(f"/v1/containers/{CONTAINER}/files/{FILE}/content", timeout=0.1)
        await asyncio.wait_for(left.wait(), 10)


async def test_two_content_types_are_refused(tmp_path: Path) -> None:
    async with forwarding(tmp_path, reply(200, b"{}", JSON)) as (gateway, upstream):
        headers = [("content-type", "text/plain"), ("content-type", "multipart/form-data; boundary=b")]
        answer = await gateway.client.post(f"/v1/containers/{CONTAINER}/files", content=b"x", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
    assert not upstream.requests


async def test_a_transfer_encoding_that_is_not_read_is_refused(tmp_path: Path) -> None:
    async with forwarding(tmp_path, reply(200, b"{}", JSON)) as (gateway, upstream):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(
            b"POST /v1/containers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n" % MASTER_KEY.encode()
            + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
        writer.close()
        await writer.wait_closed()
    assert not upstream.requests


async def test_the_first_of_two_upstream_ids_is_the_one(tmp_path: Path) -> None:
    ids = [(b"x-request-id", b"first"), (b"apim-request-id", b"second")]
    async with forwarding(tmp_path, reply(200, b"{}", JSON, *ids)) as (gateway, _):
        answer = await gateway.client.get("/v1/containers")
    assert answer.headers.get_list("x-upstream-request-id") == ["first"]


async def test_a_client_does_not_choose_the_version_of_the_upstreams_api(tmp_path: Path) -> None:
    deployment = {"api_version": "v1"}
    replied = forwarding(tmp_path, reply(200, b"{}", JSON), provider="azure", deployment=deployment)
    async with replied as (gateway, upstream):
        await gateway.client.get("/v1/containers?api-version=v0&limit=2&api%2Dversion=v3")
    assert upstream.requests[0].target == b"/v1/containers?limit=2&api-version=v1"


@pytest.mark.parametrize("start", ["/nope/%73k-qm-", "/v1/containers/%2573k-qm-", "/v1/containers/x/files/s%6B-"])
async def test_a_key_in_a_path_is_not_repeated(tmp_path: Path, start: str) -> None:
    secret = "0123456789abcdef-" + "A" * 43
    with captured_log() as log:
        async with forwarding(tmp_path, reply(200, b"{}", JSON)) as (gateway, _):
            target = f"{start}{secret}%00".encode()
            answer = await gateway.client.get(httpx.URL(gateway.url, raw_path=target))
        assert answer.status_code == 404
        assert secret not in answer.text
        assert log.events("request")
        assert secret.encode() not in bytes(log.raw)


async def test_the_clients_key_never_goes_up(tmp_path: Path) -> None:
    async with forwarding(tmp_path, reply(200, b"{}", JSON)) as (gateway, upstream):
        for header in ("api-key", "x-api-key"):
            async with httpx.AsyncClient(base_url=gateway.url) as client:
                assert (await client.get("/v1/containers", headers={header: MASTER_KEY})).status_code == 200
    for request in upstream.requests:
        assert MASTER_KEY.encode() not in request.raw_head
