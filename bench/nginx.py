"""nginx, twice: as the fake upstream and as the contender to measure up to. Both run from generated settings."""

from __future__ import annotations

import os
from pathlib import Path

_FRAME = """\
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
worker_processes 1;
worker_rlimit_nofile 16384;
{user}events {{ worker_connections 8192; }}
http {{
  access_log off;
  server_tokens off;
  tcp_nodelay on;
  sendfile on;
  keepalive_timeout 1h;
  keepalive_requests 1000000000;
  client_max_body_size 0;
  client_body_temp_path {folder}/client_body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
{body}}}
"""


def command(folder: Path, body: str) -> list[str]:
    """Write the settings into `folder`, with `body` in their http block; returns the command that runs them."""
    settings = folder / "nginx.conf"
    user = "user root;\n" if os.geteuid() == 0 else ""  # else its worker may not read files below /root
    settings.write_text(_FRAME.format(folder=folder, user=user, body=body))
    return ["nginx", "-e", "stderr", "-p", str(folder), "-c", str(settings)]
