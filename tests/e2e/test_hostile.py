"""Clients that mean harm, or have lost their way: each gets an answer in OpenAI's shape or a closed connection.

Never a 500, never another upstream path than the one asked for, never more memory than is bounded; and the gateway
serves everybody else as before.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import unquote

import psutil
import pytest

from app.api import protocol
from tests.e2e.gateway import RunningGateway, forwarding_to, running_gateway
from tests.e2e.memory import MemoryWatch
from tests.e2e.raw import AUTHORIZATION, RawConnection, ask, head, raw_connection
from tests.e2e.serving import serving_gateway
from tests.fakes.scripted import ScriptedUpstream, answers, reply

MIB = 1024 * 1024
CONTAINER = "cntr_" + "ab" * 24
CONTAINERS = "/v1/containers"
FILES = f"/v1/containers/{CONTAINER}/files"
JSON = (b"content-type", b"application/json")


def with_body(method: str, target: str, body: bytes, *lines: bytes) -> bytes:
    """A request whose body is as long as it says."""
    return head(method, target, b"Content-Length: %d" % len(body), *lines) + body


def create(body: bytes) -> bytes:
    return with_body("POST", CONTAINERS, body, b"Content-Type: application/json")


def upload(body: bytes) -> bytes:
    return with_body("POST", FILES, body, b"Content-Type: multipart/form-data; boundary=b")


def in_chunks(body: bytes) -> bytes:
    """A create whose body is these chunks, as they are."""
    return head("POST", CONTAINERS, b"Transfer-Encoding: chunked") + body


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """One gateway that has to live through all of this. At the end it has as many files open as at the start."""
    with running_gateway(tmp_path_factory.mktemp("hostile")) as gateway:
        check_alive(gateway)
        process = psutil.Process(gateway.process.pid)
        files_at_start = process.num_fds()
        yield gateway
        check_alive(gateway)
        wait_until(lambda: process.num_fds() <= files_at_start)


def check_alive(gateway: RunningGateway) -> None:
    """It serves as ever, and nothing it logged is worse than a warning."""
    assert gateway.client.get("/health/liveliness").status_code == 200
    made = gateway.client.post(CONTAINERS, json={"name": "still here"})
    assert made.status_code == 200
    assert gateway.client.delete(f"/v1/containers/{made.json()['id']}").status_code == 200
    assert not [line for line in gateway.lines if '"level":"error"' in line or '"level":"critical"' in line]


def wait_until(condition: Callable[[], bool], seconds: float = 15) -> None:
    """For what cannot be awaited, as it happens in another process."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@asynccontextmanager
async def harmless(gateway: RunningGateway, max_grown_mib: int) -> AsyncIterator[None]:
    """What happens here takes no more memory than that, leaves no connection open and the gateway alive."""
    process = psutil.Process(gateway.process.pid)

    def clients() -> int:
        found = process.net_connections("tcp4")
        return sum(c.laddr.port == gateway.port and c.status != psutil.CONN_LISTEN for c in found)

    gateway.client.get("/health/liveliness")
    before = clients()
    async with MemoryWatch(gateway.process.pid) as memory:
        yield
    wait_until(lambda: clients() <= before)
    check_alive(gateway)
    assert memory.grown_bytes < max_grown_mib * MIB


# Ids that would be paths.

