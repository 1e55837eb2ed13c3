"""The composition root: the one place that knows every part by name and puts them together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Final

from starlette.types import ASGIApp

from app.api.application import Edge, build_edge
from app.api.health import Health
from app.config.pricing import PricingSettings
from app.config.settings import Settings
from app.deployments import Hosted, open_deployments
from app.domain.addresses import parse_network
from app.domain.deployments import Deployment
from app.domain.limiting import TEND_SECONDS, Limiter
from app.domain.ports import StoreUnavailable
from app.gateway.admit import Admission
from app.gateway.authenticate import Authenticator
from app.gateway.authorize import Gate
from app.gateway.costs import Costs
from app.gateway.create import LEASE_SECONDS, Creates
from app.gateway.daily import FLUSH_SECONDS as BYTES_FLUSH_SECONDS
from app.gateway.daily import DailyBytes
from app.gateway.forward import Forwarder
from app.gateway.lists import Lists
from app.gateway.pipeline import Gateway
from app.gateway.place import Placer
from app.gateway.probe import LOOK_SECONDS, Prober
from app.gateway.record import Recorder
from app.gateway.resolve import Resolver
from app.gateway.settle import Settler
from app.hooks.builtin.opening import OpenRequestLog
from app.hooks.runner import HookRunner, load_plugin
from app.limits.opening import open_limiter
from app.pricing.table import Prices, Tariff
from app.registry.closing import CLOSE_SECONDS, Closing
from app.registry.coverage import RETRY_SECONDS, Coverage
from app.registry.notes import FLUSH_SECONDS, Notes
from app.registry.ownership import FOLLOW_SECONDS, Ownerships
from app.registry.reap import LOOK_SECONDS as REAP_LOOK_SECONDS
from app.registry.reap import Reaper
from app.registry.reconcile import RECONCILE_SECONDS, Reconciler
from app.registry.retention import LOOK_SECONDS as PURGE_LOOK_SECONDS
from app.registry.retention import REQUESTS_LOOK_SECONDS, RequestRetention, Retention
from app.registry.sweep import Sweeps
from app.routing.health import Circuit
from app.routing.selection import Policy, Selector
from app.routing.track import Track
from app.sparing import models_built_when_used, without
from app.storage.audit import SqlAuditLog
from app.storage.containers import SqlContainerStore
from app.storage.creations import SqlCreationStore
from app.storage.daily_bytes import SqlDailyBytes
from app.storage.engine import Database
from app.storage.keys import SqlKeyStore
from app.storage.ledger import SqlLedger
from app.storage.requests import SqlRequestStore
from app.tasks import Tasks
from app.telemetry.gathering import Peers, rendered
from app.telemetry.metrics import Metrics
from quaymaster.version import VERSION

_DRAIN_TASKS_SECONDS: Final = 5.0
_SPOOL: Final = "spool"


@dataclass(frozen=True, slots=True)
class Company:
    """What a process shares with those that serve the same address."""

    peers: Peers | None = None
    hosted: Mapping[str, Hosted] = field(default_factory=dict)
    """By the deployment's name; the other embedded deployments are served in this process."""


ALONE: Final = Company()


@asynccontextmanager
async def create_app(
    settings: Settings,
    master_key: str,
    *,
    log_lines_dropped: Callable[[], int] = lambda: 0,
    company: Company = ALONE,
) -> AsyncIterator[Edge]:
    """The gateway, with everything it needs open for as long as the context lasts.

    `log_lines_dropped` tells metrics how many log lines found no room.

    Raises StoreUnavailable, UnsupportedDatabase, CannotLimit, DataDirInUse, and what loading a plugin raises.
    """
    async with AsyncExitStack() as stack:
        metrics = Metrics(version=VERSION, log_lines_dropped=log_lines_dropped)
        tasks = Tasks()
        spool_dir = settings.data_dir / _SPOOL
        await asyncio.to_thread(spool_dir.mkdir, mode=0o700, parents=True, exist_ok=True)

        database = Database.open(settings.database_url.get_secret_value())
        stack.push_async_callback(database.close)
        await database.migrate()
        request_store = SqlRequestStore(database)
        requests, hooks = _open_hooks(settings, request_store, metrics, stack)
        keys = SqlKeyStore(database)
        authenticator = Authenticator(keys, master_key)
        stack.push_async_callback(authenticator.aclose)
        limiter, daily = await _open_limits(settings, database, metrics, stack)
        fleet = _Fleet(settings, await open_deployments(settings, company.hosted, stack), hooks)
        costs = Costs(prices_of(settings.pricing), hooks, metrics)
        registry = _Registry(settings, database, keys, fleet, costs=costs, tasks=tasks)
        stack.push_async_callback(registry.coverage.aclose)
        stack.push_async_callback(registry.notes.flush, final=True)
        metrics.watch_deployments(lambda: {each["deployment"]: each["state"] for each in fleet.health()})

        await hooks.startup()
        stack.push_async_callback(hooks.shutdown)
        stack.push_async_callback(tasks.drain, _DRAIN_TASKS_SECONDS)
        _start_chores(registry, fleet, limiter, daily, tasks)
        _start_clean_up(settings, registry, request_store, tasks)
        health = Health(partial(_answers, keys), _scrape(metrics, company.peers), fleet.health)
        yield build_edge(
            _gateway(settings, registry, fleet, hooks, Admission(limiter, daily, metrics)),
            authenticator,
            Settler(metrics, hooks, tasks, requests.hook),
            health,
            partial(_control_plane, database, keys, authenticator, health, registry=registry, fleet=fleet),
            trusted_proxies=[parse_network(proxy) for proxy in settings.server.trusted_proxies],
        )


