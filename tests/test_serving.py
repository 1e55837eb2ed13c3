"""What `run` does to its process."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from app.serving import tell
from tests.e2e.gateway import running_gateway


class Pipe(io.BytesIO):
    """Keeps every write apart."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: Any, /) -> int:
        self.writes.append(bytes(data))
        return super().write(data)


def test_no_log_line_comes_between_a_line_for_the_operator_and_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with PYTHONUNBUFFERED, which the image sets, and where `print` writes twice."""
    pipe = Pipe()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe, write_through=True))
    tell("Quaymaster\nRUNNING on http://127.0.0.1:4000")
    assert pipe.writes == [b"Quaymaster\nRUNNING on http://127.0.0.1:4000\n"]


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
