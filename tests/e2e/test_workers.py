"""Several processes behind one address: they share what there is, none is missed when it dies, all end together."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.gateway import MASTER_KEY, RunningGateway, forwarding_to, running_gateway
from tests.e2e.raw import head as request_head
from tests.e2e.raw import raw_connection
from tests.e2e.test_process import CONTAINER, CONTENT, Held, command, ended, refuses_connections, taken_port
from tests.fakes.scripted import ScriptedUpstream, head

pytestmark = pytest.mark.service

ADMIN = {"Authorization": f"Bearer {MASTER_KEY}"}


@contextmanager
def workers(folder: Path, redis_url: str, config: str = "{}", number: int = 2) -> Iterator[RunningGateway]:
    """A gateway of so many workers; none of its processes is left at the end."""
    settings = json.loads(config)
    settings["server"] = settings.get("server", {}) | {"workers": number}
    with running_gateway(folder, json.dumps(settings | {"redis_url": redis_url})) as gateway:
        family = psutil.Process(gateway.process.pid).children()
        yield gateway
        if gateway.process.poll() is None:
            gateway.stop()
        _, alive = psutil.wait_procs(family, timeout=5)
        assert not alive


def serving(gateway: RunningGateway) -> list[psutil.Process]:
    """The processes that listen on the gateway's address: its workers, as the first process accepts nothing."""
    return [
        each
        for each in psutil.Process(gateway.process.pid).children()
        if any(connection.laddr.port == gateway.port for connection in each.net_connections("tcp"))
    ]


def status(gateway: RunningGateway, key: str, path: str = "/v1/containers") -> int:
    """What a new connection, and so any one of the workers, answers."""
    return httpx.get(f"{gateway.url}{path}", headers={"Authorization": f"Bearer {key}"}, timeout=30).status_code


def counted(gateway: RunningGateway, sample: str) -> float:
    """The sum of a metric's series, from whichever worker is asked."""
    text = httpx.get(f"{gateway.url}/metrics", timeout=30).text
    return sum(float(value) for value in re.findall(rf"^{sample}(?:\{{.*\}})? (.+)$", text, re.MULTILINE))


