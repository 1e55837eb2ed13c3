"""curl: transfers, from first byte to last."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Refused
from bench.program import pinned

_MARK = "\nREPORT "


@dataclass(frozen=True, slots=True)
class Transfer:
    """One transfer that was whole."""

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
    report = "%{http_code} %{size_download} %{time_starttransfer} %{time_total}"
    options = ["--output", "/dev/null", "--write-out", report, url]
    return parse(_run(options, headers, within_seconds, core), expected_bytes)


def download_many(
    url: str, headers: Mapping[str, str], *, times: int, expected_bytes: int, within_seconds: float, core: int
) -> list[Transfer]:
    """Download `url` so often at once, each over a connection of its own. Raises Refused unless all are whole."""
    report = "%{http_code} %{size_download} %{time_starttransfer} %{time_total}\\n"
    options = ["--parallel", "--parallel-immediate", "--parallel-max", str(times), "--write-out", report]
    options += ["--output", "/dev/null", url] * times
    lines = _run(options, headers, within_seconds, core).splitlines()
    if len(lines) != times:
        raise Refused(f"{len(lines)} of {times} downloads came to an end")
    return [parse(line, expected_bytes) for line in lines]


def upload(
    url: str, headers: Mapping[str, str], file: Path, *, expected_bytes: int, within_seconds: float, core: int
) -> Transfer:
    """Upload `file` as a form. Raises Refused unless a 2xx came in time that says that the upstream read all of it."""
    report = f"{_MARK}%{{http_code}} %{{size_upload}} %{{time_starttransfer}} %{{time_total}}"
    options = ["--form", f"file=@{file};filename=zeros.bin", "--header", "Expect:", "--write-out", report, url]
    return parse_upload(_run(options, headers, within_seconds, core), expected_bytes)


def _run(options: Sequence[str], headers: Mapping[str, str], within_seconds: float, core: int) -> str:
    argv = ["curl", "--silent", "--show-error", "--max-time", str(within_seconds)]
    for name, value in headers.items():
        argv += ["--header", f"{name}: {value}"]
    try:
        done = subprocess.run(
            pinned(core, [*argv, *options]), capture_output=True, text=True, timeout=within_seconds + 10, check=False
        )
    except subprocess.TimeoutExpired:
        raise Refused("curl did not end") from None
    if done.returncode != 0:
        raise Refused(done.stderr.strip()[-200:] or f"curl ended with exit code {done.returncode}")
    return done.stdout


def parse(report: str, expected_bytes: int) -> Transfer:
    """What curl wrote of itself. Raises Refused where it is not of a whole download."""
    status, size, first_byte, total = report.split()
    if status != "200":
        raise Refused(f"the download was answered with {status}")
    if int(size) != expected_bytes:
        raise Refused(f"{size} of {expected_bytes} bytes came")
    return Transfer(int(size), float(first_byte), float(total))


def parse_upload(output: str, expected_bytes: int) -> Transfer:
    """The answer, and what curl wrote of itself. Raises Refused where the file did not arrive whole."""
    body, _, report = output.rpartition(_MARK)
    status, _, first_byte, total = report.split()
    if not status.startswith("2"):
        raise Refused(f"the upload was answered with {status} {body[:200]}")
    try:
        arrived = int(json.loads(body)["bytes"])
    except (ValueError, LookupError, TypeError):
        raise Refused(f"the upload's answer is not a file: {body[:200]}") from None
    if arrived < expected_bytes:  # the form around the file counts too
        raise Refused(f"{arrived} of {expected_bytes} bytes arrived")
    return Transfer(expected_bytes, float(first_byte), float(total))
