"""Requests as sinks get them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from app.hooks.builtin.pen import Pen, Written
from tests.exchanges import answered_exchange


def written(request_id: str = f"req_{1:032x}", filler: str = "") -> Written:
    exchange = answered_exchange()
    exchange.request_id = request_id
    exchange.ended_at = exchange.started_at + 0.5
    exchange.request_json = {"name": filler}
    return Pen(100_000).write(exchange)


class Collector:
    """What a receiver of posts got: path, headers with lower-case names, and body. `statuses` are its next answers."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.got = threading.Semaphore(0)
        self.url = ""


@contextmanager
def collecting() -> Iterator[Collector]:
    """An HTTP server on the loopback interface that takes posts."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.posts.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(collector.statuses.pop(0) if collector.statuses else 200)
            self.send_header("location", f"{collector.url}/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()
            collector.got.release()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