def _open_hooks(
    settings: Settings, store: SqlRequestStore, metrics: Metrics, stack: AsyncExitStack
) -> tuple[OpenRequestLog, HookRunner]:
    """The request log, and all that hooks into requests: it first, then the plugins."""
    requests = OpenRequestLog(settings.logging, settings.request_log, store, version=VERSION)
    stack.push_async_callback(asyncio.to_thread, requests.close)
    metrics.watch_request_log(requests.hook.dropped)
    plugins = [load_plugin(plugin.use, plugin.options) for plugin in settings.hooks.plugins]
    return requests, HookRunner([requests.hook, *plugins], metrics, timeout_seconds=settings.hooks.timeout_seconds)


async def _open_limits(
    settings: Settings, database: Database, metrics: Metrics, stack: AsyncExitStack
) -> tuple[Limiter, DailyBytes]:
    """Whoever counts requests, and the bytes of a day."""
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    limiter = await open_limiter(redis_url, settings.limits, settings.server.workers, metrics)
    stack.push_async_callback(limiter.aclose)
    daily = DailyBytes(SqlDailyBytes(database))
    stack.push_async_callback(daily.aclose)
    return limiter, daily


async def _answers(keys: SqlKeyStore) -> bool:
    """Whether the database does."""
    try:
        await keys.get("0" * 16)
    except StoreUnavailable:
        return False
    return True


def _scrape(metrics: Metrics, peers: Peers | None) -> Callable[[], Awaitable[bytes]]:
    """How to have the metrics of this process, or of all that it has for company."""
    if peers is None:
        return partial(asyncio.to_thread, metrics.render)
    peers.publish(metrics.snapshot)

    async def of_all() -> bytes:
        return await asyncio.to_thread(rendered, await peers.snapshots())

    return of_all


async def migrate(settings: Settings) -> None:
    """Bring the database to the shape this version needs. Raises StoreUnavailable and UnsupportedDatabase."""
    database = Database.open(settings.database_url.get_secret_value())
    try:
        await database.migrate()
    finally:
        await database.close()


class _Fleet:
    """The deployments, how each of them is, and who sends requests there."""

    def __init__(self, settings: Settings, providers: dict[str, list[Deployment]], hooks: HookRunner) -> None:
        routing = settings.routing
        random = Random()  # noqa: S311 - it chooses among equals
        self.providers = providers
        self.deployments = {one.name: one for behind in providers.values() for one in behind}
        self.tracks = {
            name: Track(name, one.weight, Circuit(routing.cooldown_seconds)) for name, one in self.deployments.items()
        }
        self.placer = Placer(providers, self.tracks, Selector(Policy(routing.policy), random))
        self.forwarder = Forwarder(self.tracks, hooks, deadline_seconds=routing.retry_deadline_seconds, random=random)

    def health(self) -> list[dict[str, Any]]:
        """How each deployment is, as /health/readiness shows it."""
        now = time.monotonic()
        return [
            {
                "deployment": name,
                "provider": self.deployments[name].provider,
                "state": track.circuit.state(now).value,
                "reason": track.circuit.reason,
                "retry_after_seconds": round(track.circuit.seconds_left(now), 1),
                "stalled": track.stalled(now),
                "in_flight": track.in_flight,
                "latency_seconds": track.latency_seconds and round(track.latency_seconds, 4),
                "weight": track.weight,
            }
            for name, track in self.tracks.items()
        ]


