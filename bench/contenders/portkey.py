"""Portkey's open-source gateway, on Node."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from bench.contenders.contender import Contender, Launch, Site, Target, run_installer
from bench.figures import Unavailable
from bench.upstream import KEY

_VERSION = "1.15.2"
_PACKAGE = {
    "private": True,
    "dependencies": {"@portkey-ai/gateway": _VERSION},
    # The ones that npm would choose hand Portkey headers that cannot be changed: every proxied answer is then a 500.
    "overrides": {"@hono/node-server": "1.14.0"},
}


class Portkey(Contender):
    """It forwards every path of the API it does not know to the host that the client's headers name."""

    title = "portkey"
    note = "no keys of its own: the client sends the upstream's; no metrics, no log but to a console nobody watches"

    def version(self, tools: Path) -> str:
        try:
            found: str = json.loads((_home(tools) / "package.json").read_text())["version"]
        except OSError:
            raise Unavailable("not installed: `python -m bench` without --quick installs it") from None
        return found

    def install(self, tools: Path) -> None:
        folder = tools / "portkey"
        if self._is_installed(folder):
            return
        if shutil.which("npm") is None:
            raise Unavailable("npm is not installed (Debian: apt-get install npm)")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text(json.dumps(_PACKAGE, indent=2))
        run_installer(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], folder)

    def launch(self, tools: Path, site: Site) -> Launch:
        program = _home(tools) / "build" / "start-server.js"
        return Launch(
            ["node", str(program), "--headless", f"--port={site.port}"],
            {"PORT": str(site.port), "NODE_ENV": "production"},
        )

    def first_target(self, site: Site) -> Target:
        return _target(site, site.upstream_url)

    def upload_target(self, site: Site, target: Target) -> Target:
        return _target(site, site.sink_url)

    def _is_installed(self, folder: Path) -> bool:
        """Whether what is there was installed from the same package.json."""
        try:
            return json.loads((folder / "package.json").read_text()) == _PACKAGE and _home(folder.parent).is_dir()
        except (OSError, ValueError):
            return False


def _target(site: Site, host: str) -> Target:
    headers = {"Authorization": f"Bearer {KEY}", "x-portkey-provider": "openai", "x-portkey-custom-host": host}
    return Target(site.port, headers)


def _home(tools: Path) -> Path:
    return tools / "portkey" / "node_modules" / "@portkey-ai" / "gateway"
