"""wrk: many requests over a fixed number of connections, and what it says of them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Refused
from bench.program import pinned

_SCRIPT = Path(__file__).with_name("wrk_report.lua")
_MARK = "REPORT "


@dataclass(frozen=True, slots=True)
class Load:
    """What one run came to."""

    requests: int
    seconds: float
    p50_us: float
    p99_us: float

    @property
    def requests_per_second(self) -> float:
        return self.requests / self.seconds


def run(
    url: str, headers: Mapping[str, str], *, connections: int, seconds: float, core: int, body: str | None = None
) -> Load:
    """GET `url`, or POST `body` to it, over and over: each connection as soon as its answer is here. Raises Refused."""
    whole_seconds = max(1, round(seconds))  # wrk knows no others
    options = ["--threads", "1", "--connections", str(connections), "--duration", f"{whole_seconds}s"]
    for name, value in headers.items():
        options += ["--header", f"{name}: {value}"]
    script = ["--script", str(_SCRIPT), url] + (["--", body] if body is not None else [])
    argv = pinned(core, ["wrk", *options, "--timeout", "30s", *script])
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 45, check=False)
    except subprocess.TimeoutExpired:
        raise Refused("wrk did not end") from None
    if done.returncode != 0:
        raise Refused(f"wrk ended with exit code {done.returncode}: {done.stderr.strip()[-200:]}")
    return parse(done.stdout)


def parse(output: str) -> Load:
    """What wrk_report.lua wrote. Raises Refused where any request failed or none was answered."""
    line = next((line for line in output.splitlines() if line.startswith(_MARK)), None)
    if line is None:
        raise Refused("wrk gave no report")
    report = json.loads(line.removeprefix(_MARK))
    failed = {kind: count for kind, count in report["errors"].items() if count}
    if failed:
        kinds = ", ".join(f"{count} {kind}" for kind, count in failed.items())
        raise Refused(f"of {report['requests']} requests failed: {kinds}")
    if not report["requests"]:
        raise Refused("no request was answered")
    return Load(report["requests"], report["duration_us"] / 1e6, report["p50_us"], report["p99_us"])