class _Registry:
    """The registry, what is remembered of it, and what keeps it true."""

    def __init__(
        self, settings: Settings, database: Database, keys: SqlKeyStore, fleet: _Fleet, *, costs: Costs, tasks: Tasks
    ) -> None:
        self.containers = SqlContainerStore(database)
        self.creations = SqlCreationStore(database)
        self.ledger = SqlLedger(database)
        self.coverage = Coverage(self.ledger, tasks)
        self.closing = Closing(self.ledger)
        self.ownerships = Ownerships(self.containers)
        self.notes = Notes(self.containers)
        self.reconciler = Reconciler(fleet.deployments, self.containers, self.creations)
        self.creates = Creates(
            fleet.placer,
            fleet.forwarder,
            containers=self.containers,
            creations=self.creations,
            ownerships=self.ownerships,
            costs=costs,
            tasks=tasks,
        )
        self.sweeps = Sweeps(
            self.containers,
            fleet.deployments.values(),
            tasks,
            refresh_seconds=settings.registry.refresh_seconds,
        )
        self.reaper = Reaper(
            self.containers,
            self.creations,
            keys,
            deployments=fleet.deployments,
            ownerships=self.ownerships,
            notes=self.notes,
            audit=SqlAuditLog(database),
        )


def _gateway(
    settings: Settings,
    registry: _Registry,
    fleet: _Fleet,
    hooks: HookRunner,
    admission: Admission,
) -> Gateway:
    gate = Gate(registry.ownerships, registry.containers)
    resolver = Resolver(
        fleet.providers,
        settings.default_provider,
        check_field=gate.field,
        file_limits=admission.file_limits,
        max_json_bytes=settings.server.max_json_bytes,
        max_upload_bytes=settings.server.max_upload_bytes,
        spool_dir=str(settings.data_dir / _SPOOL),
    )
    return Gateway(
        hooks,
        admission,
        gate,
        resolver,
        creates=registry.creates,
        lists=Lists(fleet.placer, fleet.forwarder, registry.containers, registry.sweeps),
        placer=fleet.placer,
        forwarder=fleet.forwarder,
        recorder=Recorder(registry.containers, registry.ownerships, registry.notes, registry.coverage),
    )


def prices_of(settings: PricingSettings) -> Prices:
    """The price table that is configured."""
    return Prices(
        [Tariff(since=each.since_at, prices=each.prices, provider=each.provider) for each in settings.tariffs]
    )


def _start_chores(registry: _Registry, fleet: _Fleet, limiter: Limiter, daily: DailyBytes, tasks: Tasks) -> None:
    """What is done between requests, until the tasks are drained."""
    prober = Prober(list(fleet.deployments.values()), fleet.tracks, tasks)
    tasks.repeat(limiter.tend, TEND_SECONDS, "tend rate limits")
    tasks.repeat(daily.flush, BYTES_FLUSH_SECONDS, "flush daily bytes")
    tasks.repeat(registry.ownerships.follow, FOLLOW_SECONDS, "follow ownerships")
    tasks.repeat(registry.notes.flush, FLUSH_SECONDS, "flush notes")
    tasks.repeat(registry.creates.renew, LEASE_SECONDS / 3, "renew leases")
    tasks.repeat(registry.reconciler.reconcile, RECONCILE_SECONDS, "reconcile creations")
    tasks.repeat(registry.closing.close, CLOSE_SECONDS, "close holds")
    tasks.repeat(registry.coverage.retry, RETRY_SECONDS, "write down late uses")
    tasks.repeat(prober.look, LOOK_SECONDS, "look for deployments to probe")


def _control_plane(
    database: Database,
    keys: SqlKeyStore,
    authenticator: Authenticator,
    health: Health,
    *,
    registry: _Registry,
    fleet: _Fleet,
) -> ASGIApp:
    """Import what administers, and put it together. It blocks for a tenth of a second or two."""
    # FastAPI would import the old pydantic, 1 MB, to say that it does not take its models.
    with models_built_when_used(), without("pydantic.v1"):
        from app.control_plane import build_control_plane

        return build_control_plane(
            database,
            keys,
            authenticator,
            health,
            containers=registry.containers,
            deployments=fleet.deployments,
            ownerships=registry.ownerships,
            reaper=registry.reaper,
        )


def _start_clean_up(settings: Settings, registry: _Registry, requests: SqlRequestStore, tasks: Tasks) -> None:
    """Forgetting what is long over, and deleting what the settings condemn."""
    retention = Retention(registry.containers, retain_days=settings.registry.retain_days)
    tasks.repeat(retention.scheduled, PURGE_LOOK_SECONDS, "purge the registry")
    old = RequestRetention(requests, registry.containers, retain_days=settings.request_log.retain_days)
    tasks.repeat(old.scheduled, REQUESTS_LOOK_SECONDS, "purge the request log")
    if settings.reap.every_seconds is not None:
        every_seconds = min(settings.reap.every_seconds, REAP_LOOK_SECONDS)
        tasks.repeat(partial(registry.reaper.scheduled, settings.reap), every_seconds, "reap containers")
