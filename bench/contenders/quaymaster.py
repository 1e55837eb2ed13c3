"""The gateway of this repository, as it comes: nothing is switched off."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.contenders.contender import Contender, Launch, Site, Target
from bench.upstream import KEY

_MASTER_KEY = "sk-bench-master-0123456789abcdef"
_LIMITS = {"max_budget": 1000, "rpm_limit": 100_000_000, "max_parallel_requests": 100_000}
"""Far away, so that they are looked at and never reached."""
_ROOT = Path(__file__).resolve().parents[2]
_SETTINGS = """\
server: {{host: 127.0.0.1, port: {port}}}
data_dir: {folder}/data
master_key: {master_key}
deployments:
  - {{name: fake, provider: openai, api_base: "{upstream_url}", api_key: {upstream_key}}}
"""


class Quaymaster(Contender):
    """Default settings, one deployment, SQLite, and a virtual key for its client."""

    title = "quaymaster"
    note = "default settings: virtual key, rights, ownership, metrics, a full JSON line per request with bodies"

    def version(self, tools: Path) -> str:
        return metadata.version("quaymaster")

    def launch(self, tools: Path, site: Site) -> Launch:
        settings = site.folder / "config.yaml"
        settings.write_text(
            _SETTINGS.format(
                port=site.port,
                folder=site.folder,
                master_key=_MASTER_KEY,
                upstream_url=site.upstream_url,
                upstream_key=KEY,
            )
        )
        argv = [sys.executable, "-m", "app", "serve", "--config", str(settings)]
        return Launch(argv, {"PYTHONPATH": str(_ROOT)})

    def first_target(self, site: Site) -> Target:
        return _target(site, _MASTER_KEY)

    def target(self, site: Site) -> Target:
        _post(site, "/team/new", _MASTER_KEY, {"team_id": "bench", **_LIMITS})
        key = _post(site, "/key/generate", _MASTER_KEY, {"key_alias": "bench", "team_id": "bench", **_LIMITS})["key"]
        _post(site, "/v1/containers", key, {"name": "bench"})  # it sees what it made, and nothing else
        return _target(site, key)


def _post(site: Site, path: str, key: str, fields: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{site.port}{path}",
        data=json.dumps(fields).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def _target(site: Site, key: str) -> Target:
    return Target(site.port, {"Authorization": f"Bearer {key}"})
