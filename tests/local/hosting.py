"""The embedded provider for tests: in a thread, or in a process that may be killed; always on a real socket."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from openai import OpenAI

from app.local.server import LocalServer

FOREVER = "import asyncio, sys; from pathlib import Path; from app.local.server import LocalServer\n" + (
    "async def main():\n"
    "    print(await LocalServer(Path(sys.argv[1])).start(), flush=True)\n"
    "    await asyncio.Event().wait()\n"
    "asyncio.run(main())"
)


class Clock:
    """Unix seconds that pass only when told to."""

    def __init__(self, now: float = 1_800_000_000.5) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Provider:
    """A running provider and two ways to talk to it: the SDK, and plain HTTP."""

    url: str
    data_dir: Path
    clock: Clock
    sdk: OpenAI
    http: httpx.Client

    @property
    def blobs(self) -> list[str]:
        return os.listdir(self.data_dir / "blobs")

    def container(self, name: str = "test", **fields: Any) -> str:
        return self.sdk.containers.create(name=name, **fields).id

    def file(self, container_id: str, content: bytes = b"content", name: str = "a.txt") -> str:
        return self.sdk.containers.files.create(container_id, file=(name, content)).id

    def connect(self) -> socket.socket:
        return connect(self.url)


def connect(url: str) -> socket.socket:
    parsed = httpx.URL(url)
    assert parsed.port is not None
    return socket.create_connection((parsed.host, parsed.port), timeout=10)


@contextmanager
def talking_to(url: str, data_dir: Path, clock: Clock | None = None, api_key: str = "any") -> Iterator[Provider]:
    with (
        OpenAI(base_url=url, api_key=api_key, max_retries=0) as sdk,
        httpx.Client(base_url=url.removesuffix("/v1"), headers={"authorization": f"Bearer {api_key}"}) as http,
    ):
        yield Provider(url, data_dir, clock or Clock(), sdk, http)


@contextmanager
def hosted(data_dir: Path, *, clock: Clock | None = None, **options: Any) -> Iterator[Provider]:
    """A provider in an event loop of its own, in a thread of its own."""
    clock = clock or Clock()
    started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        server = LocalServer(data_dir, clock=clock, **options)
        over = asyncio.Event()
        try:
            url = await server.start()
        except BaseException as error:
            started.set_exception(error)
            return
        started.set_result((url, asyncio.get_running_loop(), over))
        await over.wait()
        await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        url, loop, over = started.result()
        try:
            with talking_to(url, data_dir, clock, options.get("api_key") or "any") as provider:
                yield provider
        finally:
            loop.call_soon_threadsafe(over.set)
    finally:
        thread.join()


@dataclass
class OwnProcess:
    """A provider in a process of its own."""

    provider: Provider
    process: subprocess.Popen[str]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def own_process(data_dir: Path) -> Iterator[OwnProcess]:
    command = [sys.executable, "-c", FOREVER, str(data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            with talking_to(process.stdout.readline().strip(), data_dir) as provider:
                yield OwnProcess(provider, process)
        finally:
            process.kill()


def eventually(happened: Callable[[], bool], *, within_seconds: float = 10) -> None:
    """Wait for something that nothing announces, such as a file that another process writes."""
    deadline = time.monotonic() + within_seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def read_reply(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """One whole answer with a Content-Length: status, headers by lower-case name, body."""
    with connection.makefile("rb") as stream:
        status = int(stream.readline().split(b" ")[1])
        headers = {}
        while line := stream.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return status, headers, stream.read(int(headers.get("content-length", "0")))