TARGETS = [
    "/v1/containers/..",
    "/v1/containers/.",
    "/v1/containers/%2e%2e",
    "/v1/containers/%2E.",
    "/v1/containers/../models",
    "/v1/containers/x/../../models",
    "/v1/containers/x%2F..%2F..%2Fmodels",
    "/v1/containers/x%2f..",
    "/v1/containers/%2e%2e%2fmodels",
    "/v1/containers/%2Fetc%2Fpasswd",
    "/v1/containers/x%5C..%5Cy",
    "/v1/containers/x\\..\\y",
    "/v1/containers/%252e%252e",
    "/v1/containers/%252e%252e%252fmodels",
    "/v1/containers/%25252e%25252e",
    "/v1/containers/%c0%ae%c0%ae%c0%afmodels",
    "/v1/containers/%ff",
    "/v1/containers/%",
    "/v1/containers/%zz",
    "/v1/containers/%u002e",
    "/v1/containers/..;",
    "/v1/containers/..;/models",
    "/v1/containers/a%00b",
    "/v1/containers/a%0d%0aX-Evil:%201",
    "/v1/containers/a%0aGET%20/v1/models%20HTTP/1.1%0a%0a",
    "/v1/containers/a%20HTTP/1.1",
    "/v1/containers/a%3Fb=c",
    "/v1/containers/a%23b",
    "/v1/containers/a&b=c",
    "/v1/containers/%E2%80%AEa",
    "/v1/containers/%EF%BC%8E%EF%BC%8E",
    "/v1/containers/%61%62",
    "/v1/containers/" + "%41" * 300,
    "/v1/containers//files",
    "/v1/containers/x//files",
    "/v1/containers/x/files/..",
    "/v1/containers/../files/x/content",
    "/v1/containers/x/files/%2e%2e%2f%2e%2e/content",
    "/v1/containers/x/files/y%2fcontent",
    "/v1/containers/x/files/../../../v1/models",
    "/v1/../v1/containers/x",
    "/v1/%63ontainers/x",
    "/v1%2Fcontainers/x",
    "/containers/..%2f..%2fadmin",
    "/containers/x?custom_llm_provider=openai&a=/../..",
    "http://elsewhere.example/v1/containers/..",
    "//elsewhere.example/v1/containers/x",
]
SAFE_TARGET = re.compile(rb"/v1/containers/([^/?#]+)(?:/files(?:/([^/?#]+)(?:/content)?)?)?(?:\?[^#]*)?")


@pytest.mark.parametrize(("method", "suffix"), [("GET", ""), ("DELETE", ""), ("POST", "/files")])
async def test_no_id_leads_anywhere_else(tmp_path: Path, method: str, suffix: str) -> None:
    async with (
        ScriptedUpstream(answers(reply(200, b"{}", JSON))) as upstream,
        serving_gateway(tmp_path, forwarding_to(upstream.origin)) as gateway,
    ):
        for target in TARGETS:
            request = with_body(method, target + suffix, b"{}", b"Content-Type: application/json")
            answer = await ask(gateway.port, request)
            assert answer is not None, target
            assert answer.status in (200, 400, 404, 405), (target, answer)
            if answer.status != 200:
                assert answer.error_code in (None, "invalid_request", "route_not_found", "method_not_allowed")
            assert "x-evil" not in answer.headers
    assert upstream.requests
    for received in upstream.requests:
        safe = SAFE_TARGET.fullmatch(received.target)
        assert safe, received.target
        for segment in safe.groups():
            once = unquote(segment or b"x")
            assert once not in (".", "..")
            assert not {".", ".."} & set(re.split(r"[/\\]", once))
            assert once.isprintable()


# What is not HTTP, or only nearly.

