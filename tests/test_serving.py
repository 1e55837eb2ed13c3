"""What `run` does to its process."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.gateway import running_gateway

PLUGIN = """
import gc
from app.hooks.spec import Hooks

class Watch(Hooks):
    def startup(self):
        print("starting", gc.isenabled(), flush=True)

    def request(self, exchange):
        print("serving", gc.isenabled(), gc.get_freeze_count() > 50_000, flush=True)
"""


def test_garbage_is_collected_from_when_it_serves_and_start_up_is_never_looked_through(tmp_path: Path) -> None:
    (tmp_path / "watch.py").write_text(PLUGIN)
    with running_gateway(tmp_path, json.dumps({"hooks": {"plugins": [{"use": "watch:Watch"}]}})) as gateway:
        gateway.client.get("/v1/containers")
        assert gateway.wait_for_line("starting") == "starting False"
        assert gateway.wait_for_line("serving") == "serving True True"
