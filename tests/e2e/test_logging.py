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
from tests.e2e.gateway import MASTER_KEY, RunningGateway, running_gateway
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


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_no_secret_is_written_down(tmp_path: Path, large: bool) -> None:
    """Not in the log, the metrics, or any file that is kept; whether parsed as it stands or, being large, in pieces."""
    canary = {
        name: f"canary-{name}-7f3a9b"
        for name in ("master", "upstream", "bearer", "api-key", "x-api-key", "basic", "cookie", "secret", "unknown")
    } | {name: f"sk-canary-{name}-7f3a9b" for name in ("wrong", "query", "field", "path")}
    data = skill("canary-skill-7f3a9b")
    config = {
        "deployments": [
            {"name": "here", "provider": "local"},
            {
                "name": "away",
                "provider": "azure",
                "api_base": f"http://127.0.0.1:{free_port()}",
                "api_key": canary["upstream"],
            },
        ],
        "logging": {"level": "debug"},
    }
    with running_gateway(tmp_path, json.dumps(config), QUAYMASTER_MASTER_KEY=canary["master"]) as gateway:
        gateway.client.headers["Authorization"] = f"Bearer {canary['master']}"
        key = gateway.make_key(key_alias="alice")
        again = gateway.client.post("/key/regenerate", json={"key": key, "grace_period": "1h"}).json()["key"]

        def ask(method: str, path: str, **more: Any) -> None:
            answer = gateway.client.request(method, path, **more)
            assert answer.status_code < 503
            line_of(gateway, answer)

        for headers in (
            {"Authorization": f"Bearer {canary['bearer']}"},
            {"Authorization": f"Basic {canary['basic']}"},
            {"Authorization": canary["wrong"]},
            {"api-key": canary["api-key"]},
            {"x-api-key": canary["x-api-key"]},
            {"Authorization": f"Bearer {key}", "Cookie": canary["cookie"]},
            {"Authorization": f"Bearer {again}"},
        ):
            ask("GET", CONTAINERS, headers=headers)
        body = {
            "name": "x",
            "network_policy": {
                "type": "allowlist",
                "allowed_domains": ["a.test"],
                "domain_secrets": [{"domain": "a.test", "name": "TOKEN", "value": canary["secret"]}],
            },
            "skills": [
                {
                    "type": "inline",
                    "name": "s",
                    "description": "d",
                    "source": {"type": "base64", "media_type": "application/zip", "data": data},
                }
            ],
            "password": canary["unknown"],
            "note": canary["field"],
            "filler": "x" * (200_000 if large else 1),
        }
        ask("POST", CONTAINERS, json=body)
        ask("POST", f"{CONTAINERS}?custom_llm_provider=azure", json=body)
        ask("GET", f"{CONTAINERS}?name={canary['query']}&api_key={canary['query']}")
        ask("GET", f"/v1/{canary['path']}")
        ask("GET", f"/key/info?key={key}")
        ask("POST", f"/key/{key}/regenerate")
        ask("POST", "/key/block", json={"key": canary["wrong"]})
        metrics = gateway.client.get("/metrics").text
    secrets = [*canary.values(), "canary-skill", data, data[:60], *(whole.split("-", 3)[3] for whole in (key, again))]
    written = {"log": "\n".join(gateway.lines), "metrics": metrics} | {
        str(path): path.read_bytes().decode("latin-1") for path in (tmp_path / "data").rglob("*") if path.is_file()
    }
    assert len(written) > 2
    assert not [(place, secret) for place, text in written.items() for secret in secrets if secret in text]
    assert MASTER_KEY not in written["log"]


def test_an_inline_skill_is_logged_as_size_and_hash(gateway: RunningGateway) -> None:
    data = skill("x" * 100)
    source = {"type": "base64", "media_type": "application/zip", "data": data}
    skills = [{"type": "inline", "name": "s", "description": "d", "source": source}]
    for filler in ("x", "x" * 100_000):
        answer = gateway.client.post(CONTAINERS, json={"name": "x", "skills": skills, "filler": filler})
        assert answer.status_code == 200
        logged = line_of(gateway, answer)["request_body"]["skills"][0]["source"]
        assert logged == source | {"data": sha256(base64.b64decode(data))}
