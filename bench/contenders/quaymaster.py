"""The gateway of this repository, as it comes: nothing is switched off."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import psycopg

from bench import filled, services
from bench.contenders.contender import Contender, Launch, Site, Target
from bench.figures import Refused
from bench.services import Services
from bench.upstream import KEY, ROOT

_MASTER_KEY = "sk-bench-master-0123456789abcdef"
_TEAM: Final = "bench"
_LIMITS = {"max_budget": 1_000_000, "rpm_limit": 100_000_000, "max_parallel_requests": 100_000}
"""Far away, so that they are looked at and never reached."""
_SINK: Final = "sink"
_SETTINGS = """\
server: {{host: 127.0.0.1, port: {port}, max_upload_bytes: 2GiB}}
data_dir: {folder}/data
master_key: {master_key}
deployments:
"""
_DEPLOYMENT = """\
  - {{name: {name}, provider: {provider}, api_base: "{url}", api_key: {key}, max_connections: {max_connections}}}
"""
_FIRST_DEPLOYMENT: Final = "fake"


@dataclass(frozen=True)
class Quaymaster(Contender):
    """A virtual key of a team, both with limits and budgets. SQLite and one deployment, unless said otherwise."""

    title: str = "quaymaster"
    note: str = (
        "default settings but for the largest upload: virtual key, rights, ownership, rate limit, parallel slots and "
        "budget of the key and of its team, metrics, and every request in full, bodies too, as a JSON line and a row"
    )
    postgres: bool = False
    redis: bool = False
    workers: int = 1
    deployments: int = 1
    max_connections: int = 256
    """To each deployment; this is the default."""
    keys: int = 0
    containers: int = 0
    """What its database holds already; the containers are those of the client's team."""

    @property
    def takes_all_cores(self) -> bool:
        return self.workers > 1

    def version(self, tools: Path) -> str:
        return metadata.version("quaymaster")

    def services(self, site: Site, core: int) -> AbstractContextManager[Services]:
        return self._services(site, core)

    @contextlib.contextmanager
    def _services(self, site: Site, core: int) -> Iterator[Services]:
        with contextlib.ExitStack() as stack:
            started = []
            if self.postgres:
                started.append(stack.enter_context(services.postgres(core)))
            if self.redis:
                started.append(stack.enter_context(services.redis(site.folder, core)))
            yield Services(
                tuple(program for one in started for program in one.programs),
                {name: value for one in started for name, value in one.env.items()},
            )

    def launch(self, tools: Path, site: Site) -> Launch:
        if self.keys or self.containers:
            filled.copy(
                tools,
                _database(site),
                keys=self.keys,
                containers=self.containers,
                owner=f"team:{_TEAM}",
                deployment=_FIRST_DEPLOYMENT,
            )
        settings = site.folder / "config.yaml"
        settings.write_text(self._settings(site))
        argv = [sys.executable, "-m", "app", "serve", "--config", str(settings)]
        if self.workers > 1:
            argv += ["--workers", str(self.workers)]
        return Launch(argv, {"PYTHONPATH": str(ROOT)})

    def _settings(self, site: Site) -> str:
        names = [_FIRST_DEPLOYMENT, *(f"{_FIRST_DEPLOYMENT}-{number}" for number in range(2, self.deployments + 1))]
        text = _SETTINGS.format(port=site.port, folder=site.folder, master_key=_MASTER_KEY)
        for name, provider, url in (
            *((name, "openai", site.upstream_url) for name in names),
            (_SINK, _SINK, site.sink_url),
        ):
            text += _DEPLOYMENT.format(
                name=name, provider=provider, url=url, key=KEY, max_connections=self.max_connections
            )
        return text

    def first_target(self, site: Site) -> Target:
        return Target(site.port, {"Authorization": f"Bearer {_MASTER_KEY}"})

    def target(self, site: Site) -> Target:
        _post(site, "/team/new", _MASTER_KEY, {"team_id": _TEAM, **_LIMITS})
        key = _post(site, "/key/generate", _MASTER_KEY, {"key_alias": "bench", "team_id": _TEAM, **_LIMITS})["key"]
        made = _post(site, "/v1/containers", key, {"name": "bench"})  # it sees what it made, and nothing else
        return Target(site.port, {"Authorization": f"Bearer {key}"}, made["id"])

    def upload_target(self, site: Site, target: Target) -> Target:
        key = target.headers["Authorization"].removeprefix("Bearer ")
        made = _post(site, "/v1/containers", key, {"name": "bench", "custom_llm_provider": _SINK})
        return Target(site.port, target.headers, made["id"])

    def registered(self, site: Site, services: Services) -> int | None:
        count = "SELECT count(*) FROM containers"
        if self.postgres:
            with psycopg.connect(services.env["DATABASE_URL"]) as connection:
                row = connection.execute(count).fetchone()
        else:
            with contextlib.closing(sqlite3.connect(f"file:{_database(site)}?mode=ro", uri=True)) as database:
                row = database.execute(count).fetchone()
        return int(row[0]) if row is not None else None


def _database(site: Site) -> Path:
    return site.folder / "data" / "quaymaster.db"


def _post(site: Site, path: str, key: str, fields: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{site.port}{path}",
        data=json.dumps(fields).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
    except OSError as error:
        raise Refused(f"POST {path} failed: {error}") from None
