"""curl: one transfer, from first byte to last."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from bench.figures import Refused
from bench.program import pinned


@dataclass(frozen=True, slots=True)
class Transfer:
    """One download that came whole."""

    size_bytes: int
    first_byte_seconds: float
    seconds: float

    @property
    def bytes_per_second(self) -> float:
        return self.size_bytes / self.seconds


def download(
    url: str, headers: Mapping[str, str], *, expected_bytes: int, within_seconds: float, core: int
) -> Transfer:
    """Download `url` and throw it away. Raises Refused unless a 200 with exactly `expected_bytes` came in time."""
    options = ["--silent", "--show-error", "--output", "/dev/null", "--max-time", str(within_seconds)]
    for name, value in headers.items():
        options += ["--header", f"{name}: {value}"]
    report = "%{http_code} %{size_download} %{time_starttransfer} %{time_total}"
    argv = pinned(core, ["curl", *options, "--write-out", report, url])
    done = subprocess.run(argv, capture_output=True, text=True, timeout=within_seconds + 10, check=False)
    if done.returncode != 0:
        raise Refused(done.stderr.strip()[-200:] or f"curl ended with exit code {done.returncode}")
    return parse(done.stdout, expected_bytes)


def parse(report: str, expected_bytes: int) -> Transfer:
    """What curl wrote of itself. Raises Refused where it is not of a whole download."""
    status, size, first_byte, total = report.split()
    if status != "200":
        raise Refused(f"the download was answered with {status}")
    if int(size) != expected_bytes:
        raise Refused(f"{size} of {expected_bytes} bytes came")
    return Transfer(int(size), float(first_byte), float(total))