TWO_BYTES = b"2\r\n{}\r\n"
REFUSED = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)),
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a version to come": b"GET /v1/containers HTTP/9.9\r\n\r\n",
    "a method in small letters": head("get", CONTAINERS),
    "an unknown method": head("BREW", CONTAINERS),
    "CONNECT": head("CONNECT", "example.com:443"),
    "no path": head("GET", "http://example.com"),
    "a relative path": head("GET", "v1/containers"),
    "another scheme": head("GET", "file:///etc/passwd"),
    "a blank in the path": head("GET", "/v1/containers/a b"),
    "letters beyond ASCII in the path": head("GET", "/v1/containers/é"),
    "a line without a colon": head("GET", CONTAINERS, b"Nothing"),
    "a blank before the colon": head("GET", CONTAINERS, b"Authorization : Bearer x"),
    "a header without a name": head("GET", CONTAINERS, b": x"),
    "a folded header": head("GET", CONTAINERS, b"X: a", b" b"),
    "NUL in a value": head("GET", CONTAINERS, b"X: a\0b"),
    "NUL in a name": head("GET", CONTAINERS, b"X\0: a"),
    "a bare CR": head("GET", CONTAINERS, b"X: a\rb"),
    "bare LFs": head("GET", CONTAINERS).replace(b"\r\n", b"\n"),
    "a negative length": head("POST", CONTAINERS, b"Content-Length: -1"),
    "a length with a sign": head("POST", CONTAINERS, b"Content-Length: +2") + b"{}",
    "a length with a letter": head("POST", CONTAINERS, b"Content-Length: 2x") + b"{}",
    "no length after all": head("POST", CONTAINERS, b"Content-Length:") + b"{}",
    "a length past 64 bits": head("POST", CONTAINERS, b"Content-Length: 99999999999999999999"),
    "two lengths": head("POST", CONTAINERS, b"Content-Length: 2", b"Content-Length: 3") + b"{}",
    "a length twice": head("POST", CONTAINERS, b"Content-Length: 2", b"Content-Length: 2") + b"{}",
    "a list of lengths": head("POST", CONTAINERS, b"Content-Length: 2, 2") + b"{}",
    "a length and chunks": head("POST", CONTAINERS, b"Content-Length: 4", b"Transfer-Encoding: chunked")
    + b"0\r\n\r\n"
    + head("GET", CONTAINERS),
    "chunks and a length": in_chunks(b"").replace(b"\r\n\r\n", b"\r\nContent-Length: 4\r\n\r\n") + b"0\r\n\r\n",
    "chunked twice": in_chunks(b"").replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n") + b"0\r\n\r\n",
    "chunked, then gzip": head("POST", CONTAINERS, b"Transfer-Encoding: chunked, gzip") + TWO_BYTES,
    "not quite chunked": head("POST", CONTAINERS, b"Transfer-Encoding: xchunked") + TWO_BYTES,
    "a chunk of letters": in_chunks(b"zz\r\n{}\r\n0\r\n\r\n"),
    "a negative chunk": in_chunks(b"-1\r\n{}\r\n0\r\n\r\n"),
    "a chunk in another base": in_chunks(b"0x2\r\n{}\r\n0\r\n\r\n"),
    "a chunk past 64 bits": in_chunks(b"1" + b"0" * 16 + b"\r\n{}\r\n"),
    "a chunk longer than it says": in_chunks(b"2\r\n{}}}\r\n0\r\n\r\n"),
    "chunks with bare LFs": in_chunks(b"2\n{}\n0\n\n"),
}


@pytest.mark.parametrize("request_bytes", REFUSED.values(), ids=REFUSED)
async def test_what_is_not_http_is_refused_and_the_connection_closed(
    gateway: RunningGateway, request_bytes: bytes
) -> None:
    async with harmless(gateway, 16), raw_connection(gateway.port) as connection:
        await connection.send(request_bytes)
        answer = await connection.answer()
        assert (answer.status, answer.error_code) == (400, "invalid_request")
        assert answer.headers["connection"] == "close"
        assert await connection.closed() == b""


