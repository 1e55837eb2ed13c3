"""LiteLLM's proxy, in an environment of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.contenders.contender import Contender, Launch, Site, Target, run_installer
from bench.figures import Unavailable
from bench.upstream import KEY

_VERSION = "1.106.2"
_MASTER_KEY = "sk-bench-master"
_SETTINGS = f"""\
model_list: []
general_settings:
  master_key: {_MASTER_KEY}
litellm_settings:
  telemetry: false
"""


class LiteLLM(Contender):
    """Without a database it has no virtual keys, so its client uses the master key."""

    title = "litellm"
    note = "no database: master key only, no virtual keys, budgets or spend; one worker; its console log goes to a file"
    ready_within_seconds = 90.0

    def version(self, tools: Path) -> str:
        python = tools / "litellm" / "bin" / "python"
        ask = "import importlib.metadata as m; print(m.version('litellm'))"
        try:
            done = subprocess.run([python, "-c", ask], capture_output=True, text=True, timeout=30, check=True)
        except (OSError, subprocess.SubprocessError):
            raise Unavailable("not installed: `python -m bench` without --quick installs it") from None
        return done.stdout.strip()

    def install(self, tools: Path) -> None:
        try:
            if self.version(tools) == _VERSION:
                return
        except Unavailable:
            pass
        folder = tools / "litellm"
        folder.mkdir(parents=True, exist_ok=True)
        run_installer([sys.executable, "-m", "venv", str(folder)], folder)
        run_installer([str(folder / "bin" / "pip"), "install", "--quiet", f"litellm[proxy]=={_VERSION}"], folder)

    def launch(self, tools: Path, site: Site) -> Launch:
        settings = site.folder / "config.yaml"
        settings.write_text(_SETTINGS)
        program = tools / "litellm" / "bin" / "litellm"
        return Launch(
            [str(program), "--config", str(settings), "--host", "127.0.0.1", "--port", str(site.port)],
            {
                "OPENAI_API_KEY": KEY,
                "OPENAI_API_BASE": site.upstream_url,
                "OPENAI_BASE_URL": site.upstream_url,
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else its start waits for a download
            },
        )

    def first_target(self, site: Site) -> Target:
        return Target(site.port, {"Authorization": f"Bearer {_MASTER_KEY}"})
