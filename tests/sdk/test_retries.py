"""Whether and when a request is sent again: the rules alone, and then on the wire."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import quaymaster
from quaymaster.retries import MAX_TOLD_WAIT_SECONDS, Attempts
from tests.e2e.gateway import MASTER_KEY
from tests.e2e.serving import fronting
from tests.fakes.relay import Relay
from tests.fakes.scripted import Script, ScriptedUpstream, answers, answers_once, reply
from tests.sdk.ways import OF_ONE_FILE, OPERATIONS, calling

pytestmark = pytest.mark.usefixtures("nothing_left")

CONTAINER = {"id": "cntr_1", "object": "container", "created_at": 1, "name": "x", "status": "running"}
GOOD = reply(200, json.dumps(CONTAINER).encode(), (b"content-type", b"application/json"))
SOON = (b"retry-after-ms", b"1")
CLOSES = (b"connection", b"close")
"""Else the next request may meet the connection just before its end is there."""
NOW = 1_800_000_000.0

statuses = st.sampled_from([400, 401, 404, 408, 409, 425, 429, 499, 500, 502, 503, 599])
numbers = st.one_of(
    st.floats().map(str), st.integers().map(str), st.sampled_from(["", "soon", "inf", "nan", "-1", "1e3"])
)
dates = st.integers(-10_000, 10_000).map(lambda seconds: formatdate(NOW + seconds, usegmt=True))
headers = st.fixed_dictionaries(
    {},
    optional={
        "retry-after": st.one_of(numbers, dates, st.text("Mon, 01 Jan:+-.GMT", max_size=30)),
        "retry-after-ms": numbers,
        "x-should-retry": st.sampled_from(["true", "false", "TRUE ", "perhaps", ""]),
    },
)
events = st.lists(st.one_of(st.none(), st.tuples(statuses, headers)), min_size=1, max_size=12)


@given(
    retries=st.integers(-1, 6), events=events, chance=st.floats(0, 1, exclude_max=True), repeatable=st.integers(0, 8)
)
def test_whatever_happens_attempts_are_bounded(
    retries: int, events: list[tuple[int, dict[str, str]] | None], chance: float, repeatable: int
) -> None:
    attempts = Attempts(retries, lambda: attempts.number < repeatable, chance=lambda: chance, clock=lambda: NOW)
    for event in events:
        before = attempts.number
        wait = attempts.after_failure() if event is None else attempts.after_status(*event)
        if wait is None:
            assert attempts.number == before
            return
        assert attempts.number == before + 1 <= min(retries, repeatable)
        assert 0 < wait <= MAX_TOLD_WAIT_SECONDS
        if event is None:
            assert wait == min(0.5 * 2**before, 8) * (1 - 0.25 * chance)
        else:
            status, said = event
            wish = said.get("x-should-retry", "").strip().lower()
            assert wish != "false"
            assert wish == "true" or status in {408, 409, 429} or status >= 500
    assert len(events) <= max(retries, 0)


@pytest.mark.parametrize(
    ("said", "wait"),
    [
        ({}, 0.5),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7),
        ({"retry-after": formatdate(NOW + 30, usegmt=True)}, 30),
        ({"retry-after": formatdate(NOW - 30, usegmt=True)}, 0.5),
        ({"retry-after": "0"}, 0.5),
        ({"retry-after": "-3"}, 0.5),
        ({"retry-after": "nan"}, 0.5),
        ({"retry-after": "whenever"}, 0.5),
        ({"retry-after": "120"}, 120),
        ({"retry-after": "121"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": formatdate(NOW + 3600, usegmt=True)}, None),
        ({"retry-after": "121", "x-should-retry": "true"}, None),
    ],
)
def test_how_long_to_wait(said: dict[str, str], wait: float | None) -> None:
    attempts = Attempts(2, chance=lambda: 0, clock=lambda: NOW)
    assert attempts.after_status(429, said) == wait


@pytest.mark.parametrize(
    ("status", "wish", "again"),
    [
        (400, "", False),
        (408, "", True),
        (409, "", True),
        (429, "", True),
        (404, "", False),
        (500, "", True),
        (529, "", True),
        (400, "true", True),
        (429, "false", False),
        (503, "false", False),
    ],
)
def test_what_is_tried_again(status: int, wish: str, again: bool) -> None:
    wait = Attempts(1).after_status(status, {"x-should-retry": wish})
    assert (wait is not None) == again


def test_waits_grow_to_eight_seconds() -> None:
    attempts = Attempts(1000, chance=lambda: 0)
    waits = [attempts.after_failure() for _ in range(1000)]
    assert waits[:6] == [0.5, 1, 2, 4, 8, 8]
    assert waits[-1] == 8
    assert attempts.after_failure() is None


@pytest.mark.parametrize(
    "failing",
    [
        pytest.param(answers_once(reply(503, b"{}", SOON, CLOSES)), id="status"),
        pytest.param(answers_once(reply(404, b"{}", SOON, CLOSES, (b"x-should-retry", b"true"))), id="wish"),
    ],
)
async def test_a_request_is_sent_again_as_it_was_but_for_its_count(way: str, failing: Script) -> None:
    async with (
        ScriptedUpstream(failing, failing, answers(GOOD)) as upstream,
        calling(way, api_base=upstream.origin, api_key="sk-key") as call,
    ):
        made = await call("create_container", "x", extra_headers={"x-team": "a"})
    assert made.id == "cntr_1"
    assert [request.header(b"x-stainless-retry-count") for request in upstream.requests] == [b"0", b"1", b"2"]
    assert len({request.header(b"idempotency-key") for request in upstream.requests}) == 1
    assert upstream.requests[0].header(b"idempotency-key")
    heads = [
        sorted((name, value) for name, value in each.headers if name != b"x-stainless-retry-count")
        for each in upstream.requests
    ]
    assert heads[0] == heads[1] == heads[2]
    assert {bytes(each.body) for each in upstream.requests} == {b'{"name":"x"}'}


@pytest.mark.parametrize("name", OPERATIONS)
async def test_two_retries_is_what_there_is_unless_said_otherwise(name: str) -> None:
    ids = ["x", "y"][: 2 if name in OF_ONE_FILE else 0 if name == "list_containers" else 1]
    more = {"file": b"content"} if name == "create_container_file" else {}
    script = answers(reply(500, b"{}", SOON))
    async with (
        ScriptedUpstream(script) as upstream,
        calling("async functions", api_base=upstream.origin, api_key="sk-key") as call,
    ):
        for retries, sent in ((None, 3), (0, 1), (4, 5)):
            before = len(upstream.requests)
            with pytest.raises(quaymaster.InternalServerError):
                await call(name, *ids, max_retries=retries, **more)
            assert len(upstream.requests) - before == sent


async def test_a_client_has_its_own_number_of_retries() -> None:
    async with (
        ScriptedUpstream(answers(reply(500, b"{}", SOON))) as upstream,
        quaymaster.AsyncQuaymaster(api_base=upstream.origin, api_key="sk-key", max_retries=1) as client,
    ):
        for retries, sent in ((None, 2), (0, 1)):
            before = len(upstream.requests)
            with pytest.raises(quaymaster.InternalServerError):
                await client.containers.retrieve("x", max_retries=retries)
            assert len(upstream.requests) - before == sent


async def test_a_server_is_given_the_time_it_asks_for(way: str) -> None:
    failing = answers_once(reply(429, b"{}", (b"retry-after", b"0.3")))
    async with (
        ScriptedUpstream(failing, answers(GOOD)) as upstream,
        calling(way, api_base=upstream.origin, api_key="sk-key") as call,
    ):
        started = time.monotonic()
        await call("retrieve_container", "cntr_1")
        assert 0.3 <= time.monotonic() - started < 5


def numbered() -> Callable[[], bytes]:
    """Each time another container, as a provider makes them."""
    count = itertools.count()
    return lambda: json.dumps(CONTAINER | {"id": f"cntr_{next(count):048x}"}).encode()


async def test_a_create_whose_answer_is_lost_makes_one_container_through_a_gateway(way: str, tmp_path: Path) -> None:
    body = numbered()

    async def provider(peer: Any) -> None:
        while True:
            await peer.request()
            await peer.send(reply(200, body(), (b"content-type", b"application/json")))

    async with fronting(tmp_path, provider) as (gateway, upstream), Relay(gateway.port) as relay:
        relay.swallow = 1
        async with calling(way, api_base=f"http://127.0.0.1:{relay.port}/v1", api_key=MASTER_KEY) as call:
            made = await call("create_container", "x")
            other = await call("create_container", "x")
        assert relay.lost == 1
        assert (made.id, other.id) == (f"cntr_{0:048x}", f"cntr_{1:048x}")
        assert len(upstream.requests) == 2