ANSWERED = {
    "TRACE": (head("TRACE", CONTAINERS), 405, "method_not_allowed"),
    "CONNECT to a path": (head("CONNECT", CONTAINERS), 405, "method_not_allowed"),
    "OPTIONS *": (head("OPTIONS", "*"), 404, "route_not_found"),
    "the absolute form": (head("GET", "http://elsewhere.example/v1/containers"), 200, None),
    "HTTP/0.9": (b"GET /v1/containers\r\n\r\n", 401, "invalid_api_key"),
    "HTTP/1.0": (b"GET /v1/containers HTTP/1.0\r\n" + AUTHORIZATION + b"\r\n", 200, None),
    "two keys": (head("GET", CONTAINERS, b"Authorization: Bearer other"), 401, "invalid_api_key"),
    "two kinds of keys": (head("GET", CONTAINERS, b"X-Api-Key: other"), 401, "invalid_api_key"),
    "a key twice": (head("GET", CONTAINERS, AUTHORIZATION.strip()), 200, None),
    "an upgrade to HTTP/2": (head("GET", CONTAINERS, b"Connection: Upgrade", b"Upgrade: h2c"), 200, None),
    "a web socket": (head("GET", CONTAINERS, b"Connection: Upgrade", b"Upgrade: websocket"), 200, None),
    "another expectation": (
        create(b"{}").replace(b"\r\n\r\n", b"\r\nExpect: 200-ok\r\n\r\n"),
        400,
        "missing_required_parameter",
    ),
    "GET with a byte": (with_body("GET", CONTAINERS, b"x"), 200, None),
    "GET with JSON": (with_body("GET", CONTAINERS, b'{"custom_llm_provider":"local"}'), 200, None),
    "GET with a megabyte": (with_body("GET", CONTAINERS, b"x" * MIB), 200, None),
    "GET with brackets": (with_body("GET", CONTAINERS, b"[" * MIB), 200, None),
    "GET with a form": (
        with_body("GET", CONTAINERS, b"--b--\r\n", b"Content-Type: multipart/form-data; boundary=b"),
        200,
        None,
    ),
    "DELETE with a number": (with_body("DELETE", f"/v1/containers/{CONTAINER}", b"5"), 404, None),
    "a trailer that would be a header": (
        in_chunks(b'c\r\n{"name":"x"}\r\n0\r\ncustom-llm-provider: no\r\n\r\n'),
        200,
        None,
    ),
    "10,000 headers": (
        head("GET", CONTAINERS, *(b"X-%d: y" % n for n in range(10_000))),
        431,
        "headers_too_large",
    ),
    "a header of 10 MB": (head("GET", CONTAINERS, b"X: " + b"a" * 10_000_000), 431, "headers_too_large"),
    "a header without an end": (b"GET /v1/containers HTTP/1.1\r\nX: " + b"a" * 10_000_000, 431, "headers_too_large"),
    "headers without an end": (b"GET /v1/containers HTTP/1.1\r\n" + b"X: a\r\n" * 2_000_000, 431, "headers_too_large"),
    "a path without an end": (b"GET /" + b"a" * 10_000_000, 431, "headers_too_large"),
    "a query of 60,000 bytes": (head("GET", "/v1/containers?" + "a=b&" * 15_000), 400, None),
    "blank lines without an end": (b"\r\n" * 5_000_000, 400, "invalid_request"),
    "trailers without an end": (in_chunks(b"0\r\n" + b"X: a\r\n" * 2_000_000), 400, "invalid_request"),
    "a trailer without an end": (in_chunks(b"0\r\nX: " + b"a" * 10_000_000), 400, "invalid_request"),
    "an extension without an end": (in_chunks(b"1;" + b"a" * 10_000_000), 400, "invalid_request"),
    "a million extensions": (in_chunks(b"1;aaaaaaaa\r\n \r\n" * 1_000_000 + b"0\r\n\r\n"), 400, "invalid_json"),
    "a million chunks": (in_chunks(b"1\r\n \r\n" * 1_000_000 + b"0\r\n\r\n"), 400, "invalid_json"),
    "a body that is too large": (
        head("POST", CONTAINERS, b"Content-Length: 9223372036854775807"),
        413,
        "request_too_large",
    ),
    "half a surrogate pair": (create(b'{"name":"a\\ud800b"}'), 400, "invalid_json"),
    "what is not UTF-8": (create(b'{"name":"\xff"}'), 400, "invalid_json"),
    "100,000 arrays in each other": (create(b"[" * 100_000 + b"]" * 100_000), 400, "invalid_json"),
    "100,000 objects in each other": (create(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), 400, "invalid_json"),
    "a number of 100,000 digits": (create(b'{"name":' + b"9" * 100_000 + b"}"), 400, "invalid_json"),
    "a name of 10 MB": (create(b'{"name":"' + b"a" * 10_000_000 + b'"}'), 400, "string_above_max_length"),
    "a provider of 10 MB": (
        create(b'{"name":"x","custom_llm_provider":"' + b"a" * 10_000_000 + b'"}'),
        400,
        "invalid_type",
    ),
    "a provider with line breaks": (
        head("GET", "/v1/containers?custom_llm_provider=a%0d%0aX-Evil:%201"),
        400,
        "unknown_provider",
    ),
    "a provider of other bytes": (
        head("GET", CONTAINERS, b'custom-llm-provider: \x80\xff"</script>'),
        400,
        "unknown_provider",
    ),
    "a provider in a form, with line breaks": (
        upload(b'--b\r\nContent-Disposition: form-data; name="custom_llm_provider"\r\n\r\na\r\nX-Evil: 1\r\n--b--\r\n'),
        400,
        "unknown_provider",
    ),
}


@pytest.mark.parametrize(("request_bytes", "status", "code"), ANSWERED.values(), ids=ANSWERED)
async def test_odd_requests_get_an_answer(
    gateway: RunningGateway, request_bytes: bytes, status: int, code: str | None
) -> None:
    async with harmless(gateway, 96):
        answer = await ask(gateway.port, request_bytes)
    assert answer is not None
    assert answer.status == status, answer
    assert answer.status == 200 or answer.error_code == code
    assert "x-evil" not in answer.headers


# Bodies made to be large once they are read.

