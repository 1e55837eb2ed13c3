from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import AsyncMock

import httpx
import pytest

from app.local.application import LocalApp
from tests.local.hosting import Provider, hosted, read_reply


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1"),
        ("GET", "/v1/models"),
        ("GET", "/v2/containers"),
        ("GET", "/v1/v1/containers"),
        ("POST", "/v1/containers/x/y"),
        ("GET", "/v1/containers/x/files/y/z"),
        ("GET", "/v1/containers%2Fx"),
    ],
)
def test_an_unknown_path(provider: Provider, method: str, path: str) -> None:
    reply = provider.http.request(method, path)
    assert reply.status_code == 404
    assert reply.json() == {
        "error": {
            "message": f"Invalid URL ({method} {path}).",
            "type": "invalid_request_error",
            "param": None,
            "code": "unknown_url",
        }
    }


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/containers", "GET, POST"),
        ("DELETE", "/v1/containers", "GET, POST"),
        ("POST", "/v1/containers/x", "DELETE, GET"),
        ("PATCH", "/v1/containers/x/files/y/content", "GET"),
        ("PUT", "/v1/files", "GET, POST"),
        ("POST", "/v1/files/x", "DELETE, GET"),
    ],
)
def test_a_method_that_the_path_does_not_have(provider: Provider, method: str, path: str, allow: str) -> None:
    reply = provider.http.request(method, path)
    assert (reply.status_code, reply.headers["allow"]) == (405, allow)
    assert reply.json()["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize("path", ["/v1/containers", "/v1/containers/x", "/nothing", "/v1/containers?limit=0"])
def test_every_answer_has_an_id_of_its_own(provider: Provider, path: str) -> None:
    ids = [provider.http.get(path).headers["x-request-id"] for _ in range(2)]
    assert all(re.fullmatch(r"req_[0-9a-f]{32}", request_id) for request_id in ids)
    assert ids[0] != ids[1]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with hosted(tmp_path_factory.mktemp("guarded"), api_key="sk-local") as provider:
        yield provider.url


class TestApiKey:
    @pytest.mark.parametrize("credential", ["Bearer sk-local", "bearer sk-local"])
    def test_the_right_one(self, guarded: str, credential: str) -> None:
        assert httpx.get(f"{guarded}/containers", headers={"authorization": credential}).status_code == 200

    @pytest.mark.parametrize(
        "credentials",
        [
            [],
            [("authorization", "Bearer sk-loca")],
            [("authorization", "Bearer sk-local2")],
            [("authorization", "Bearer")],
            [("authorization", "Basic sk-local")],
            [("authorization", "sk-local")],
            [("authorization", b"Bearer \xff\xfe")],
            [("api-key", "sk-local")],
            [("authorization", "Bearer sk-local"), ("authorization", "Bearer sk-local")],
        ],
    )
    @pytest.mark.parametrize("path", ["/containers", "/nothing"])
    def test_anything_else(self, guarded: str, credentials: list[tuple[str, str]], path: str) -> None:
        reply = httpx.get(guarded + path, headers=credentials)
        assert reply.status_code == 401
        error = reply.json()["error"]
        assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", "invalid_api_key", None)
        assert "sk-loca" not in error["message"]


def test_a_get_may_have_a_body(provider: Provider) -> None:
    container_id = provider.container()
    for body in (b"{}", b"not json", b"x" * 1_000_000):
        assert provider.http.request("GET", f"/v1/containers/{container_id}", content=body).status_code == 200
    reply = provider.http.request("DELETE", f"/v1/containers/{container_id}", content=b"{}")
    assert reply.json()["deleted"] is True


@pytest.mark.parametrize("path", ["/v1/containers/unknown/files", "/nothing", "/v1/containers/unknown"])
def test_a_refusal_does_not_wait_for_the_body(provider: Provider, path: str) -> None:
    with provider.connect() as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"
        connection.sendall(head.encode() + b"a little")
        status, _, _ = read_reply(connection)
    assert status in {404, 405}


def test_a_body_that_claims_too_much_is_refused_unread(provider: Provider) -> None:
    container_id = provider.container()
    for path, size in (("containers", 97 << 20), (f"containers/{container_id}/files", 514 << 20)):
        with provider.connect() as connection:
            head = f"POST /v1/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n"
            connection.sendall(head.encode() + b"Content-Type: multipart/form-data; boundary=b\r\n\r\n")
            status, _, body = read_reply(connection)
        assert status == 413
        assert b"request_too_large" in body


def test_a_query_with_too_many_fields(provider: Provider) -> None:
    assert provider.http.get("/v1/containers?" + "&".join("a=1" for _ in range(101))).status_code == 400


def test_the_first_of_a_name_counts(provider: Provider) -> None:
    assert provider.http.get("/v1/containers?limit=1&limit=0").status_code == 200
    assert provider.http.get("/v1/containers?limit=0&limit=1").status_code == 400


def test_a_failure_is_an_answer_and_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with hosted(tmp_path) as provider:
        with sqlite3.connect(tmp_path / "records.db") as other:
            other.execute("DROP TABLE containers")
        other.close()
        reply = provider.http.get("/v1/containers/x")
    assert reply.status_code == 500
    assert reply.json()["error"]["type"] == "server_error"
    assert reply.headers["x-request-id"] in caplog.text
    assert "containers" not in reply.json()["error"]["message"]


async def test_it_speaks_http_only(tmp_path: Path) -> None:
    app = LocalApp(tmp_path)
    try:
        with pytest.raises(ValueError, match="websocket"):
            await app({"type": "websocket"}, AsyncMock(), AsyncMock())
    finally:
        await app.aclose()
