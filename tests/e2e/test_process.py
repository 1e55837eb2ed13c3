"""The process: how it starts, what it refuses, what it prints, how it stops, and what outlives it."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from quaymaster.operations import OPERATIONS
from tests.e2e.gateway import MASTER_KEY, ROOT, RunningGateway, clean_environment, forwarding_to, running_gateway
from tests.e2e.raw import RawAnswer, raw_connection
from tests.e2e.raw import head as request_head
from tests.fakes.scripted import Peer, ScriptedUpstream, answers, head, reply

CONTAINER = "cntr_" + "ab" * 24
CONTENT = f"/v1/containers/{CONTAINER}/files/cfile_1/content"
JSON = (b"content-type", b"application/json")


def command(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, in this folder."""
    variables = {"QUAYMASTER_DATA_DIR": str(folder / "data"), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "app", *arguments],
        cwd=folder,
        env=clean_environment(**(variables | environment)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# Starting.


def test_it_is_ready_soon_and_small(tmp_path: Path) -> None:
    """Ready within a second where nothing else runs; here with room for a busy machine."""
    begun = time.monotonic()
    with running_gateway(tmp_path) as gateway:
        seconds = time.monotonic() - begun
        assert gateway.client.get("/health/readiness").status_code == 200
        assert gateway.client.get("/key/list").status_code == 200  # all is loaded
        rss_bytes = psutil.Process(gateway.process.pid).memory_info().rss
    print(f"ready after {seconds:.2f} s, RSS {rss_bytes / 1e6:.1f} MB")
    assert seconds < 5
    assert rss_bytes < 80_000_000


def test_the_first_run_makes_a_key_and_prints_lines_that_work(tmp_path: Path) -> None:
    with running_gateway(tmp_path, QUAYMASTER_MASTER_KEY="") as gateway:
        kept = tmp_path / "data" / "master_key"
        key = kept.read_text().strip()
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
        assert len(key) >= 32
        assert [line.strip() for line in gateway.lines].count(key) == 1
        create, listing, virtual_key = (line.strip() for line in gateway.lines if line.strip().startswith("curl "))
        assert paste(create)["name"] == "first"
        assert [container["name"] for container in paste(listing)["data"]] == ["first"]
        made = paste(virtual_key)["key"]
        answer = httpx.get(f"{gateway.url}/v1/containers", headers={"Authorization": f"Bearer {made}"})
        assert answer.status_code == 200
    with running_gateway(tmp_path, QUAYMASTER_MASTER_KEY="") as again:
        assert key not in "\n".join(again.lines)
        assert any(str(kept) in line for line in again.lines)
        headers = {"Authorization": f"Bearer {key}"}
        assert httpx.get(f"{again.url}/v1/containers", headers=headers).status_code == 200


def paste(line: str) -> Any:
    done = subprocess.run(["bash", "-c", f"{line} --silent --show-error"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_banner_says_when_nothing_reaches_openai(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        assert any("OPENAI_API_KEY is not set" in line for line in gateway.lines)
        answer = gateway.client.post("/v1/containers?custom_llm_provider=openai", json={"name": "x"})
        assert answer.status_code == 200


@pytest.mark.parametrize("config", ["{}", (ROOT / "config.yaml").read_text()], ids=["none", "as it comes"])
async def test_with_a_key_for_openai_it_forwards_there(tmp_path: Path, config: str) -> None:
    async with ScriptedUpstream(answers(reply(200, b'{"id":"cntr_theirs"}', JSON))) as upstream:
        with running_gateway(
            tmp_path, config, OPENAI_API_KEY="sk-of-openai", OPENAI_BASE_URL=f"{upstream.origin}/v1"
        ) as gateway:
            assert not any("is not set" in line for line in gateway.lines)
            answer = await asyncio.to_thread(gateway.client.post, "/v1/containers", json={"name": "x"})
    assert answer.json()["id"] == "cntr_theirs"
    assert upstream.requests[0].target == b"/v1/containers"
    assert upstream.requests[0].header(b"authorization") == b"Bearer sk-of-openai"


# Refusing to start.

WRONG = [
    ("server: {host: 0.0.0.0}", {}, "needs a master key of at least 16 characters"),
    ("server: {host: '::'}", {"QUAYMASTER_MASTER_KEY": "too-short"}, "needs a master key of at least 16 characters"),
    ("server: {prot: 1}", {}, "did you mean server.port?"),
    ("sever: {port: 1}", {}, "sever: unknown setting; did you mean server?"),
    ("{}", {"QUAYMASTER_SERVER__PROT": "1"}, "QUAYMASTER_SERVER__PORT"),
    ("server: {port: many}", {}, "server.port"),
    ("server: [", {}, "gateway.yaml"),
]


@pytest.mark.parametrize("subcommand", ["serve", "check"])
@pytest.mark.parametrize(("config", "environment", "said"), WRONG)
def test_settings_that_are_wrong_stop_the_start(
    tmp_path: Path, config: str, environment: dict[str, str], said: str, subcommand: str
) -> None:
    (tmp_path / "gateway.yaml").write_text(config)
    done = command(tmp_path, subcommand, "--config", "gateway.yaml", **environment)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not (tmp_path / "data").exists()


def test_a_public_address_with_a_long_key_is_served(tmp_path: Path) -> None:
    config = "server: {host: 0.0.0.0}"
    with running_gateway(tmp_path, config, QUAYMASTER_MASTER_KEY="sixteen-or-more-characters") as gateway:
        assert httpx.get(f"http://127.0.0.1:{gateway.port}/health/liveliness").status_code == 200


def test_check_touches_nothing(tmp_path: Path) -> None:
    done = command(tmp_path, "check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "valid" in done.stdout
    assert not list(tmp_path.iterdir())


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with taken_port() as port:
        done = command(tmp_path, "serve", "--port", str(port))
    assert done.returncode == 2
    assert f"port {port} of 127.0.0.1 is in use" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert "RUNNING" not in done.stdout


def test_a_data_folder_in_use_is_named(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        done = command(tmp_path, "serve", "--port", "0")
        assert done.returncode == 2
        assert str(tmp_path / "data") in done.stderr
        assert "in use by another process" in done.stderr
        assert "Traceback" not in done.stderr + done.stdout
        assert gateway.client.get("/v1/containers").status_code == 200


def test_a_plugin_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("hooks: {plugins: ['no_such_module:Plugin']}")
    done = command(tmp_path, "serve", "--config", "gateway.yaml", "--port", "0")
    assert done.returncode == 2
    assert "no_such_module" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


# Stopping.


class Held:
    """An upstream that begins, and goes on when it is told to."""

    def __init__(self, begun: bytes, rest: bytes) -> None:
        self.reached = asyncio.Event()
        self.may_go_on = asyncio.Event()
        self.gone = asyncio.Event()
        self._begun = begun
        self._rest = rest

    async def __call__(self, peer: Peer) -> None:
        await peer.request()
        if self._begun:
            await peer.send(self._begun)
        self.reached.set()
        leaving = asyncio.create_task(peer.gone())
        leaving.add_done_callback(lambda _: self.gone.set())
        await self.may_go_on.wait()
        await peer.send(self._rest)
        await leaving


async def refuses_connections(gateway: RunningGateway) -> None:
    """Wait until it takes no new ones."""
    async with asyncio.timeout(5):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            except ConnectionRefusedError:
                return
            except ConnectionResetError:  # it was closing with this one in its backlog
                continue
            writer.close()
            await asyncio.sleep(0.02)


async def ended(gateway: RunningGateway, seconds: float = 15) -> int:
    return await asyncio.to_thread(gateway.process.wait, seconds)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_request_in_flight_is_answered(tmp_path: Path, number: signal.Signals) -> None:
    held = Held(b"", reply(200, b'{"id":"x"}', JSON))
    async with ScriptedUpstream(held) as upstream:
        with running_gateway(tmp_path, forwarding_to(upstream.origin)) as gateway:
            async with raw_connection(gateway.port) as client, raw_connection(gateway.port) as idle:
                await idle.send(request_head("GET", "/health/liveliness"))
                assert (await idle.answer()).status == 200
                await client.send(request_head("GET", f"/v1/containers/{CONTAINER}"))
                await held.reached.wait()
                gateway.process.send_signal(number)
                await refuses_connections(gateway)
                assert await idle.closed() == b""
                assert gateway.process.poll() is None
                held.may_go_on.set()
                answer = await client.answer()
                assert await client.closed() == b""
            assert await ended(gateway) == 0
    assert (answer.status, answer.json(), answer.headers["connection"]) == (200, {"id": "x"}, "close")
    assert gateway.log(answer.headers["x-request-id"])["outcome"] == "answered"


async def test_who_asks_on_without_a_pause_is_told_that_this_was_the_last_answer(tmp_path: Path) -> None:
    """A client cannot know that its connection is about to end: what it has just sent must not be lost."""
    with running_gateway(tmp_path) as gateway:

        async def ask_on() -> RawAnswer:
            async with raw_connection(gateway.port) as client:
                while True:
                    await client.send(request_head("GET", "/v1/containers"))
                    if (answer := await client.answer()).headers.get("connection") == "close":
                        assert await client.closed() == b""
                        return answer
                    begun.set()

        begun = asyncio.Event()
        asking = asyncio.gather(*(ask_on() for _ in range(16)))
        await begun.wait()
        gateway.process.terminate()
        assert [answer.status for answer in await asking] == [200] * 16
        assert await ended(gateway) == 0


async def test_a_transfer_has_until_the_drain_is_over(tmp_path: Path) -> None:
    held = Held(head(200, length=10) + b"12345", b"67890")
    async with ScriptedUpstream(held) as upstream:
        config = forwarding_to(upstream.origin, server={"drain_seconds": 0.5})
        with running_gateway(tmp_path, config) as gateway:
            async with raw_connection(gateway.port) as client:
                await client.send(request_head("GET", CONTENT))
                answer = await client.answer_head()
                assert await client.read(5) == b"12345"
                gateway.process.terminate()
                assert await client.closed() == b""
                await held.gone.wait()
            assert await ended(gateway) == 0
            held.may_go_on.set()
    line = gateway.log(answer.headers["x-request-id"])
    assert (line["outcome"], line["status"], line["error_code"]) == ("cancelled", 200, "shutting_down")
    assert 500 <= line["duration_ms"] < 5000


@pytest.mark.parametrize("operation", ["retrieve", "create"])
async def test_a_request_that_outlives_the_drain_is_told_so(tmp_path: Path, operation: str) -> None:
    held = Held(b"", b"")
    async with ScriptedUpstream(held) as upstream:
        config = forwarding_to(upstream.origin, server={"drain_seconds": 0.3})
        with running_gateway(tmp_path, config) as gateway:
            async with raw_connection(gateway.port) as client:
                if operation == "retrieve":
                    await client.send(request_head("GET", f"/v1/containers/{CONTAINER}"))
                else:
                    await client.send(request_head("POST", "/v1/containers", b"Content-Length: 2") + b"{}")
                await held.reached.wait()
                gateway.process.terminate()
                answer = await client.answer()
            assert await ended(gateway) == 0
            held.may_go_on.set()
    assert (answer.status, answer.error_code) == (503, "shutting_down")
    # A create may have been carried out: the SDKs must not repeat it of their own accord.
    assert answer.headers.get("x-should-retry") == (None if operation == "retrieve" else "false")
    line = gateway.log(answer.headers["x-request-id"])
    assert (line["outcome"], line["status"]) == ("cancelled", 503)
    assert not [line for line in gateway.lines if "Traceback" in line]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_has_nothing_to_do_stops_at_once(tmp_path: Path, number: signal.Signals) -> None:
    with running_gateway(tmp_path) as gateway:
        assert gateway.client.get("/v1/containers").status_code == 200  # and the connection stays open
        begun = time.monotonic()
        gateway.process.send_signal(number)
        assert gateway.process.wait(15) == 0
        assert time.monotonic() - begun < 3
    assert not [line for line in gateway.lines if "Traceback" in line or '"level":"error"' in line]


async def test_a_second_interrupt_does_not_wait(tmp_path: Path) -> None:
    held = Held(b"", b"")
    async with ScriptedUpstream(held) as upstream:
        with running_gateway(tmp_path, forwarding_to(upstream.origin)) as gateway:
            async with raw_connection(gateway.port) as client:
                await client.send(request_head("GET", "/v1/containers"))
                await held.reached.wait()
                gateway.process.send_signal(signal.SIGINT)
                await refuses_connections(gateway)
                gateway.process.send_signal(signal.SIGINT)
                assert (await client.answer()).status == 503
            assert await ended(gateway, 5) == 0
            held.may_go_on.set()


def test_what_was_kept_outlives_a_kill(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        key = gateway.make_key(key_alias="alice")
        with httpx.Client(base_url=gateway.url, headers={"Authorization": f"Bearer {key}"}) as alice:
            container = alice.post("/v1/containers", json={"name": "x"}).json()["id"]
            files = f"/v1/containers/{container}/files"
            file = alice.post(files, files={"file": ("a.txt", b"hello")}).json()["id"]
        gateway.process.kill()
        assert gateway.process.wait(15) == -signal.SIGKILL
    with (
        running_gateway(tmp_path) as again,
        httpx.Client(base_url=again.url, headers={"Authorization": f"Bearer {key}"}) as alice,
    ):
        assert alice.get(f"{files}/{file}/content").content == b"hello"
        assert [found["id"] for found in alice.get("/v1/containers").json()["data"]] == [container]


# The other commands.


@contextmanager
def serving_fake_openai(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "app", "fake-openai", "--port", "0", *arguments],
        cwd=folder,
        env=clean_environment(PYTHONPATH=str(ROOT)),
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            running = re.fullmatch(r"RUNNING on (http://127\.0\.0\.1:\d+)\n", process.stdout.readline())
            assert running is not None
            yield process, running[1]
        finally:
            process.kill()


def test_fake_openai_serves_alone(tmp_path: Path) -> None:
    with serving_fake_openai(tmp_path, "--api-key", "sk-only") as (process, url):
        assert httpx.get(f"{url}/v1/containers").status_code == 401
        headers = {"Authorization": "Bearer sk-only"}
        made = httpx.post(f"{url}/v1/containers", headers=headers, json={"name": "x"})
        assert made.json()["object"] == "container"
        process.terminate()
        assert process.wait(15) == 0
    with taken_port() as port:
        done = command(tmp_path, "fake-openai", "--port", str(port))
    assert done.returncode == 2
    assert f"port {port} of 127.0.0.1 is in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_walks_through_all_nine(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        done = command(tmp_path, "demo", "--base-url", f"{gateway.url}/v1", "--api-key", MASTER_KEY)
        assert (done.returncode, done.stderr) == (0, "")
        steps = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  containers.")]
        assert sorted(steps) == sorted(operation.name for operation in OPERATIONS)
        assert gateway.client.get("/v1/containers").json()["data"] == []
        wrong = command(tmp_path, "demo", "--base-url", f"{gateway.url}/v1", "--api-key", "sk-wrong")
        assert wrong.returncode == 1
        assert "not known" in wrong.stderr or "key" in wrong.stderr
    nobody = command(tmp_path, "demo", "--base-url", f"{gateway.url}/v1", "--api-key", MASTER_KEY)
    assert nobody.returncode == 1
    assert "nothing answers" in nobody.stderr
    assert "Traceback" not in nobody.stderr + wrong.stderr