EMPTY_FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n\r\n'
BOMBS = {
    "brackets": (create(b"[" + b"{}," * (30 * MIB - 1) + b"{}]"), 413, "request_too_large"),
    "brackets in a field": (create(b'{"name":[' + b"[]," * (30 * MIB - 4) + b"[]]}"), 413, "request_too_large"),
    "a great many names": (create(b"{" + b'"a":1,' * (15 * MIB - 1) + b'"a":1}'), 413, "request_too_large"),
    "blanks": (create(b" " * (90 * MIB)), 413, "request_too_large"),
    "a megabyte of brackets": (create(b"[" + b"[[]]," * (MIB // 5 - 20_000) + b"[]]"), 400, "invalid_type"),
    "a string of quotes": (create(b'{"name":"' + b'\\"' * (45 * MIB - 5) + b'"}'), 400, "string_above_max_length"),
    "a string of backslashes": (create(b'{"name":"' + b"\\" * (90 * MIB - 12) + b'"}'), 400, "string_above_max_length"),
    "brackets that nobody asked for": (
        with_body("GET", CONTAINERS, b"[" + b"{}," * (30 * MIB - 1) + b"{}]"),
        200,
        None,
    ),
    "a preamble": (upload(b"x" * (50 * MIB) + EMPTY_FILE + b"--b--\r\n"), 400, "invalid_multipart"),
    "a preamble of near boundaries": (upload(b"\r\n--" * (12 * MIB)), 400, "invalid_multipart"),
    "a part without an end": (upload(EMPTY_FILE), 400, "invalid_multipart"),
    "no part at all": (upload(b"nothing"), 400, "invalid_multipart"),
    "100,000 files": (upload(EMPTY_FILE * 100_000 + b"--b--\r\n"), 400, "invalid_multipart"),
    "100,000 providers": (
        upload(b'--b\r\nContent-Disposition: form-data; name="custom_llm_provider"\r\n\r\nlocal\r\n' * 100_000),
        400,
        "invalid_multipart",
    ),
    "a part of nothing but headers": (upload(b"--b\r\nX: " + b"a" * (50 * MIB)), 400, "invalid_multipart"),
    "a provider of 50 MB": (
        upload(b'--b\r\nContent-Disposition: form-data; name="custom_llm_provider"\r\n\r\n' + b"a" * (50 * MIB)),
        400,
        "invalid_multipart",
    ),
    "a boundary of 60,000 bytes": (
        with_body("POST", FILES, b"x", b"Content-Type: multipart/form-data; boundary=" + b"b" * 60_000),
        400,
        "invalid_multipart",
    ),
    "a content type of 60,000 bytes": (
        with_body("POST", FILES, b"x", b"Content-Type: multipart/form-data" + b"; a=b" * 12_000),
        400,
        "invalid_multipart",
    ),
}


@pytest.mark.parametrize(("request_bytes", "status", "code"), BOMBS.values(), ids=BOMBS)
async def test_no_body_takes_more_memory_than_its_size_allows(
    gateway: RunningGateway, request_bytes: bytes, status: int, code: str | None
) -> None:
    """90 MiB of JSON are held twice while they are joined, and twice more by the embedded provider behind."""
    async with harmless(gateway, 400):
        answer = await ask(gateway.port, request_bytes)
    assert answer is not None
    assert answer.status == status, answer
    assert answer.status == 200 or answer.error_code == code


async def test_a_large_body_is_let_go_of_when_its_request_is_over(gateway: RunningGateway) -> None:
    process = psutil.Process(gateway.process.pid)
    body = create(b'{"name":"' + b"a" * (64 * MIB) + b'"}')
    async with raw_connection(gateway.port) as connection:  # which stays open
        for _ in range(4):
            await connection.send(body)
            assert (await connection.answer()).status == 400
        wait_until(lambda: process.memory_info().rss < 200 * MIB)


# Lies about length.

HALVES = {
    "of a create": head("POST", CONTAINERS, b"Content-Length: 100") + b'{"name":"x"}',
    "of a large create": head("POST", CONTAINERS, b"Content-Length: %d" % (20 * MIB)) + b"x" * MIB,
    "of an upload": head("POST", FILES, b"Content-Length: 1000000", b"Content-Type: multipart/form-data; boundary=b")
    + EMPTY_FILE,
    "of a chunk": in_chunks(b'fff\r\n{"name":"x"}'),
    "of some chunks": in_chunks(b'c\r\n{"name":"x"}\r\n'),
    "of a chunk of many petabytes": in_chunks(b"fffffffffffffff\r\n{}"),
    "of a GET": head("GET", CONTAINERS, b"Content-Length: 100") + b"{}",
    "of a head": b"GET /v1/containers HTTP/1.1\r\nHost: x",
}


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
@pytest.mark.parametrize("leaving", ["closes", "resets"])
async def test_half_a_request_is_none(gateway: RunningGateway, half: bytes, leaving: str) -> None:
    before = gateway.client.get(CONTAINERS).json()
    async with harmless(gateway, 48), raw_connection(gateway.port) as connection:
        await connection.send(half)
        connection.leave() if leaving == "closes" else connection.reset()
    assert gateway.client.get(CONTAINERS).json() == before


async def test_what_follows_a_body_is_another_request(gateway: RunningGateway) -> None:
    body = b'{"name":"x"}'
    too_much = create(body) + b'{"name":"y"}'
    async with harmless(gateway, 16), raw_connection(gateway.port) as connection:
        await connection.send(too_much)
        made = await connection.answer()
        assert (made.status, made.json()["name"]) == (200, "x")
        assert made.headers["connection"] == "close"
        assert await connection.closed() == b""


# Requests sent ahead.


async def test_requests_sent_ahead_are_answered_in_their_order(gateway: RunningGateway) -> None:
    async with harmless(gateway, 16), raw_connection(gateway.port) as connection:
        ahead = [head("GET", f"/v1/containers/{number}") for number in range(20)]
        await connection.send(b"".join((*ahead, create(b'{"name":"last"}'))))
        for number in range(20):
            assert f"'{number}'" in (await connection.answer()).json()["error"]["message"]
        assert (await connection.answer()).json()["name"] == "last"


async def test_nobody_sends_more_ahead_than_is_held(gateway: RunningGateway) -> None:
    async with harmless(gateway, 32), raw_connection(gateway.port) as connection:
        with suppress(ConnectionError):
            await connection.send(b"GET /v1/containers HTTP/1.1\r\n\r\n" * 500_000)
        answers_read = (await connection.closed()).count(b"HTTP/1.1 401")
        assert answers_read <= protocol.MAX_AHEAD


async def test_what_came_before_a_broken_request_is_answered(gateway: RunningGateway) -> None:
    async with harmless(gateway, 16), raw_connection(gateway.port) as connection:
        await connection.send(head("GET", CONTAINERS) + create(b'{"name":"x"}') + b"\x00\x01\x02\r\n\r\n")
        assert (await connection.answer()).json()["object"] == "list"
        assert (await connection.answer()).json()["name"] == "x"
        assert await connection.closed() == b""


# Clients that take their time.


@pytest.mark.parametrize(
    "begun", [b"", b"\r\n", b"GET /v1/containers HTTP/1.1\r\nX: ", head("GET", CONTAINERS) + b"GET /"], ids=repr
)
async def test_a_head_has_to_arrive_in_time(tmp_path: Path, begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    async with serving_gateway(tmp_path) as gateway, raw_connection(gateway.port) as connection:
        await connection.send(begun)
        if begun.startswith(b"GET /v1/containers HTTP/1.1\r\nHost"):
            assert (await connection.answer()).status == 200
        await asyncio.wait_for(connection.closed(), 2)


async def test_a_byte_now_and_then_makes_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)

    async def drip(connection: RawConnection) -> None:
        while True:
            await connection.send(b"a")
            await asyncio.sleep(0.05)

    async with serving_gateway(tmp_path) as gateway, raw_connection(gateway.port) as connection:
        await connection.send(b"GET /v1/containers HTTP/1.1\r\nX: ")
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(drip(connection), 2)


async def test_five_hundred_of_them_keep_nobody_else_waiting(gateway: RunningGateway) -> None:
    async with harmless(gateway, 32), AsyncExitStack() as stack:
        for _ in range(500):
            connection = await stack.enter_async_context(raw_connection(gateway.port))
            await connection.send(b"GET /v1/containers HTTP/1.1\r\nX: ")
        async with asyncio.timeout(2):
            answer = await ask(gateway.port, head("GET", CONTAINERS))
        assert answer is not None
        assert answer.status == 200
