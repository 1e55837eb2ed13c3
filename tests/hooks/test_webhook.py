from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.hooks.builtin.outlet import NotSent, Outlet, weight_of_lines
from app.hooks.builtin.webhook import PrivateAddress, PublicNetwork, Refused, Webhook, is_public
from tests.hooks.written import Collector, collecting, written

SECRET = b"a secret of sixteen"
PAGE = Path(__file__).parents[2] / "docs" / "logging.md"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def hook_to(url: str, *, allow_private: bool = True) -> Webhook:
    return Webhook(url, SECRET, allow_private=allow_private, clock=lambda: 1_700_000_000.4)


def example() -> dict[str, Any]:
    """The check of a signature, as the page shows it."""
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)
    return names


def test_a_batch_is_posted_and_signed_as_the_page_says(collector: Collector) -> None:
    hook = hook_to(f"{collector.url}/logs?a=b")
    hook.send([written("req_1"), written("req_2")])
    hook.close()
    ((path, headers, body),) = collector.posts
    assert path == "/logs?a=b"
    assert [json.loads(line)["request_id"] for line in body.splitlines()] == ["req_1", "req_2"]
    assert headers["content-type"] == "application/x-ndjson"
    is_ours = example()["is_ours"]
    now = 1_700_000_010
    assert is_ours(SECRET, headers, body, now)
    assert not is_ours(SECRET, headers, body + b" ", now)
    assert not is_ours(b"another", headers, body, now)
    assert not is_ours(SECRET, headers, body, now + 600)
    assert not is_ours(SECRET, headers | {"x-quaymaster-timestamp": "1700000001"}, body, now)


@pytest.mark.parametrize(("status", "raised"), [(500, NotSent), (429, NotSent), (302, Refused), (404, Refused)])
def test_what_is_not_taken(collector: Collector, status: int, raised: type[Exception]) -> None:
    collector.statuses = [status]
    hook = hook_to(collector.url)
    with pytest.raises(raised, match=str(status)):
        hook.send([written()])
    hook.close()
    assert len(collector.posts) == 1  # no redirect is followed


def test_a_receiver_that_is_away_is_tried_again(collector: Collector) -> None:
    collector.statuses = [503, 503]
    hook = hook_to(collector.url)
    outlet = Outlet("webhook", hook.send, weight_of_lines, max_rows=10, every_seconds=0.01, max_pending_bytes=100_000)
    outlet.put([written()])
    for _ in range(3):
        assert collector.got.acquire(timeout=5)
    outlet.close(5)
    hook.close()
    deliveries = [headers["x-quaymaster-delivery"] for _, headers, _ in collector.posts]
    assert len(deliveries) == 3
    assert len(set(deliveries)) == 1
    assert outlet.dropped == 0


def test_a_private_address_is_refused_before_a_byte_is_sent(collector: Collector) -> None:
    for url in (collector.url, collector.url.replace("127.0.0.1", "localhost")):
        hook = hook_to(url, allow_private=False)
        with pytest.raises(Refused, match="private"):
            hook.send([written()])
        hook.close()
    assert collector.posts == []


def test_the_address_is_looked_at_when_it_is_connected_to(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name may be public when it is configured and lead elsewhere later, or to both."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("93.184.215.14", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(PrivateAddress):
        PublicNetwork(allow_private=False).connect_tcp("example.com", 80)


def test_nobody_there_is_no_secret(collector: Collector) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        hook = hook_to(f"http://127.0.0.1:{probe.getsockname()[1]}/token-in-path")
        with pytest.raises(NotSent) as raised:
            hook.send([written()])
        hook.close()
    assert "token" not in str(raised.value)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
        "::127.0.0.1",
        "::ffff:0:7f00:1",
        "fec0::1",
        "192.0.0.192",
    ],
)
def test_what_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_what_is_public(address: str) -> None:
    assert is_public(address)
