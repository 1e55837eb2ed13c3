"""Clients that mean harm, or have lost their way: each gets an answer in OpenAI's shape or a closed connection.

Never a 500, never another upstream path than the one asked for, never more memory than is bounded; and the gateway
serves everybody else as before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.e2e.gateway import RunningGateway, forwarding_to
from tests.e2e.hostility import (
    CONTAINER,
    CONTAINERS,
    JSON,
    MIB,
    create,
    harmless,
    in_chunks,
    unharmed_gateway,
    upload,
    with_body,
)
from tests.e2e.raw import AUTHORIZATION, ask, head, raw_connection
from tests.e2e.serving import serving_gateway
from tests.fakes.scripted import ScriptedUpstream, answers, reply


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with unharmed_gateway(tmp_path_factory.mktemp("hostile")) as gateway:
        yield gateway


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
