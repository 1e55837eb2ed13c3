"""The gateway of this repository, as it comes: nothing is switched off."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from importlib import metadata
from pathlib import Path

from bench.contenders.contender import Contender, Launch, Site, Target
from bench.upstream import KEY

_MASTER_KEY = "sk-bench-master-0123456789abcdef"
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
    note = "default settings: virtual key from the database, rights, metrics, a full JSON line per request with bodies"

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
        request = urllib.request.Request(
            f"http://127.0.0.1:{site.port}/key/generate",
            data=json.dumps({"key_alias": "bench"}).encode(),
            headers={"Authorization": f"Bearer {_MASTER_KEY}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return _target(site, json.load(answer)["key"])


def _target(site: Site, key: str) -> Target:
    return Target(site.port, {"Authorization": f"Bearer {key}"})
