from __future__ import annotations

import hashlib
from email.utils import formatdate
from urllib.parse import unquote

import httpx
import pytest

from app.local.content import content_disposition
from tests.local.hosting import Provider

CONTENT = bytes(range(100))


@pytest.fixture
def url(provider: Provider) -> str:
    container_id = provider.container()
    return f"/v1/containers/{container_id}/files/{provider.file(container_id, CONTENT)}/content"


@pytest.fixture
def whole(provider: Provider, url: str) -> httpx.Response:
    return provider.http.get(url)


def test_the_whole_content(provider: Provider, whole: httpx.Response) -> None:
    assert (whole.status_code, whole.content) == (200, CONTENT)
    assert whole.headers["content-type"] == "application/octet-stream"
    assert whole.headers["content-length"] == "100"
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["etag"] == f'"{hashlib.sha256(CONTENT).hexdigest()[:32]}"'
    assert whole.headers["last-modified"] == formatdate(int(provider.clock.now), usegmt=True)
    assert whole.headers["content-disposition"].startswith('attachment; filename="')


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=10-19", (10, 20)),
        ("bytes=90-", (90, 100)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=-5", (95, 100)),
        ("bytes=-1000", (0, 100)),
        ("BYTES=1-2", (1, 3)),
        ("bytes=0-99", (0, 100)),
    ],
)
def test_a_range(provider: Provider, url: str, asked: str, expected: tuple[int, int]) -> None:
    reply = provider.http.get(url, headers={"range": asked})
    start, stop = expected
    assert (reply.status_code, reply.content) == (206, CONTENT[start:stop])
    assert reply.headers["content-range"] == f"bytes {start}-{stop - 1}/100"
    assert reply.headers["content-length"] == str(stop - start)


@pytest.mark.parametrize("asked", ["bytes=100-", "bytes=1000-2000", "bytes=-0"])
def test_a_range_outside(provider: Provider, url: str, asked: str) -> None:
    reply = provider.http.get(url, headers={"range": asked})
    assert (reply.status_code, reply.headers["content-range"]) == (416, "bytes */100")
    assert reply.json()["error"]["message"]


@pytest.mark.parametrize(
    "asked", ["bytes=5-4", "bytes=-", "bytes=0-1,5-6", "lines=1-2", "bytes=a-b", "5-6", "bytes=" + "9" * 5000 + "-"]
)
def test_a_range_that_means_nothing_is_ignored(provider: Provider, url: str, asked: str) -> None:
    reply = provider.http.get(url, headers={"range": asked})
    assert (reply.status_code, reply.content) == (200, CONTENT)


def test_a_range_of_an_empty_file_is_outside(provider: Provider) -> None:
    container_id = provider.container()
    url = f"/v1/containers/{container_id}/files/{provider.file(container_id, b'')}/content"
    reply = provider.http.get(url, headers={"range": "bytes=0-"})
    assert (reply.status_code, reply.headers["content-range"]) == (416, "bytes */0")


@pytest.mark.parametrize("condition", ["etag", "last-modified"])
def test_a_range_whose_condition_holds(provider: Provider, url: str, whole: httpx.Response, condition: str) -> None:
    headers = {"range": "bytes=0-9", "if-range": whole.headers[condition]}
    assert provider.http.get(url, headers=headers).status_code == 206


@pytest.mark.parametrize("condition", ['"other"', "Thu, 01 Jan 1970 00:00:00 GMT", "W/{etag}"])
def test_a_range_whose_condition_does_not_hold(
    provider: Provider, url: str, whole: httpx.Response, condition: str
) -> None:
    headers = {"range": "bytes=0-9", "if-range": condition.format(etag=whole.headers["etag"])}
    reply = provider.http.get(url, headers=headers)
    assert (reply.status_code, reply.content) == (200, CONTENT)


@pytest.mark.parametrize("tags", ["{etag}", "W/{etag}", '"other", {etag}', "*"])
def test_nothing_is_sent_that_the_client_has(provider: Provider, url: str, whole: httpx.Response, tags: str) -> None:
    headers = {"if-none-match": tags.format(etag=whole.headers["etag"]), "range": "bytes=0-9"}
    reply = provider.http.get(url, headers=headers)
    assert (reply.status_code, reply.content) == (304, b"")
    assert reply.headers["etag"] == whole.headers["etag"]


def test_everything_is_sent_that_the_client_does_not_have(provider: Provider, url: str) -> None:
    reply = provider.http.get(url, headers={"if-none-match": '"other"'})
    assert (reply.status_code, reply.content) == (200, CONTENT)


def test_equal_bytes_have_equal_tags(provider: Provider, whole: httpx.Response) -> None:
    container_id = provider.container()
    same, other = provider.file(container_id, CONTENT), provider.file(container_id, CONTENT[:-1])
    tags = [
        provider.http.get(f"/v1/containers/{container_id}/files/{file_id}/content").headers["etag"]
        for file_id in (same, other)
    ]
    assert tags[0] == whole.headers["etag"] != tags[1]


@pytest.mark.parametrize(
    ("filename", "plain"),
    [
        ("report.csv", "report.csv"),
        ("naïve ☃.txt", "na_ve _.txt"),
        ('a"b\\c.txt', "a_b_c.txt"),
        ("a\r\nset-cookie: x", "a__set-cookie: x"),
    ],
)
def test_the_name_of_a_download(filename: str, plain: str) -> None:
    header = content_disposition(filename).decode("ascii")
    before, _, extended = header.partition("; filename*=UTF-8''")
    assert before == f'attachment; filename="{plain}"'
    assert unquote(extended) == ("" if plain == filename else filename)


def test_a_download_of_many_pieces(provider: Provider) -> None:
    container_id = provider.container()
    content = bytes(range(251)) * 10_000
    url = f"/v1/containers/{container_id}/files/{provider.file(container_id, content)}/content"
    assert provider.http.get(url).content == content
    assert provider.http.get(url, headers={"range": "bytes=600000-1900000"}).content == content[600_000:1_900_001]


def test_a_blob_that_is_cut_short_breaks_the_connection(provider: Provider) -> None:
    container_id = provider.container()
    before = set(provider.blobs)
    file_id = provider.file(container_id, b"x" * 2_000_000)
    (blob,) = set(provider.blobs) - before
    (provider.data_dir / "blobs" / blob).write_bytes(b"x" * 1_000_000)
    with pytest.raises(httpx.RemoteProtocolError):
        provider.http.get(f"/v1/containers/{container_id}/files/{file_id}/content")


def test_a_blob_that_is_gone_is_a_404(provider: Provider) -> None:
    container_id = provider.container()
    before = set(provider.blobs)
    file_id = provider.file(container_id)
    (blob,) = set(provider.blobs) - before
    (provider.data_dir / "blobs" / blob).unlink()
    assert provider.http.get(f"/v1/containers/{container_id}/files/{file_id}/content").status_code == 404
