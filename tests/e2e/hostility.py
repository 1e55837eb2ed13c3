"""A gateway under attack, and a look at what that does to it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import psutil

from tests.e2e.gateway import RunningGateway, running_gateway
from tests.e2e.memory import MemoryWatch
from tests.e2e.raw import head

MIB = 1024 * 1024
CONTAINER = "cntr_" + "ab" * 24
CONTAINERS = "/v1/containers"
FILES = f"/v1/containers/{CONTAINER}/files"
JSON = (b"content-type", b"application/json")


def with_body(method: str, target: str, body: bytes, *lines: bytes) -> bytes:
    """A request whose body is as long as it says."""
    return head(method, target, b"Content-Length: %d" % len(body), *lines) + body


def create(body: bytes) -> bytes:
    return with_body("POST", CONTAINERS, body, b"Content-Type: application/json")


def upload(body: bytes) -> bytes:
    return with_body("POST", FILES, body, b"Content-Type: multipart/form-data; boundary=b")


def in_chunks(body: bytes) -> bytes:
    """A create whose body is these chunks, as they are."""
    return head("POST", CONTAINERS, b"Transfer-Encoding: chunked") + body


@contextmanager
def unharmed_gateway(folder: Path) -> Iterator[RunningGateway]:
    """One gateway that has to live through all of this. At the end it has as many files open as at the start."""
    with running_gateway(folder) as gateway:
        check_alive(gateway)
        process = psutil.Process(gateway.process.pid)
        files_at_start = process.num_fds()
        yield gateway
        check_alive(gateway)
        wait_until(lambda: process.num_fds() <= files_at_start)


def check_alive(gateway: RunningGateway) -> None:
    """It serves as ever, and nothing it logged is worse than a warning."""
    assert gateway.client.get("/health/liveliness").status_code == 200
    made = gateway.client.post(CONTAINERS, json={"name": "still here"})
    assert made.status_code == 200
    assert gateway.client.delete(f"/v1/containers/{made.json()['id']}").status_code == 200
    assert not [line for line in gateway.lines if '"level":"error"' in line or '"level":"critical"' in line]


def wait_until(condition: Callable[[], bool], seconds: float = 15) -> None:
    """For what cannot be awaited, as it happens in another process."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@asynccontextmanager
async def harmless(gateway: RunningGateway, max_grown_mib: int) -> AsyncIterator[None]:
    """What happens here takes no more memory than that, leaves no connection open and the gateway alive."""
    process = psutil.Process(gateway.process.pid)

    def clients() -> int:
        found = process.net_connections("tcp4")
        return sum(c.laddr.port == gateway.port and c.status != psutil.CONN_LISTEN for c in found)

    gateway.client.get("/health/liveliness")
    before = clients()
    async with MemoryWatch(gateway.process.pid) as memory:
        yield
    wait_until(lambda: clients() <= before)
    check_alive(gateway)
    assert memory.grown_bytes < max_grown_mib * MIB
