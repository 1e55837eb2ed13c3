"""What a running gateway writes down: one line for every request, all of it true, and no secret anywhere."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from quaymaster.operations import OPERATIONS
from tests.e2e.gateway import RunningGateway, running_gateway
from tests.services import free_port

CONTAINER = "cntr_" + "ab" * 24
CONTAINERS = "/v1/containers"
FIELDS = {
    "timestamp",
    "level",
    "event",
    "request_id",
    "operation",
    "method",
    "path",
    "key_id",
    "key_alias",
    "owner",
    "provider",
    "deployment",
    "container_id",
    "file_id",
    "status",
    "outcome",
    "error_code",
    "error_detail",
    "duration_ms",
    "overhead_ms",
    "upstream_ms",
    "attempts",
    "bytes_in",
    "bytes_out",
    "cost_nanousd",
    "upstream_request_id",
    "request_body",
    "response_body",
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway with the embedded provider, and one more that is never there."""
    config = {
        "server": {"max_json_bytes": 4_000_000, "max_upload_bytes": 100_000},
        "deployments": [
            {"name": "here", "provider": "local"},
            {"name": "away", "provider": "azure", "api_base": f"http://127.0.0.1:{free_port()}", "api_key": "sk-away"},
        ],
    }
    with running_gateway(tmp_path_factory.mktemp("logging"), json.dumps(config)) as gateway:
        yield gateway


def line_of(gateway: RunningGateway, answer: httpx.Response) -> dict[str, Any]:
    return gateway.log(answer.headers["x-request-id"])


