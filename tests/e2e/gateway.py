"""A gateway of one's own: the real command, in its own process, on a free port."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

MASTER_KEY = "sk-master-key-of-the-tests"
START_SECONDS = 30
ROOT = Path(__file__).parents[2]


@dataclass
class RunningGateway:
    """A gateway that answers. `lines` is what it has printed; `client` sends the master key."""

    url: str
    process: subprocess.Popen[str]
    lines: list[str]
    client: httpx.Client
    _printed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def port(self) -> int:
        """Its TCP port, on 127.0.0.1."""
        return int(self.url.rpartition(":")[2])

    def make_key(self, **fields: Any) -> str:
        """A new virtual key."""
        answer = self.client.post("/key/generate", json=fields)
        assert answer.status_code == 200, answer.text
        key: str = answer.json()["key"]
        return key

    def log(self, request_id: str, seconds: float = 10) -> dict[str, Any]:
        """The log line of a request, as soon as it is there."""

        def found() -> dict[str, Any] | None:
            for line in self.lines:
                if request_id in line and line.startswith("{"):
                    event: dict[str, Any] = json.loads(line)
                    if event["event"] == "request":
                        return event
            return None

        with self._printed:
            assert self._printed.wait_for(found, seconds), f"no log line of {request_id} in {self.lines}"
        event = found()
        assert event is not None
        return event

    def wait_for_line(self, text: str, seconds: float = 10) -> str:
        """The first line with this text, as soon as it is there."""
        with self._printed:
            assert self._printed.wait_for(lambda: any(text in line for line in self.lines), seconds), self.lines
        return next(line for line in self.lines if text in line)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._printed:
                self.lines.append(line.rstrip("\n"))
                self._printed.notify_all()


def clean_environment(**variables: str) -> dict[str, str]:
    """This process's environment without what would configure a gateway."""
    own = ("QUAYMASTER_", "OPENAI_", "AZURE_", "DATABASE_URL", "REDIS_URL")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)} | variables


@contextmanager
def running_gateway(folder: Path, config: str = "", **environment: str) -> Iterator[RunningGateway]:
    """Start a gateway with these settings (YAML) in `folder`, and stop it at the end."""
    path = folder / "gateway.yaml"
    path.write_text(config or "{}")
    variables = {
        "QUAYMASTER_MASTER_KEY": MASTER_KEY,
        "QUAYMASTER_DATA_DIR": str(folder / "data"),
        "PYTHONPATH": str(ROOT),
    }
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "app", "serve", "--config", str(path), "--port", "0"],
        cwd=folder,
        env=clean_environment(**(variables | environment)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process, httpx.Client(headers={"Authorization": f"Bearer {MASTER_KEY}"}, timeout=30) as client:
        gateway = RunningGateway("", process, [], client)
        reader = threading.Thread(target=gateway._read, daemon=True)
        reader.start()
        try:
            gateway.url = gateway.wait_for_line("RUNNING on ", START_SECONDS).rpartition(" ")[2]
            client.base_url = httpx.URL(gateway.url)
            yield gateway
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
            reader.join(5)


def forwarding_to(
    origin: str,
    provider: str = "openai",
    *,
    deployment: dict[str, Any] | None = None,
    others: Sequence[dict[str, Any]] = (),
    **settings: Any,
) -> str:
    """Settings whose first deployment, called main, is that origin. `deployment` changes it, `others` follow it."""
    main = {"name": "main", "provider": provider, "api_base": f"{origin}/v1", "api_key": "sk-upstream-secret"}
    return json.dumps({"deployments": [main | (deployment or {}), *others], **settings})
