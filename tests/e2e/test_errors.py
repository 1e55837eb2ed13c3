"""Every error of the gateway's own, as a client sees it: status, OpenAI's envelope, headers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.errors import FACES
from app.domain.errors import ErrorCode
from quaymaster.operations import OPERATIONS
from tests.e2e.gateway import MASTER_KEY, RunningGateway, forwarding_to
from tests.e2e.serving import fronting, serving_gateway
from tests.fakes.scripted import Peer, answers, head, reply
from tests.services import free_port

CONTAINER = "cntr_" + "ab" * 24


def error_of(answer: httpx.Response) -> dict[str, Any]:
    """The error object of an answer that has OpenAI's shape, and nothing beside it."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    body = answer.json()
    assert list(body) == ["error"]
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"]
    error: dict[str, Any] = body["error"]
    return error


def test_every_code_has_a_face() -> None:
    assert set(FACES) == set(ErrorCode)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Authorization", "Bearer sk-wrong")],
        [("Authorization", "Bearer")],
        [("Authorization", "Basic dXNlcjpwYXNz")],
        [("Authorization", MASTER_KEY)],
        [("Authorization", f"Bearer {MASTER_KEY}"), ("Authorization", "Bearer other")],
        [("Authorization", f"Bearer {MASTER_KEY}"), ("api-key", "other")],
        [("api-key", "")],
        [("api-key", "sk-qm-0123456789abcdef-" + "a" * 43)],
        [("x-api-key", "é")],
        [("Authorization", "Bearer " + "x" * 10_000)],
    ],
)
@pytest.mark.parametrize("path", ["/v1/containers", "/containers/x/files", "/key/list", "/nothing"])
def test_without_one_good_key_nothing_is_answered(
    path: str, headers: list[tuple[str, str]], shared_gateway: RunningGateway
) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    with httpx.Client() as client:
        answer = client.get(httpx.URL(shared_gateway.url, raw_path=path.encode()), headers=raw)
    error = error_of(answer)
    assert answer.status_code == 401
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", "invalid_api_key", None)
    assert answer.headers["www-authenticate"] == "Bearer"
    for _, value in headers:
        secret = value.removeprefix("Bearer ")
        assert len(secret) < 8 or secret not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/models", 404, "route_not_found"),
        ("GET", "/", 404, "route_not_found"),
        ("POST", "/v1/v1/containers", 404, "route_not_found"),
        ("GET", "/v1/containers/a/b", 404, "route_not_found"),
        ("GET", "/v1/containers//files", 404, "route_not_found"),
        ("GET", "/v1/containers/a/files/b/c", 404, "route_not_found"),
        ("GET", "//containers", 404, "route_not_found"),
        ("PUT", "/v1/containers", 405, "method_not_allowed"),
        ("PATCH", "/containers/x", 405, "method_not_allowed"),
        ("HEAD", "/v1/containers/x", 405, "method_not_allowed"),
        ("POST", "/v1/containers/x/files/y/content", 405, "method_not_allowed"),
        ("DELETE", "/health/liveliness", 405, "method_not_allowed"),
        ("DELETE", "/v1/containers/%2e%2e", 404, None),
        ("GET", "/v1/containers/x%2F..%2F..%2Fmodels", 404, None),
        ("GET", "/v1/containers/x/files/..%5C..", 404, None),
        ("GET", "/v1/containers/x/files/%00/content", 404, None),
        ("GET", "/v1/containers/" + "a" * 257, 404, None),
    ],
)
def test_paths_and_methods_that_are_not(
    method: str, path: str, status: int, code: str | None, shared_gateway: RunningGateway
) -> None:
    answer = shared_gateway.client.request(method, httpx.URL(shared_gateway.url, raw_path=path.encode()))
    assert answer.status_code == status, answer.text
    if status == 405:
        assert "GET" in answer.headers["allow"] or "POST" in answer.headers["allow"]
    if method != "HEAD":
        assert error_of(answer)["code"] == code


@pytest.mark.parametrize("path", ["/v1/containers/", "/containers/"])
def test_a_trailing_slash_changes_nothing(path: str, shared_gateway: RunningGateway) -> None:
    made = shared_gateway.client.post(path, json={"name": "x"})
    assert made.json()["object"] == "container"
    assert (shared_gateway.client.get(path)).json()["object"] == "list"
    assert (shared_gateway.client.get(f"/v1/containers/{made.json()['id']}/files/")).json()["data"] == []


def test_an_unknown_container_has_openais_words(shared_gateway: RunningGateway) -> None:
    answer = shared_gateway.client.get(f"/v1/containers/{CONTAINER}")
    assert (answer.status_code, error_of(answer)) == (
        404,
        {
            "message": f"Container with id '{CONTAINER}' not found.",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        },
    )


