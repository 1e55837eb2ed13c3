"""nginx as a gateway: one key known by heart, nothing else."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from bench import nginx
from bench.contenders.contender import Contender, Launch, Site, Target
from bench.upstream import KEY

_CLIENT_KEY = "sk-bench-client"
_BODY = """\
  map $http_authorization $known {{ default 0; "Bearer {client_key}" 1; }}
  upstream fake {{ server 127.0.0.1:{upstream_port}; keepalive 256; keepalive_requests 1000000000; }}
  upstream sink {{ server 127.0.0.1:{sink_port}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    if ($known = 0) {{ return 401; }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Authorization "Bearer {upstream_key}";
    proxy_buffering off;
    proxy_request_buffering off;
    client_body_buffer_size 128k;
    proxy_buffers 8 64k;
    proxy_buffer_size 64k;
    proxy_busy_buffers_size 128k;
    location /v1/ {{ proxy_pass http://fake; }}
    location ~ /files$ {{ proxy_pass http://sink; }}
  }}
"""


class Nginx(Contender):
    """Debian's nginx with one worker."""

    title = "nginx"
    note = (
        "one key, compared by a map; keep-alive to the upstream; one worker; no access log, "
        "no other keys, rights, costs or metrics"
    )

    def version(self, tools: Path) -> str:
        found = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
        match = re.search(r"nginx/([\d.]+)", found)
        return match[1] if match else ""

    def launch(self, tools: Path, site: Site) -> Launch:
        body = _BODY.format(
            port=site.port,
            upstream_port=site.upstream_port,
            sink_port=site.sink_port,
            client_key=_CLIENT_KEY,
            upstream_key=KEY,
        )
        return Launch(nginx.command(site.folder, body))

    def first_target(self, site: Site) -> Target:
        return Target(site.port, {"Authorization": f"Bearer {_CLIENT_KEY}"})
