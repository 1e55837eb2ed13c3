from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bench import sink
from bench.program import free_port
from bench.upstream import CONTAINER_ID, ROOT, SILENT_FILE, content_path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux throws away what it has not read")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    chosen = free_port()
    with subprocess.Popen([sys.executable, "-m", "bench.sink", str(chosen)], cwd=ROOT) as process:
        while True:
            try:
                socket.create_connection(("127.0.0.1", chosen)).close()
            except ConnectionRefusedError:
                assert process.poll() is None
            else:
                break
        yield chosen
        process.kill()


@pytest.fixture
def connection(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    yield connection
    connection.close()


def asked(connection: http.client.HTTPConnection, method: str, path: str, **rest: object) -> dict[str, object]:
    connection.request(method, path, **rest)  # type: ignore[arg-type]
    answer = connection.getresponse()
    assert answer.status == 200
    said: dict[str, object] = json.loads(answer.read())
    return said


def test_it_says_how_many_bytes_it_has_read_and_goes_on(connection: http.client.HTTPConnection) -> None:
    files = f"/v1/containers/{CONTAINER_ID}/files"
    for size in (0, 1, 3 * 2**20 + 5, 7):
        file = asked(connection, "POST", files, body=bytes(size))
        assert (file["bytes"], file["container_id"]) == (size, CONTAINER_ID)


def test_it_reads_chunks_to_the_last_one(connection: http.client.HTTPConnection) -> None:
    pieces = iter([b"x" * 70_000, b"y" * 5])
    file = asked(connection, "POST", "/v1/containers/c/files", body=pieces, encode_chunked=True)
    assert file["bytes"] == 70_005 + len("11170\r\n\r\n5\r\n\r\n0\r\n\r\n")
    assert asked(connection, "GET", "/v1/containers/c")["id"] == "c"


def test_the_end_of_a_chunked_body_may_come_in_pieces() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for byte in b"bc\r\n0\r\n\r\n":
            theirs.sendall(bytes([byte]))
        assert sink.read_chunked(ours, b"3\r\na") == len(b"3\r\nabc\r\n0\r\n\r\n")


def test_every_container_it_makes_is_another_one(connection: http.client.HTTPConnection) -> None:
    first, second = (asked(connection, "POST", "/v1/containers", body=b"{}")["id"] for _ in range(2))
    assert first != second
    assert len(str(first)) == len(CONTAINER_ID)


def test_a_silent_file_is_never_answered(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"GET {content_path('c', SILENT_FILE)} HTTP/1.1\r\n\r\n".encode())
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)
