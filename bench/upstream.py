"""The fake upstream: nginx. It makes one container, whoever asks, and every file has the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import nginx
from bench.program import Program, free_port

KEY = "sk-upstream"
"""What deployments send. The upstream checks nothing: it is here to be fast."""
CONTAINER_ID = "cntr_0123456789abcdef0123456789abcdef0123456789abcdef"
CONTAINER_PATH = f"/v1/containers/{CONTAINER_ID}"
CONTENT_PATH = f"{CONTAINER_PATH}/files/cfile_0123456789abcdef0123456789abcdef/content"

CONTAINER = json.dumps(
    {
        "id": CONTAINER_ID,
        "object": "container",
        "created_at": 1780000000,
        "status": "running",
        "expires_after": {"anchor": "last_active_at", "minutes": 20},
        "last_active_at": 1780000000,
        "memory_limit": "1g",
        "name": "bench",
        "network_policy": {"type": "disabled"},
    }
)
"""A container as OpenAI shows it: without the `expires_at` that a gateway may add."""

_BODY = """\
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    root {folder};
    location = /v1/containers {{ default_type application/json; return 200 '{container}'; }}
    location ~ ^/v1/containers/[^/]+$ {{ default_type application/json; return 200 '{container}'; }}
    location ~ ^/v1/containers/[^/]+/files/[^/]+/content$ {{
      default_type application/octet-stream;
      try_files /content =404;
    }}
  }}
"""


@contextmanager
def running(folder: Path, *, core: int, content_bytes: int) -> Iterator[tuple[Program, int]]:
    """The fake upstream, ready, and its port. Its file is `content_bytes` of zeros, held in the page cache."""
    folder.mkdir()
    _make_content(folder / "content", content_bytes)
    port = free_port()
    argv = nginx.command(folder, _BODY.format(port=port, folder=folder, container=CONTAINER))
    with Program(argv, core=core, folder=folder) as program:
        program.wait_until_ready(port, CONTAINER_PATH, {}, within_seconds=10)
        yield program, port


def _make_content(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)  # sparse: it takes no disk
    with path.open("rb") as file:
        while file.read(2**20):
            pass