def until(holds: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for another process."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# Starting.


def test_without_redis_several_workers_do_not_start(tmp_path: Path) -> None:
    done = command(tmp_path, "serve", "--workers", "2")
    assert done.returncode == 2
    assert "redis_url: server.workers is 2" in done.stderr
    assert "REDIS_URL" in done.stderr
    assert not (tmp_path / "data").exists()


def test_they_say_so_once_when_all_of_them_serve(tmp_path: Path, redis_url: str) -> None:
    begun = time.monotonic()
    with workers(tmp_path, redis_url, number=3) as gateway:
        print(f"ready after {time.monotonic() - begun:.2f} s")
        assert len(serving(gateway)) == 3
        assert [status(gateway, MASTER_KEY) for _ in range(20)] == [200] * 20
        assert gateway.stop() == 0
    assert [line for line in gateway.lines if "RUNNING on" in line] == [f"RUNNING on {gateway.url}"]
    assert not [line for line in gateway.lines if "Traceback" in line or "Warning" in line]


def test_workers_share_the_memory_of_what_they_import(tmp_path: Path, redis_url: str) -> None:
    with workers(tmp_path, redis_url, number=2) as gateway:
        own_bytes = [each.memory_full_info().uss for each in serving(gateway)]
    print([f"{each / 1e6:.1f} MB" for each in own_bytes])
    assert max(own_bytes) < 45_000_000


def test_nothing_that_is_wrong_with_a_worker_is_a_running_gateway(tmp_path: Path, redis_url: str) -> None:
    config = {"hooks": {"plugins": ["no_such_module:Plugin"]}}
    (tmp_path / "gateway.yaml").write_text(json.dumps(config))
    arguments = ("serve", "--config", "gateway.yaml", "--port", "0", "--workers", "2")
    done = command(tmp_path, *arguments, REDIS_URL=redis_url)
    assert done.returncode == 2
    assert done.stderr.count("there is no module") == 1
    assert "Traceback" not in done.stderr + done.stdout
    assert "RUNNING" not in done.stdout


def test_a_port_in_use_is_named_also_where_its_owner_would_share_it(tmp_path: Path, redis_url: str) -> None:
    with taken_port() as port:
        done = command(tmp_path, "serve", "--workers", "2", "--port", str(port), REDIS_URL=redis_url)
        assert done.returncode == 2
        assert f"port {port} of 127.0.0.1 is in use" in done.stderr
    with workers(tmp_path, redis_url) as gateway:
        (tmp_path / "other").mkdir()
        done = command(tmp_path / "other", "serve", "--workers", "2", "--port", str(gateway.port), REDIS_URL=redis_url)
        assert done.returncode == 2
        assert f"port {gateway.port} of 127.0.0.1 is in use" in done.stderr


def test_the_embedded_provider_has_its_folder_for_itself(tmp_path: Path, redis_url: str) -> None:
    with workers(tmp_path, redis_url) as gateway:
        done = command(tmp_path, "serve", "--port", "0", "--workers", "2", REDIS_URL=redis_url)
        assert done.returncode == 2
        assert "in use by another process" in done.stderr
        assert status(gateway, MASTER_KEY) == 200


# Serving.


def test_connections_are_spread(tmp_path: Path, redis_url: str) -> None:
    with workers(tmp_path, redis_url, number=3) as gateway:
        clients = [httpx.Client(base_url=gateway.url, headers=ADMIN) for _ in range(60)]
        for client in clients:
            assert client.get("/v1/containers").status_code == 200
        shares = [
            sum(
                connection.laddr.port == gateway.port and connection.status == psutil.CONN_ESTABLISHED
                for connection in each.net_connections("tcp")
            )
            for each in serving(gateway)
        ]
        for client in clients:
            client.close()
    print(shares)
    assert sum(shares) == 60
    assert min(shares) >= 6


def test_no_two_of_them_call_a_request_the_same(tmp_path: Path, redis_url: str) -> None:
    with workers(tmp_path, redis_url) as gateway:

        def names(number: int) -> list[str]:
            return [
                httpx.get(f"{gateway.url}/v1/containers", headers=ADMIN).headers["x-request-id"] for _ in range(number)
            ]

        found = names(20)
        (first, *_) = serving(gateway)
        first.kill()
        first.wait()
        until(lambda: len(serving(gateway)) == 2)
        found += names(20)
    assert len(set(found)) == 40


def test_what_one_makes_the_others_have(tmp_path: Path, redis_url: str) -> None:
    with workers(tmp_path, redis_url, number=3) as gateway:
        key = gateway.make_key(key_alias="alice")
        container = gateway.client.post("/v1/containers", json={"name": "x"}).json()["id"]
        mine = httpx.post(
            f"{gateway.url}/v1/containers", headers={"Authorization": f"Bearer {key}"}, json={"name": "y"}
        ).json()["id"]
        for _ in range(15):
            assert status(gateway, MASTER_KEY, f"/v1/containers/{container}") == 200
            assert status(gateway, key, f"/v1/containers/{mine}") == 200
            assert status(gateway, key, f"/v1/containers/{container}") == 404
        assert gateway.client.post("/key/block", json={"key": key}).status_code == 200
        until(lambda: [status(gateway, key) for _ in range(15)] == [401] * 15, seconds=6)


def test_a_scrape_shows_all_of_them_and_nothing_counts_backwards(tmp_path: Path, redis_url: str) -> None:
    with workers(tmp_path, redis_url, number=3) as gateway:
        for _ in range(30):
            assert status(gateway, MASTER_KEY) == 200
        name = 'quaymaster_requests_total{error_code="",operation="containers.list"'
        before = counted(gateway, "quaymaster_request_duration_seconds_count")
        assert before >= 30
        text = httpx.get(f"{gateway.url}/metrics").text
        assert [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(name)] == ["30.0"]
        for victim in serving(gateway):
            victim.kill()
            victim.wait()
            assert counted(gateway, "quaymaster_request_duration_seconds_count") >= before
        until(lambda: len(serving(gateway)) == 3)
        until(lambda: counted(gateway, "quaymaster_build_info") == 1)
        assert counted(gateway, "quaymaster_request_duration_seconds_count") >= before


def test_a_rate_is_exact_over_all_of_them(tmp_path: Path, redis_url: str, postgres_url: str) -> None:
    # A machine too busy to answer in 50 ms would be an outage, in which each counts for itself.
    settings = {"database_url": postgres_url, "limits": {"redis_timeout_seconds": 5}}
    with workers(tmp_path, redis_url, json.dumps(settings), number=3) as gateway:
        key = gateway.make_key(team_id="sea", rpm_limit=20)
        with ThreadPoolExecutor(30) as pool:
            statuses = Counter(pool.map(lambda _: status(gateway, key), range(90)))
        assert statuses == {200: 20, 429: 70}
        assert len(serving(gateway)) == 3
        made = gateway.client.post("/v1/containers", json={"name": "x"}).json()["id"]
        assert [status(gateway, MASTER_KEY, f"/v1/containers/{made}") for _ in range(12)] == [200] * 12
        assert gateway.stop() == 0


# Dying.


def test_a_worker_that_dies_is_replaced_and_no_connection_is_refused(tmp_path: Path, redis_url: str) -> None:
    with workers(tmp_path, redis_url) as gateway:
        victim, other = serving(gateway)
        victim.kill()
        assert [status(gateway, MASTER_KEY) for _ in range(20)] == [200] * 20
        until(lambda: len(serving(gateway)) == 2)
        assert other.pid in [each.pid for each in serving(gateway)]
        line = json.loads(gateway.wait_for_line("worker_died"))
        assert (line["level"], line["ended_with"]) == ("error", "signal 9")
        gateway.wait_for_line("worker_started")
        assert gateway.stop() == 0


def test_the_host_of_the_embedded_provider_is_replaced_as_well(tmp_path: Path, redis_url: str) -> None:
    with workers(tmp_path, redis_url) as gateway:
        made = gateway.client.post("/v1/containers", json={"name": "x"}).json()["id"]
        known = {each.pid for each in serving(gateway)}
        [host] = [each for each in psutil.Process(gateway.process.pid).children() if each.pid not in known]
        host.kill()
        until(lambda: status(gateway, MASTER_KEY, f"/v1/containers/{made}") == 200)
        assert {each.pid for each in serving(gateway)} == known


def test_workers_do_not_outlive_the_first_process(tmp_path: Path, redis_url: str) -> None:
    with workers(tmp_path, redis_url) as gateway:
        family = psutil.Process(gateway.process.pid).children()
        assert len(family) == 3
        gateway.process.kill()
        _, alive = psutil.wait_procs(family, timeout=15)
        assert not alive


# Stopping.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_requests_in_flight_are_answered(tmp_path: Path, redis_url: str, number: signal.Signals) -> None:
    held = Held(head(200, length=10) + b"12345", b"67890")
    async with ScriptedUpstream(held, held, held, held) as upstream:
        with workers(tmp_path, redis_url, forwarding_to(upstream.origin)) as gateway:
            async with asyncio.timeout(20), raw_connection(gateway.port) as client:
                await client.send(request_head("GET", CONTENT))
                assert (await client.answer_head()).status == 200
                gateway.process.send_signal(number)
                await refuses_connections(gateway)
                assert gateway.process.poll() is None
                held.may_go_on.set()
                assert await client.read(10) == b"1234567890"
            assert await ended(gateway) == 0


async def test_the_drain_has_an_end(tmp_path: Path, redis_url: str) -> None:
    held = Held(b"", b"")
    async with ScriptedUpstream(held) as upstream:
        config = forwarding_to(upstream.origin, server={"drain_seconds": 0.3})
        with workers(tmp_path, redis_url, config) as gateway:
            async with raw_connection(gateway.port) as client:
                await client.send(request_head("GET", f"/v1/containers/{CONTAINER}"))
                await held.reached.wait()
                gateway.process.terminate()
                answer = await client.answer()
            assert (answer.status, answer.error_code) == (503, "shutting_down")
            assert await ended(gateway) == 0
            held.may_go_on.set()


def test_lines_of_several_workers_stay_whole(tmp_path: Path, redis_url: str) -> None:
    with workers(tmp_path, redis_url, number=3) as gateway:

        def create(number: int) -> None:
            with httpx.Client(base_url=gateway.url, headers=ADMIN) as client:
                for _ in range(40):
                    client.post("/v1/containers", json={"name": "x" * 9000})

        threads = [threading.Thread(target=create, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert gateway.stop() == 0
    requests = [json.loads(line) for line in gateway.lines if line.startswith("{")]
    assert sum(line["event"] == "request" for line in requests) == 240
