from __future__ import annotations

import re
from pathlib import Path

import httpx
import psutil
import pytest

from tests.local.hosting import Provider, connect, eventually, hosted, own_process, read_reply

MIB = 1024 * 1024
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="big.bin"\r\n\r\n'


def begin_upload(provider: Provider, container_id: str, framing: bytes = b"Content-Length: 99999999") -> bytes:
    """The bytes of an upload that writes two pieces to disk and is still far from its end."""
    path = f"/v1/containers/{container_id}/files".encode()
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n%s\r\n\r\n"
    return head % (path, framing) + HEAD + b"x" * 2 * MIB


def test_a_client_that_goes_away_leaves_nothing(tmp_path: Path) -> None:
    with hosted(tmp_path) as provider:
        container_id = provider.container()
        with provider.connect() as connection:
            connection.sendall(begin_upload(provider, container_id))
            eventually(lambda: len(provider.blobs) == 1)
        eventually(lambda: not provider.blobs)
        assert list(provider.sdk.containers.files.list(container_id)) == []


def test_a_body_that_ends_too_early_leaves_nothing(provider: Provider) -> None:
    container_id = provider.container()
    before = provider.blobs
    body = HEAD + b"x" * 2 * MIB
    headers = {"content-type": "multipart/form-data; boundary=b"}
    reply = provider.http.post(f"/v1/containers/{container_id}/files", content=body, headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_multipart")
    assert provider.blobs == before
    assert list(provider.sdk.containers.files.list(container_id)) == []


def test_a_process_killed_in_an_upload_leaves_nothing(tmp_path: Path) -> None:
    with own_process(tmp_path) as running:
        container_id = running.provider.container()
        whole = running.provider.file(container_id, b"whole")
        with connect(running.provider.url) as connection:
            connection.sendall(begin_upload(running.provider, container_id))
            eventually(lambda: _largest_blob_bytes(running.provider) >= MIB)
            running.kill()
        assert len(running.provider.blobs) == 2
    with own_process(tmp_path) as running:
        sdk = running.provider.sdk
        assert [file.id for file in sdk.containers.files.list(container_id)] == [whole]
        assert sdk.containers.files.content.retrieve(whole, container_id=container_id).read() == b"whole"
        assert len(running.provider.blobs) == 1


def _largest_blob_bytes(provider: Provider) -> int:
    return max(path.stat().st_size for path in (provider.data_dir / "blobs").iterdir())


def test_a_container_that_dies_in_an_upload_takes_it_along(tmp_path: Path) -> None:
    with hosted(tmp_path) as provider:
        container_id = provider.container()
        upload = begin_upload(provider, container_id, b"Transfer-Encoding: chunked")
        head, _, body = upload.partition(b"\r\n\r\n")
        with provider.connect() as connection:
            connection.sendall(head + b"\r\n\r\n" + b"%x\r\n%s\r\n" % (len(body), body))
            eventually(lambda: len(provider.blobs) == 1)
            provider.sdk.containers.delete(container_id)
            connection.sendall(b"9\r\n\r\n--b--\r\n\r\n0\r\n\r\n")
            status, _, reply = read_reply(connection)
        assert (status, b"not found" in reply) == (404, True)
        assert provider.blobs == []


def test_a_file_past_the_limit_is_refused_on_the_way(tmp_path: Path) -> None:
    with hosted(tmp_path, max_file_bytes=MIB) as provider:
        container_id = provider.container()
        assert provider.file(container_id, b"x" * MIB)
        upload = begin_upload(provider, container_id, b"Transfer-Encoding: chunked")
        head, _, body = upload.partition(b"\r\n\r\n")
        with provider.connect() as connection:
            connection.sendall(head + b"\r\n\r\n" + b"%x\r\n%s\r\n" % (len(body), body))
            status, _, reply = read_reply(connection)
        assert (status, b"request_too_large" in reply) == (413, True)
        assert len(provider.blobs) == 1


@pytest.mark.parametrize("chunked", [False, True])
def test_a_reference_past_the_limit_is_refused(provider: Provider, chunked: bool) -> None:
    url = f"/v1/containers/{provider.container()}/files"
    content = b'{"file_id": "%s"}' % (b"f" * 70_000)
    reply = provider.http.post(url, content=iter([content]) if chunked else content)
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    ("filename", "kept"),
    [
        ("plain.txt", "plain.txt"),
        ("naïve ☃ 𝄞.txt", "naïve ☃ 𝄞.txt"),
        ("../../../etc/passwd", "passwd"),
        ("..", ".."),
        ("a/b\\c.txt", "c.txt"),
        ("dir/", "upload"),
        ("x" * 1000, "x" * 1000),
    ],
)
def test_a_name_never_shapes_a_path_on_disk(provider: Provider, filename: str, kept: str) -> None:
    container_id = provider.container()
    file = provider.sdk.containers.files.create(container_id, file=(filename, b"x"))
    assert re.fullmatch(r"/mnt/data/[0-9a-f]{32}-" + re.escape(kept), file.path)
    everything = {path.name for path in provider.data_dir.rglob("*") if path.is_file()}
    allowed = {"lock", "records.db", "records.db-wal", "records.db-shm"}
    assert all(re.fullmatch(r"[0-9a-f]{32}", name) for name in everything - allowed)


