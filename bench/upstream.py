"""The fake upstream: nginx. It makes containers as fast as they are asked for, and serves files of zeros.

What nginx cannot do by itself, which is to read an upload and to leave a question without an answer, it hands to
`bench.sink`, a server of our own that can also be asked directly.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import nginx
from bench.program import Program, free_port

ROOT: Final = Path(__file__).resolve().parents[1]
KEY: Final = "sk-upstream"
"""What deployments send. The upstream checks nothing: it is here to be fast."""
CONTAINERS_PATH: Final = "/v1/containers"
CONTAINER_ID: Final = "cntr_0123456789abcdef0123456789abcdef0123456789abcdef"
"""One that is there without having been made: every well-formed id is."""
BIG_FILE: Final = "cfile_0123456789abcdef0123456789abcdef"
SMALL_FILE: Final = "cfile_00000000000000000000000000000001"
SILENT_FILE: Final = "cfile_ffffffffffffffffffffffffffffffff"
"""Who asks for its content never hears anything."""

_CONTAINER = (
    '{{"id": "{id}", "object": "container", "created_at": {now}, "status": "running", '
    '"expires_after": {{"anchor": "last_active_at", "minutes": 20}}, "last_active_at": {now}, '
    '"memory_limit": "1g", "name": "bench", "network_policy": {{"type": "disabled"}}}}'
)

_BODY = """\
  map $msec $now {{ "~^(?<seconds>[0-9]+)" $seconds; }}
  upstream sink {{ server 127.0.0.1:{sink_port}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    root {folder}/files;
    default_type application/json;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_request_buffering off;
    proxy_read_timeout 1h;
    location = /v1/containers {{
      if ($request_method != POST) {{ return 501; }}
      return 200 '{created}';
    }}
    location ~ "^/v1/containers/(?<id>cntr_[0-9a-f]+)$" {{ return 200 '{retrieved}'; }}
    location ~ "^/v1/containers/[^/]+/files$" {{ proxy_pass http://sink; }}
    location ~ "^/v1/containers/[^/]+/files/{silent}/content$" {{ proxy_pass http://sink; }}
    location ~ "^/v1/containers/[^/]+/files/(?<file>cfile_[0-9a-f]+)/content$" {{
      default_type application/octet-stream;
      try_files /$file =404;
    }}
  }}
"""


@dataclass(frozen=True, slots=True)
class Upstream:
    """It runs. `big_file` lies on this machine, to be uploaded."""

    programs: tuple[Program, ...]
    port: int
    sink_port: int
    big_file: Path


def container(container_id: str, now: str) -> str:
    """A container as OpenAI shows it: without the `expires_at` that a gateway may add. `now` is unix seconds."""
    return _CONTAINER.format(id=container_id, now=now)


def content_path(container_id: str, file_id: str) -> str:
    """Where a file's bytes are asked for."""
    return f"{CONTAINERS_PATH}/{container_id}/files/{file_id}/content"


@contextmanager
def running(folder: Path, *, core: int, big_bytes: int, small_bytes: int) -> Iterator[Upstream]:
    """The fake upstream, ready. Its files are zeros, held in the page cache."""
    port, sink_port = free_port(), free_port()
    files, sink_folder = folder / "files", folder / "sink"
    for each in (folder, files, sink_folder):
        each.mkdir()
    for file_id, size in ((BIG_FILE, big_bytes), (SMALL_FILE, small_bytes)):
        _make_zeros(files / file_id, size)
    body = _BODY.format(
        port=port,
        sink_port=sink_port,
        folder=folder,
        silent=SILENT_FILE,
        # nginx's request id is 32 hexadecimal digits at random; an id has 48.
        created=container("cntr_${request_id}0123456789abcdef", "$now"),
        retrieved=container("$id", "$now"),
    )
    sink = [sys.executable, "-m", "bench.sink", str(sink_port)]
    with (
        Program(sink, core=core, folder=sink_folder, env={"PYTHONPATH": str(ROOT)}) as reader,
        Program(nginx.command(folder, body), core=core, folder=folder) as server,
    ):
        path = f"{CONTAINERS_PATH}/{CONTAINER_ID}"
        for program, at in ((reader, sink_port), (server, port)):
            program.wait_until_ready(at, path, {}, within_seconds=10)
        yield Upstream((server, reader), port, sink_port, files / BIG_FILE)


def _make_zeros(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)  # sparse: it takes no disk
    with path.open("rb") as file:
        while file.read(2**20):
            pass
