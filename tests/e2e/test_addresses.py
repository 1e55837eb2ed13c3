"""Keys that may be used from some addresses only, on real connections."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.gateway import RunningGateway, running_gateway

INSIDE, OUTSIDE = "198.51.100.7", "203.0.113.9"
ROUTES = ["/v1/containers", "/v1/containers/cntr_unknown", "/key/list"]


@pytest.fixture(scope="module")
def behind_a_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    folder: Path = tmp_path_factory.mktemp("behind-a-proxy")
    with running_gateway(folder, "server: {trusted_proxies: [127.0.0.0/8]}") as gateway:
        yield gateway


def ask(gateway: RunningGateway, key: str, path: str, *forwarded: str) -> httpx.Response:
    headers = [("authorization", f"Bearer {key}"), *(("x-forwarded-for", value) for value in forwarded)]
    return httpx.get(f"{gateway.url}{path}", headers=headers, trust_env=False)


def is_refused(answer: httpx.Response) -> bool:
    if answer.status_code != 403:
        return False
    error = answer.json()["error"]
    assert error["code"] == "operation_not_allowed"
    assert not any(word in error["message"] for word in ("198.51", "127.0", "203.0"))
    return True


def test_without_a_trusted_proxy_the_socket_counts(shared_gateway: RunningGateway) -> None:
    here = shared_gateway.make_key(allowed_ips=["127.0.0.1"], role="admin")
    elsewhere = shared_gateway.make_key(allowed_ips=["198.51.100.0/24"], role="admin")
    for path in ROUTES:
        assert not is_refused(ask(shared_gateway, here, path, OUTSIDE)), path
        assert is_refused(ask(shared_gateway, elsewhere, path)), path
        assert is_refused(ask(shared_gateway, elsewhere, path, INSIDE)), path


def test_a_trusted_proxy_is_believed(behind_a_proxy: RunningGateway) -> None:
    key = behind_a_proxy.make_key(allowed_ips=["198.51.100.0/24"], role="admin")
    for path in ROUTES:
        assert not is_refused(ask(behind_a_proxy, key, path, INSIDE)), path
        assert not is_refused(ask(behind_a_proxy, key, path, f"{OUTSIDE}, {INSIDE}")), path
        assert is_refused(ask(behind_a_proxy, key, path, OUTSIDE)), path
        assert is_refused(ask(behind_a_proxy, key, path, f"{INSIDE}, {OUTSIDE}")), path
        assert is_refused(ask(behind_a_proxy, key, path, INSIDE, OUTSIDE)), path
        assert is_refused(ask(behind_a_proxy, key, path)), path
    assert ask(behind_a_proxy, "sk-qm-nobody", ROUTES[0], OUTSIDE).status_code == 401


def test_the_list_can_be_changed_and_emptied(behind_a_proxy: RunningGateway) -> None:
    key = behind_a_proxy.make_key(allowed_ips=["198.51.100.7"])
    assert is_refused(ask(behind_a_proxy, key, "/v1/containers", OUTSIDE))
    behind_a_proxy.client.post("/key/update", json={"key": key, "allowed_ips": None}).raise_for_status()
    assert ask(behind_a_proxy, key, "/v1/containers", OUTSIDE).status_code == 200
