from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import psutil
import pytest

from bench.program import NotReady, Program, free_port, kibibytes

CORE = min(os.sched_getaffinity(0)) if sys.platform == "linux" else 0
pytestmark = pytest.mark.skipif(
    shutil.which("taskset") is None or shutil.which("setpriv") is None, reason="util-linux is not installed"
)

SERVER = """
import http.server, os, subprocess, sys
child = subprocess.Popen(["sleep", "600"])
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{child.pid} {sorted(os.sched_getaffinity(0))} {os.environ.get('OPENAI_API_KEY')}".encode()
        self.send_response(200 if self.headers["x"] == "y" else 401)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
print("listening", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


def is_over(process: psutil.Process) -> bool:
    """Whether it has ended, be it that nobody has asked yet how."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_program_is_pinned_watched_and_stopped_with_its_descendants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "not theirs")
    port = free_port()
    others = psutil.Process().children(recursive=True)
    with Program([sys.executable, "-c", SERVER, str(port)], core=CORE, folder=tmp_path) as program:
        assert 0 < program.wait_until_ready(port, "/", {"x": "y"}, within_seconds=20) < 20
        family = [each for each in psutil.Process().children(recursive=True) if each not in others]
        assert len(family) >= 2
        assert program.cpu_seconds() > 0
        program.forget_peak()
        assert program.peak_rss_bytes() >= program.rss_bytes() * 0.9 > 0
        with pytest.raises(NotReady, match=rf"HTTP 401 \d+ \[{CORE}\] None: listening"):
            program.wait_until_ready(port, "/", {}, within_seconds=0.2)
    deadline = time.monotonic() + 2
    while alive := [process for process in family if not is_over(process)]:
        assert time.monotonic() < deadline, alive


def test_a_program_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    argv = ["sh", "-c", "echo first; echo second >&2; exit 3"]
    with (
        Program(argv, core=CORE, folder=tmp_path) as program,
        pytest.raises(NotReady, match=r"exit code 3: first \| second"),
    ):
        program.wait_until_ready(free_port(), "/", {}, within_seconds=20)


def test_a_field_of_a_process_status_is_found_by_its_whole_name() -> None:
    assert kibibytes("VmHWM", "Name:\tx\nVmHWMX:\t 1 kB\nVmHWM:\t    5124 kB\nVmRSS:\t 9 kB\n") == 5124
    with pytest.raises(ValueError, match="no VmHWM"):
        kibibytes("VmHWM", "Name:\tx\n")
