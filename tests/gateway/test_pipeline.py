"""A request that ends on its way through the phases leaves nothing open."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from app.domain.containers import Ownership
from app.domain.identity import MASTER
from app.domain.ports import RawHeaders
from app.gateway.admit import Admission
from app.gateway.authorize import Gate
from app.gateway.forward import Forwarder
from app.gateway.pipeline import Gateway
from app.gateway.place import Placer
from app.gateway.record import Recorder
from app.gateway.resolve import Resolver
from app.hooks.runner import HookRunner
from app.registry.coverage import Coverage
from app.registry.notes import Notes
from app.registry.ownership import Ownerships
from app.routing.selection import Policy, Selector
from app.routing.track import Track
from app.tasks import Tasks
from app.telemetry.metrics import Metrics
from quaymaster.operations import FILES_CONTENT
from tests.exchanges import DEPLOYMENT, opened_exchange


class OpenFile:
    """An upstream, and the one answer it gives: a file that nobody has read yet."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: RawHeaders = []
        self.closed = False

    async def send(self, *_: Any) -> OpenFile:
        return self

    async def read(self) -> bytes:
        return b"a piece"

    def at_hand(self) -> bytes | None:
        return None

    async def aclose(self) -> None:
        self.closed = True


class SilentLedger:
    """A ledger whose database does not answer."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def extend(self, *_: Any) -> None:
        self.asked.set()
        await asyncio.Event().wait()


class NoChanges:
    """A registry in which nothing ever changes."""

    async def changed_ownerships(self, since: Any) -> tuple[list[Ownership], Any]:
        return [], since


async def test_a_client_that_leaves_while_its_use_is_committed_leaves_no_upstream_open() -> None:
    upstream, ledger, tasks, store, metrics = OpenFile(), SilentLedger(), Tasks(), NoChanges(), Metrics("1")
    deployment = replace(DEPLOYMENT, upstream=upstream)
    hooks, tracks = HookRunner([], metrics), {deployment.name: Track(deployment.name)}
    nobody: Any = None  # who is not asked
    behind = {"openai": [deployment]}
    ownerships = Ownerships(store)  # type: ignore[arg-type]
    await ownerships.follow()
    ownerships.remember(Ownership(container_id="cntr_1", owner="master", deployment=deployment.name))
    gate = Gate(ownerships, store)  # type: ignore[arg-type]
    gateway = Gateway(
        hooks,
        Admission(nobody, nobody, metrics),
        gate,
        Resolver(
            behind,
            "openai",
            check_field=gate.field,
            file_limits=lambda _: (),
            max_json_bytes=1,
            max_upload_bytes=1,
            spool_dir="",
        ),
        creates=nobody,
        lists=nobody,
        placer=Placer(behind, tracks, Selector(Policy.WEIGHTED, Random(1))),
        forwarder=Forwarder(tracks, hooks, deadline_seconds=1, random=Random(1)),
        recorder=Recorder(nobody, ownerships, Notes(nobody), Coverage(ledger, tasks)),  # type: ignore[arg-type]
    )
    exchange = opened_exchange()
    exchange.container_id, exchange.file_id = "cntr_1", "cfile_1"

    handling = asyncio.ensure_future(gateway.handle(exchange, MASTER, FILES_CONTENT))
    await ledger.asked.wait()
    assert not upstream.closed
    handling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handling
    assert upstream.closed
    await tasks.drain(0)