def sha256(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_the_whole_life_of_a_container(gateway: RunningGateway) -> None:
    key = gateway.make_key(key_alias="alice", user_id="u-1", team_id="t-1", tags=["a", "b"])
    key_id = key.split("-")[2]
    content = bytes(range(256)) * 100
    lines: list[dict[str, Any]] = []

    with httpx.Client(base_url=gateway.url, headers={"Authorization": f"Bearer {key}"}) as client:

        def ask(method: str, path: str, **more: Any) -> Any:
            answer = client.request(method, path, **more)
            assert answer.status_code == 200, answer.text
            line = line_of(gateway, answer)
            assert line["bytes_out"] == len(answer.content)
            lines.append(line)
            return answer.json() if answer.headers["content-type"] == "application/json" else answer.content

        container = ask("POST", CONTAINERS, json={"name": "x"})["id"]
        path = f"{CONTAINERS}/{container}"
        file = ask("POST", f"{path}/files", files={"file": ("a.bin", content)})["id"]
        ask("GET", CONTAINERS)
        ask("GET", path)
        ask("GET", f"{path}/files")
        ask("GET", f"{path}/files/{file}")
        assert ask("GET", f"{path}/files/{file}/content") == content
        ask("DELETE", f"{path}/files/{file}")
        ask("DELETE", path)

    assert sorted(line["operation"] for line in lines) == sorted(operation.name for operation in OPERATIONS)
    for line in lines:
        assert set(line) == FIELDS | {"user_id", "team_id", "tags"}
        assert (line["key_id"], line["key_alias"], line["owner"]) == (key_id, "alice", "team:t-1")
        assert (line["user_id"], line["team_id"], line["tags"]) == ("u-1", "t-1", ["a", "b"])
        own_list = line["operation"] == "containers.list"  # from the registry, and no upstream is asked
        assert (line["provider"], line["deployment"], line["attempts"]) == (
            "local",
            *((None, 0) if own_list else ("here", 1)),
        )
        assert (line["status"], line["outcome"], line["error_code"]) == (200, "answered", None)
        assert line["container_id"] == (None if line["operation"] == "containers.list" else container)
        assert own_list or line["upstream_request_id"].startswith("req_")
        assert line["path"] is None
        assert 0 < line["overhead_ms"] < line["duration_ms"]
        assert own_list or 0 < line["upstream_ms"] < line["duration_ms"]
    by_operation = {line["operation"]: line for line in lines}
    created, uploaded = by_operation["containers.create"], by_operation["containers.files.create"]
    assert (created["bytes_in"], created["request_body"]) == (len(b'{"name":"x"}'), {"name": "x"})
    assert created["response_body"]["id"] == container
    assert uploaded["request_body"] == sha256(content)
    assert uploaded["bytes_in"] > len(content)
    assert uploaded["file_id"] == file
    downloaded = by_operation["containers.files.content"]
    assert (downloaded["response_body"], downloaded["bytes_out"]) == (sha256(content), len(content))


def test_a_part_of_a_file_is_logged_as_that_part(gateway: RunningGateway) -> None:
    client = gateway.client
    container = client.post(CONTAINERS, json={"name": "x"}).json()["id"]
    files = f"{CONTAINERS}/{container}/files"
    file = client.post(files, files={"file": ("a", b"0123456789")}).json()["id"]
    answer = client.get(f"{files}/{file}/content", headers={"Range": "bytes=2-4"})
    line = line_of(gateway, answer)
    assert (line["status"], line["response_body"]) == (206, sha256(b"234"))


REFUSED: list[tuple[str, str, dict[str, Any], int, str, str | None]] = [
    ("GET", CONTAINERS, {"headers": {"Authorization": "Bearer sk-wrong"}}, 401, "invalid_api_key", "containers.list"),
    ("GET", "/v1/models", {}, 404, "route_not_found", None),
    ("GET", f"{CONTAINERS}/%2e%2e", {}, 404, "container_not_found", "containers.retrieve"),
    ("PUT", CONTAINERS, {}, 405, "method_not_allowed", None),
    ("DELETE", "/metrics", {}, 405, "method_not_allowed", None),
    ("POST", CONTAINERS, {"content": b"{"}, 400, "invalid_json", "containers.create"),
    ("POST", CONTAINERS, {"content": b"x" * 4_000_001}, 413, "request_too_large", "containers.create"),
    (
        "POST",
        f"{CONTAINERS}/{CONTAINER}/files",
        {"files": {"file": ("a", b"x" * 200_000)}},
        413,
        "request_too_large",
        "containers.files.create",
    ),
    ("GET", f"{CONTAINERS}?custom_llm_provider=nobody", {}, 400, "unknown_provider", "containers.list"),
    ("GET", f"{CONTAINERS}?custom_llm_provider=azure", {}, 502, "upstream_unreachable", "containers.list"),
    ("POST", "/key/generate", {"json": {"no_such_field": 1}}, 400, "unknown_parameter", None),
    ("GET", "/key/info?key=sk-qm-0123456789abcdef-" + "a" * 43, {}, 404, "key_not_found", None),
]


@pytest.mark.parametrize(("method", "path", "more", "status", "code", "operation"), REFUSED)
def test_what_is_refused_is_logged_too(
    gateway: RunningGateway,
    method: str,
    path: str,
    more: dict[str, Any],
    status: int,
    code: str,
    operation: str | None,
) -> None:
    url = httpx.URL(gateway.url, raw_path=path.encode())
    answer = gateway.client.request(method, url, **more)
    assert answer.status_code == status, answer.text
    line = line_of(gateway, answer)
    assert set(line) == FIELDS
    assert (line["status"], line["error_code"], line["operation"]) == (status, code, operation)
    assert line["method"] == method
    assert line["outcome"] == "answered"
    assert line["key_id"] == (None if status == 401 or path == "/metrics" else "master")
    assert line["path"] == (None if operation else path.partition("?")[0])
    assert line["response_body"]["error"]["message"]


def test_a_key_that_may_not_is_named(gateway: RunningGateway) -> None:
    key = gateway.make_key(allowed_operations=["containers.list"])
    headers = {"Authorization": f"Bearer {key}"}
    line = line_of(gateway, gateway.client.post(CONTAINERS, json={"name": "x"}, headers=headers))
    assert (line["status"], line["error_code"], line["key_id"]) == (403, "operation_not_allowed", key.split("-")[2])


def test_every_request_has_exactly_one_line(gateway: RunningGateway) -> None:
    answers = [gateway.client.get(f"{CONTAINERS}/{number}") for number in range(50)]
    ids = [answer.headers["x-request-id"] for answer in answers]
    for request_id in ids:
        gateway.log(request_id)
    for request_id in ids:
        assert len([line for line in gateway.lines if request_id in line]) == 1


def test_probes_are_not_worth_a_line(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        for path in ("/health/liveliness", "/health/readiness", "/metrics"):
            assert gateway.client.get(path).status_code == 200
        line_of(gateway, gateway.client.get(CONTAINERS))
        assert len([line for line in gateway.lines if '"event":"request"' in line]) == 1
    with running_gateway(tmp_path, "logging: {level: debug}") as gateway:
        assert line_of(gateway, gateway.client.get("/health/liveliness"))["level"] == "debug"


def test_bodies_can_be_left_out(tmp_path: Path) -> None:
    with running_gateway(tmp_path, "logging: {bodies: false}") as gateway:
        line = line_of(gateway, gateway.client.post(CONTAINERS, json={"name": "x"}))
    assert set(line) == FIELDS - {"request_body", "response_body"}


# Secrets.


def skill(canary: str) -> str:
    """A zip archive with the canary in it, as base64."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("SKILL.md", canary)
    return base64.b64encode(archive.getvalue()).decode()


def test_an_inline_skill_is_logged_as_size_and_hash(gateway: RunningGateway) -> None:
    data = skill("x" * 100)
    source = {"type": "base64", "media_type": "application/zip", "data": data}
    skills = [{"type": "inline", "name": "s", "description": "d", "source": source}]
    for filler in ("x", "x" * 100_000):
        answer = gateway.client.post(CONTAINERS, json={"name": "x", "skills": skills, "filler": filler})
        assert answer.status_code == 200
        logged = line_of(gateway, answer)["request_body"]["skills"][0]["source"]
        assert logged == source | {"data": sha256(base64.b64decode(data))}
