"""deploy/quaymaster.service: systemd itself checks it where it is installed; the rest is read from the file."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.config.settings import ServerSettings
from tests.deploy.dockerfile import ROOT

UNIT = ROOT / "deploy" / "quaymaster.service"
CLOSING_SECONDS = 15
TOO_OLD = 72
DENY_WRITE_EXECUTE = f"""
import ctypes, os, sys
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0):
    sys.exit({TOO_OLD})
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def unit() -> dict[str, list[str]]:
    """Every directive, with all its values; names are unique across the sections."""
    directives: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if match := re.fullmatch(r"(\w+)=(.*)", line):
            directives.setdefault(match[1], []).append(match[2])
        else:
            assert not line or line[0] in "#[", line
    return directives


def environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for line in unit()["Environment"] for pair in shlex.split(line))


def test_it_starts_the_installed_gateway_with_its_own_folders() -> None:
    assert unit()["ExecStart"] == ["/opt/quaymaster/.venv/bin/python -m app serve"]
    assert unit()["EnvironmentFile"] == ["/etc/quaymaster/env"]
    state = f"/var/lib/{unit()['StateDirectory'][0]}"
    assert environment()["QUAYMASTER_DATA_DIR"] == state == unit()["WorkingDirectory"][0]
    assert environment()["PYTHONSAFEPATH"] == "1", "or it would import code from a folder that it can write"


def test_a_stop_waits_for_the_drain() -> None:
    assert float(unit()["TimeoutStopSec"][0]) >= ServerSettings().drain_seconds + CLOSING_SECONDS


def test_it_gives_the_gateway_no_rights() -> None:
    directives = unit()
    for name in ("DynamicUser", "NoNewPrivileges", "PrivateTmp", "PrivateDevices", "MemoryDenyWriteExecute"):
        assert directives[name] == ["yes"], name
    assert directives["ProtectSystem"] == ["strict"]
    assert directives["CapabilityBoundingSet"] == [""]
    assert directives["SystemCallFilter"][0] == "@system-service"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_it_and_finds_little_exposed(tmp_path: Path) -> None:
    installed = tmp_path / UNIT.name
    installed.write_text(UNIT.read_text().replace("/opt/quaymaster/.venv/bin/python", sys.executable))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", installed], check=False, capture_output=True, text=True, timeout=30
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    checked = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=15", installed],
        check=False,
        capture_output=True,
        timeout=30,
    )
    assert checked.returncode == 0, checked.stdout.decode()


def test_it_runs_where_no_memory_is_both_written_and_executed(tmp_path: Path) -> None:
    """What MemoryDenyWriteExecute does, by the kernel's own switch."""
    gateway = subprocess.Popen(
        [sys.executable, "-c", DENY_WRITE_EXECUTE, "-m", "app", "serve", "--port", "0"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "QUAYMASTER_DATA_DIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert gateway.stdout is not None
        said = next((line for line in gateway.stdout if line.startswith("RUNNING on")), None)
        gateway.terminate()
        gateway.communicate(timeout=30)
    finally:
        gateway.kill()
        gateway.communicate()
    if gateway.returncode == TOO_OLD:
        pytest.skip("this kernel has no such switch")
    assert said
    assert gateway.returncode == 0