def test_a_field_may_follow_the_file(provider: Provider) -> None:
    body = HEAD + b'x\r\n--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b--\r\n'
    headers = {"content-type": "multipart/form-data; boundary=b"}
    reply = provider.http.post("/v1/files", content=body, headers=headers)
    assert (reply.status_code, reply.json()["purpose"]) == (200, "batch")


def test_200_mib_each_way_in_little_memory(tmp_path: Path) -> None:
    piece = bytes(range(256)) * 4096
    with own_process(tmp_path) as running:
        provider = running.provider
        container_id = provider.container()
        warm = provider.file(container_id, piece * 4)
        url = f"/v1/containers/{container_id}/files"
        provider.http.get(f"{url}/{warm}/content")
        before_bytes = psutil.Process(running.process.pid).memory_info().rss

        def body(pieces: int) -> object:
            yield HEAD
            for _ in range(pieces):
                yield piece
            yield b"\r\n--b--\r\n"

        headers = {"content-type": "multipart/form-data; boundary=b"}
        file = provider.http.post(url, content=body(200), headers=headers, timeout=60).json()  # type: ignore[arg-type]
        assert file["bytes"] == 200 * MIB
        with provider.http.stream("GET", f"{url}/{file['id']}/content") as reply:
            assert sum(len(received) for received in reply.iter_raw()) == 200 * MIB
        assert _peak_bytes(running.process.pid) - before_bytes < 32 * MIB


def _peak_bytes(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def test_a_download_stops_when_the_client_goes_away(tmp_path: Path) -> None:
    with own_process(tmp_path) as running:
        provider = running.provider
        container_id = provider.container()
        file_id = provider.file(container_id, b"x" * 64 * MIB)
        read_before = _bytes_read(running.process.pid)
        url = f"{provider.url}/containers/{container_id}/files/{file_id}/content"
        with httpx.Client() as client, client.stream("GET", url) as reply:
            next(reply.iter_raw())
        eventually(lambda: not _has_open(running.process.pid, provider.data_dir / "blobs"))
        assert _bytes_read(running.process.pid) - read_before < 32 * MIB


def _bytes_read(pid: int) -> int:
    found = re.search(r"rchar: (\d+)", Path(f"/proc/{pid}/io").read_text())
    assert found is not None
    return int(found[1])


def _has_open(pid: int, folder: Path) -> bool:
    return any(folder in descriptor.resolve().parents for descriptor in Path(f"/proc/{pid}/fd").iterdir())
