"""What is tried again, when, how often, and what its client sees of that."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from tests.e2e.gateway import forwarding_to
from tests.e2e.rows import containers
from tests.e2e.serving import ServingGateway, fronting, serving_gateway
from tests.fakes.scripted import Peer, ScriptedUpstream, answers, head, reply
from tests.services import free_port

JSON = (b"content-type", b"application/json")
CONTAINER = "cntr_" + "ab" * 24
PATH = f"/v1/containers/{CONTAINER}"
FOUND = reply(200, b'{"id":"cntr_1"}', JSON)
ODD = b'{ "error" : {"message":"come back later",  "n": 1e2} }\n'


def busy(*headers: tuple[bytes, bytes], status: int = 503) -> bytes:
    return reply(status, ODD, JSON, *headers)


async def attempts_at(answer: httpx.Response) -> int:
    return int(answer.headers["x-quaymaster-attempts"])


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 520])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_what_changes_nothing_is_asked_again_until_it_is_answered(
    tmp_path: Path, method: str, status: int
) -> None:
    async with fronting(tmp_path, answers(busy(status=status), busy(status=status), FOUND)) as (gateway, upstream):
        answer = await gateway.client.request(method, PATH)
        assert (answer.status_code, answer.json()) == (200, {"id": "cntr_1"})
        assert answer.headers["x-quaymaster-attempts"] == "3"
        assert [request.method.decode() for request in upstream.requests] == [method] * 3
        assert len({request.target for request in upstream.requests}) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 501])
async def test_an_answer_that_will_stay_the_same_is_not_asked_for_again(tmp_path: Path, status: int) -> None:
    async with fronting(tmp_path, answers(busy(status=status), FOUND)) as (gateway, upstream):
        answer = await gateway.client.get(PATH)
        assert (answer.status_code, answer.headers["x-quaymaster-attempts"]) == (status, "1")
        assert len(upstream.requests) == 1


async def test_the_last_answer_is_passed_on_as_it_was(tmp_path: Path) -> None:
    async with fronting(tmp_path, answers(busy(), busy(), busy(), busy((b"retry-after", b"0.01")))) as (
        gateway,
        upstream,
    ):
        answer = await gateway.client.get(PATH)
        assert answer.status_code == 503
        assert answer.content == ODD
        assert answer.headers["retry-after"] == "0.01"
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-quaymaster-attempts"] == "4"
        assert len(upstream.requests) == 4


@pytest.mark.parametrize(
    ("header", "seconds"),
    [((b"retry-after", b"1"), 1.0), ((b"retry-after-ms", b"300"), 0.3)],
)
async def test_an_upstream_that_says_when_is_not_asked_before(
    tmp_path: Path, header: tuple[bytes, bytes], seconds: float
) -> None:
    async with fronting(tmp_path, answers(busy(header), FOUND)) as (gateway, _):
        begun = time.monotonic()
        answer = await gateway.client.get(PATH)
        assert (answer.status_code, answer.headers["x-quaymaster-attempts"]) == (200, "2")
        assert time.monotonic() - begun >= seconds


async def test_who_asks_for_more_time_than_there_is_is_believed_at_once(tmp_path: Path) -> None:
    said = busy((b"retry-after", b"60"), status=429)
    settings = {"routing": {"retry_deadline_seconds": 20}}
    async with fronting(tmp_path, answers(said, FOUND), **settings) as (gateway, upstream):
        begun = time.monotonic()
        answer = await gateway.client.get(PATH)
        assert time.monotonic() - begun < 10
        assert (answer.status_code, answer.content, answer.headers["retry-after"]) == (429, ODD, "60")
        assert len(upstream.requests) == 1


async def test_without_a_deadline_nothing_is_asked_again(tmp_path: Path) -> None:
    settings = {"routing": {"retry_deadline_seconds": 0}}
    async with fronting(tmp_path, answers(busy(), FOUND), **settings) as (gateway, _):
        answer = await gateway.client.get(PATH)
        assert (answer.status_code, answer.headers["x-quaymaster-attempts"]) == (503, "1")


async def breaks_off(peer: Peer) -> None:
    await peer.request()
    await peer.send(head(200, JSON, length=100) + b'{"id":')


async def resets(peer: Peer) -> None:
    await peer.request()
    peer.reset()


async def answers_nonsense(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"SMTP ready\r\n\r\n")


async def fails(peer: Peer) -> None:
    await peer.request()
    await peer.send(busy())


@pytest.mark.parametrize("broken", [breaks_off, resets, answers_nonsense])
async def test_a_connection_that_breaks_is_no_answer(tmp_path: Path, broken: Callable[[Peer], Awaitable[None]]) -> None:
    async with fronting(tmp_path, broken, answers(FOUND)) as (gateway, upstream):
        answer = await gateway.client.get(PATH)
        assert (answer.status_code, answer.headers["x-quaymaster-attempts"]) == (200, "2")
        assert len(upstream.requests) == 2


async def test_a_file_that_has_begun_to_go_down_is_not_asked_for_again(tmp_path: Path) -> None:
    async with fronting(tmp_path, breaks_off, answers(FOUND)) as (gateway, upstream):
        with pytest.raises(httpx.RemoteProtocolError):
            await gateway.client.get(f"{PATH}/files/cfile_1/content")
        assert len(upstream.requests) == 1


# What makes something.


async def reads_half_of_it(peer: Peer) -> None:
    await peer.head()
    peer.reset()


async def create(gateway: ServingGateway) -> httpx.Response:
    return await gateway.client.post("/v1/containers", json={"name": "n"})


async def upload(gateway: ServingGateway, size: int) -> httpx.Response:
    return await gateway.client.post(f"{PATH}/files", files={"file": ("a", b"x" * size)})


@pytest.mark.parametrize("sick", [breaks_off, resets, answers_nonsense, fails, reads_half_of_it])
@pytest.mark.parametrize("what", ["create", "small upload", "large upload", "upload by id"])
async def test_what_an_upstream_may_have_is_never_sent_again(
    tmp_path: Path, sick: Callable[[Peer], Awaitable[None]], what: str
) -> None:
    async with ScriptedUpstream(sick) as first, ScriptedUpstream(sick) as second:
        other = {"name": "other", "provider": "openai", "api_base": f"{second.origin}/v1", "api_key": "sk-2"}
        async with serving_gateway(tmp_path, forwarding_to(first.origin, others=[other])) as gateway:
            looked = 0
            match what:
                case "create":
                    answer = await create(gateway)
                case "upload by id":
                    answer = await gateway.client.post(f"{PATH}/files", json={"file_id": "file-1"})
                case _:
                    answer = await upload(gateway, 10 if what == "small upload" else 300_000)
        sent = [request for request in (*first.requests, *second.requests) if request.method == b"POST"]
        assert len(sent) == 1, (looked, answer.text)
        assert answer.status_code == (503 if sick is fails else 502)
        assert answer.headers["x-quaymaster-attempts"] == "1"
        assert sick is fails or answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("send", "attempts"),
    [(create, 4), (lambda gateway: upload(gateway, 10), 4), (lambda gateway: upload(gateway, 300_000), 1)],
    ids=["create", "small upload", "large upload"],
)
async def test_where_nobody_listens_what_is_held_whole_is_tried_again(
    tmp_path: Path, send: Callable[[ServingGateway], Awaitable[httpx.Response]], attempts: int
) -> None:
    async with serving_gateway(tmp_path, forwarding_to(f"http://127.0.0.1:{free_port()}")) as gateway:
        answer = await send(gateway)
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_unreachable")
        assert answer.headers["x-quaymaster-attempts"] == str(attempts)
        assert "x-should-retry" not in answer.headers
        assert containers(tmp_path) == []
