"""Plugins named in the configuration: what they see, in which order, and that none of them can hurt a request."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.gateway import ROOT, RunningGateway, running_gateway
from tests.e2e.raw import head as request_head
from tests.e2e.raw import raw_connection
from tests.fakes.scripted import Peer, ScriptedUpstream, answers, reply
from tests.services import free_port

CONTAINERS = "/v1/containers"
PLUGINS = '''
import asyncio
import json

from app.hooks.spec import Hooks


class Recorder(Hooks):
    """Writes down what it sees, partly in plain functions and partly in coroutines."""

    def __init__(self, file):
        self.file = open(file, "a", buffering=1)

    def note(self, hook, exchange=None, **more):
        if exchange is not None:
            more |= {"request_id": exchange.request_id, "operation": exchange.operation and exchange.operation.name}
        self.file.write(json.dumps({"hook": hook} | more) + "\\n")

    async def startup(self):
        self.note("startup")

    async def request(self, exchange):
        self.note("request", exchange, key_id=exchange.principal.key_id, read=exchange.body.bytes_read)

    def attempt(self, exchange, attempt):
        self.note("attempt", exchange, deployment=attempt.deployment.name, asked=exchange.request_json)

    async def attempt_failed(self, exchange, attempt):
        self.note("attempt_failed", exchange, fault=attempt.fault)

    def response(self, exchange):
        self.note("response", exchange, status=exchange.attempts[-1].status)

    async def settled(self, exchange):
        await asyncio.sleep(0)
        self.note("settled", exchange, status=exchange.status, outcome=exchange.outcome)

    def shutdown(self):
        self.note("shutdown")
        self.file.close()


class Trouble(Hooks):
    """Does one and the same wrong thing wherever it is called."""

    def __init__(self, how):
        self.how = how

    async def do(self, *_):
        if self.how == "hangs":
            await asyncio.sleep(3600)
        if self.how == "leaves":
            raise SystemExit(1)
        if self.how == "cancels":
            raise asyncio.CancelledError
        raise RuntimeError("no")

    startup = request = attempt = attempt_failed = response = settled = shutdown = do


class Blunt(Hooks):
    """Raises at once, not from a coroutine."""

    def do(self, *_):
        raise ValueError("no")

    startup = request = attempt = attempt_failed = response = settled = shutdown = do
'''
HOOKS = ["startup", "request", "attempt", "attempt_failed", "response", "settled", "shutdown"]


@contextmanager
def gateway_with(folder: Path, *plugins: Any, **settings: Any) -> Iterator[RunningGateway]:
    """A gateway with these plugins, an embedded provider, and one that is not there."""
    (folder / "plugins_of_the_test.py").write_text(PLUGINS)
    config = {
        "deployments": [
            {"name": "here", "provider": "local"},
            {"name": "away", "provider": "azure", "api_base": f"http://127.0.0.1:{free_port()}", "api_key": "x"},
        ],
        "hooks": {"plugins": list(plugins), "timeout_seconds": 0.1},
        "routing": {"retry_deadline_seconds": 0},
    }
    with running_gateway(folder, json.dumps(config | settings), PYTHONPATH=f"{ROOT}:{folder}") as gateway:
        yield gateway


def recorder(folder: Path) -> dict[str, Any]:
    return {"use": "plugins_of_the_test:Recorder", "options": {"file": str(folder / "notes")}}


def notes(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "notes").read_text().splitlines()]


def test_a_plugin_sees_the_life_of_a_request(tmp_path: Path) -> None:
    with gateway_with(tmp_path, recorder(tmp_path)) as gateway:
        made = gateway.client.post(CONTAINERS, json={"name": "x"})
        failed = gateway.client.get(f"{CONTAINERS}?custom_llm_provider=azure")
        unknown = gateway.client.get(CONTAINERS, headers={"Authorization": "Bearer sk-wrong"})
        nowhere = gateway.client.get("/v1/models")
        assert gateway.stop() == 0
    seen = notes(tmp_path)
    assert [note["hook"] for note in (seen[0], seen[-1])] == ["startup", "shutdown"]

    def of(answer: Any) -> list[dict[str, Any]]:
        request_id = answer.headers["x-request-id"]
        return [
            {name: value for name, value in note.items() if name != "request_id"}
            for note in seen
            if note.get("request_id") == request_id
        ]

    create, listing = "containers.create", "containers.list"
    assert of(made) == [
        {"hook": "request", "operation": create, "key_id": "master", "read": 0},
        {"hook": "attempt", "operation": create, "deployment": "here", "asked": {"name": "x"}},
        {"hook": "response", "operation": create, "status": 200},
        {"hook": "settled", "operation": create, "status": 200, "outcome": "answered"},
    ]
    fault = of(failed)[2].pop("fault")
    assert fault
    assert [note["hook"] for note in of(failed)] == ["request", "attempt", "attempt_failed", "settled"]
    assert of(failed)[-1] == {"hook": "settled", "operation": listing, "status": 502, "outcome": "answered"}
    assert of(unknown) == [{"hook": "settled", "operation": listing, "status": 401, "outcome": "answered"}]
    assert of(nowhere) == [{"hook": "settled", "operation": None, "status": 404, "outcome": "answered"}]


@pytest.mark.parametrize("how", ["raises", "hangs", "leaves", "cancels", "is blunt"])
def test_a_plugin_in_trouble_troubles_nobody_else(tmp_path: Path, how: str) -> None:
    trouble = {"use": "plugins_of_the_test:Trouble", "options": {"how": how}}
    if how == "is blunt":
        trouble = {"use": "plugins_of_the_test:Blunt"}
    with gateway_with(tmp_path, trouble, recorder(tmp_path)) as gateway:
        begun = time.monotonic()
        made = gateway.client.post(CONTAINERS, json={"name": "x"})
        assert made.status_code == 200
        assert gateway.client.get(f"{CONTAINERS}?custom_llm_provider=azure").status_code == 502
        assert gateway.client.delete(f"{CONTAINERS}/{made.json()['id']}").status_code == 200
        assert time.monotonic() - begun < 3
        assert gateway.log(made.headers["x-request-id"])["outcome"] == "answered"
        gateway.wait_for_line("Trouble.settled" if how != "is blunt" else "Blunt.settled")
        metrics = gateway.client.get("/metrics").text
        assert gateway.stop() == 0
    assert [note["hook"] for note in notes(tmp_path)].count("settled") == 4  # /metrics is a request too
    name = "Blunt" if how == "is blunt" else "Trouble"
    failed = {json.loads(line)["hook"] for line in gateway.lines if '"event":"hook_failed"' in line}
    assert failed == {f"{name}.{hook}" for hook in HOOKS}
    for hook, count in [("startup", 1), ("request", 3), ("attempt", 3), ("attempt_failed", 1), ("response", 2)]:
        assert f'quaymaster_hook_failures_total{{hook="{name}.{hook}"}} {count}.0' in metrics


async def test_shutdown_is_told_after_the_last_request_is_settled(tmp_path: Path) -> None:
    """Also where that one had to be cancelled, because the time to drain was over."""
    reached = asyncio.Event()

    async def never_answers(peer: Peer) -> None:
        await peer.request()
        reached.set()
        await peer.gone()

    async with ScriptedUpstream(never_answers) as upstream:
        deployment = {"name": "main", "provider": "openai", "api_base": f"{upstream.origin}/v1", "api_key": "x"}
        with gateway_with(
            tmp_path, recorder(tmp_path), deployments=[deployment], server={"drain_seconds": 0.2}
        ) as gateway:
            async with raw_connection(gateway.port) as client:
                await client.send(request_head("GET", CONTAINERS))
                await reached.wait()
                gateway.process.terminate()
                assert (await client.answer()).status == 503
            assert await asyncio.to_thread(gateway.process.wait, 15) == 0
    seen = [(note["hook"], note.get("outcome")) for note in notes(tmp_path)]
    assert seen[-2:] == [("settled", "cancelled"), ("shutdown", None)]


async def test_who_left_is_settled_as_gone(tmp_path: Path) -> None:
    async with ScriptedUpstream(answers(reply(200, b"{}"))) as upstream:
        deployment = {"name": "main", "provider": "openai", "api_base": f"{upstream.origin}/v1", "api_key": "x"}
        with gateway_with(tmp_path, recorder(tmp_path), deployments=[deployment]) as gateway:
            async with raw_connection(gateway.port) as client:
                await client.send(request_head("POST", CONTAINERS, b"Content-Length: 100") + b"{")
                client.leave()
            await asyncio.to_thread(gateway.wait_for_line, '"outcome":"client_gone"')
            assert await asyncio.to_thread(gateway.stop) == 0
    assert [(note["hook"], note.get("outcome")) for note in notes(tmp_path)] == [
        ("startup", None),
        ("request", None),
        ("settled", "client_gone"),
        ("shutdown", None),
    ]