def test_a_key_does_what_it_is_allowed_and_nothing_else(shared_gateway: RunningGateway) -> None:
    key = shared_gateway.make_key(allowed_operations=["containers.files.*", "containers.retrieve"])
    with httpx.Client(base_url=shared_gateway.url, headers={"Authorization": f"Bearer {key}"}) as client:
        refused = client.get("/v1/containers")
        assert refused.status_code == 403
        error = error_of(refused)
        assert (error["type"], error["code"]) == ("permission_error", "operation_not_allowed")
        assert "containers.list" in error["message"]
        assert (client.delete(f"/v1/containers/{CONTAINER}")).status_code == 403
        assert (client.get(f"/v1/containers/{CONTAINER}")).status_code == 404
        assert (client.get(f"/v1/containers/{CONTAINER}/files")).status_code == 404
        assert (client.get("/key/list")).status_code == 403
        assert error_of(client.post("/key/generate", json={}))["code"] == "operation_not_allowed"


async def reset(peer: Peer) -> None:
    await peer.request()
    peer.reset()


async def nonsense(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"SSH-2.0-OpenSSH_9.2\r\n")


async def half_a_body(peer: Peer) -> None:
    await peer.request()
    await peer.send(head(200, (b"content-type", b"application/json"), length=100) + b'{"id":')


async def silent(peer: Peer) -> None:
    await peer.request()
    await peer.gone()


FAULTS = [
    (reset, 502, "upstream_unreachable"),
    (nonsense, 502, "upstream_protocol_error"),
    (half_a_body, 502, "upstream_unreachable"),
    (silent, 504, "upstream_timeout"),
]


@pytest.mark.parametrize(("fault", "status", "code"), FAULTS)
@pytest.mark.parametrize("operation", ["retrieve", "create", "upload"])
async def test_an_upstream_that_does_not_answer(
    tmp_path: Path, fault: Any, status: int, code: str, operation: str
) -> None:
    deployment = {"timeouts": {"read_seconds": 0.2}}
    async with fronting(tmp_path, fault, deployment=deployment) as (gateway, upstream):
        match operation:
            case "retrieve":
                answer = await gateway.client.get(f"/v1/containers/{CONTAINER}")
            case "create":
                answer = await gateway.client.post("/v1/containers", json={"name": "x"})
            case _:
                files = {"file": ("a", b"x" * 100_000)}
                answer = await gateway.client.post(f"/v1/containers/{CONTAINER}/files", files=files)
    error = error_of(answer)
    assert (answer.status_code, error["code"], error["type"]) == (status, code, "upstream_error")
    assert "'main'" in error["message"]
    assert "sk-upstream" not in answer.text
    assert upstream.origin.removeprefix("http://") not in answer.text
    # What may have been made already must not be made again by an SDK of its own accord.
    assert answer.headers.get("x-should-retry") == (None if operation == "retrieve" else "false")


async def test_an_upstream_that_is_not_there(tmp_path: Path) -> None:
    async with serving_gateway(tmp_path, forwarding_to(f"http://127.0.0.1:{free_port()}")) as gateway:
        answer = await gateway.client.post("/v1/containers", json={"name": "x"})
    assert (answer.status_code, error_of(answer)["code"]) == (502, "upstream_unreachable")
    assert "x-should-retry" not in answer.headers


async def test_a_full_pool_is_an_answer_too(tmp_path: Path) -> None:
    deployment = {"max_connections": 1, "timeouts": {"pool_seconds": 0.1}}
    reached = asyncio.Event()

    async def hangs(peer: Peer) -> None:
        reached.set()
        await peer.gone()

    async with fronting(tmp_path, hangs, deployment=deployment) as (gateway, _):
        hanging = asyncio.create_task(gateway.client.get("/v1/containers"))
        await reached.wait()
        answer = await gateway.client.get("/v1/containers")
        hanging.cancel()
    assert (answer.status_code, error_of(answer)["code"]) == (504, "upstream_timeout")


def test_metrics_and_probes_need_no_key(shared_gateway: RunningGateway) -> None:
    with httpx.Client(base_url=shared_gateway.url) as client:
        for path in ("/health/liveliness", "/health/liveness", "/health/readiness"):
            assert (client.get(path)).json()["status"] in {"alive", "ready"}
        shared_gateway.client.get(f"/v1/containers/{CONTAINER}")
        metrics = (client.get("/metrics")).text
        assert "quaymaster_requests_total{" in metrics
        assert 'operation="containers.retrieve"' in metrics
        assert CONTAINER not in metrics
        assert "containers.files.content" in (client.get("/openapi.json")).text


def test_the_description_lists_the_nine_operations(shared_gateway: RunningGateway) -> None:
    described = (shared_gateway.client.get("/openapi.json")).json()
    ids = {method["operationId"] for path in described["paths"].values() for method in path.values()}
    assert {operation.name for operation in OPERATIONS} <= ids


async def test_an_upstreams_answer_to_half_an_upload_comes_down(tmp_path: Path) -> None:
    async def refuses_early(peer: Peer) -> None:
        await peer.head()
        await peer.send(reply(413, b'{"error":{"message":"too big"}}', (b"content-type", b"application/json")))
        await peer.gone()

    async with fronting(tmp_path, refuses_early, answers(reply(200, b"{}"))) as (gateway, _):
        files = {"file": ("a", b"x" * 20_000_000)}
        answer = await gateway.client.post(f"/v1/containers/{CONTAINER}/files", files=files)
        assert (answer.status_code, answer.json()) == (413, {"error": {"message": "too big"}})
        assert (await gateway.client.get("/v1/containers")).status_code == 200
