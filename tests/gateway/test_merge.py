"""Several deployments' lists, as one."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.errors import ErrorCode, GatewayError
from app.gateway.forward import Forwarder
from app.gateway.merge import MergedLists
from app.hooks.runner import HookRunner
from app.routing.track import Track
from app.telemetry.metrics import Metrics
from tests.exchanges import opened_exchange
from tests.fakes.listing import NOW, Listing


class Fleet:
    """Three deployments that are listed as one."""

    def __init__(self, count: int = 3) -> None:
        self.listings = [Listing() for _ in range(count)]
        self.deployments = [listing.deployment(f"berth-{number}") for number, listing in enumerate(self.listings)]
        self.lists = self.process()

    def process(self) -> MergedLists:
        """The lists of one more process, which remembers nothing."""
        tracks = {deployment.name: Track(deployment.name) for deployment in self.deployments}
        hooks = HookRunner([], Metrics(version="test"), timeout_seconds=1)
        return MergedLists(Forwarder(tracks, hooks, deadline_seconds=0, random=Random(1)))

    async def ask(self, query: str = "", lists: MergedLists | None = None) -> dict[str, Any]:
        """A page; or where a deployment refuses, what it said."""
        exchange = opened_exchange("/v1/containers")
        exchange.upstream_query = query
        reply = await (lists or self.lists).page(exchange, self.deployments)
        assert reply.whole is not None
        await reply.aclose()
        said: dict[str, Any] = orjson.loads(reply.whole)
        return {"status": reply.status, "deployment": exchange.deployment and exchange.deployment.name} | said

    async def ids(self, query: str = "") -> list[str]:
        return [item["id"] for item in (await self.ask(query))["data"]]

    async def walk(self, query: str, *, forgetful: bool = False) -> list[list[str]]:
        """Page after page, as an SDK asks for them."""
        pages: list[list[str]] = []
        after = ""
        while True:
            page = await self.ask(f"{query}{after}", self.process() if forgetful else None)
            ids = [item["id"] for item in page["data"]]
            assert (page["first_id"], page["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
            pages.append(ids)
            if not page["has_more"]:
                return pages
            after = f"&after={page['last_id']}"

    def asked(self) -> int:
        """Requests so far."""
        return sum(len(listing.asked) for listing in self.listings)


@settings(max_examples=60, deadline=None)
@given(
    made=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.sampled_from("ab")), max_size=40),
    limit=st.integers(1, 15),
    order=st.sampled_from(["asc", "desc"]),
    name=st.sampled_from([None, "a"]),
    shared=st.sets(st.integers(0, 39)),
    forgetful=st.booleans(),
)
def test_walking_the_pages_finds_each_container_once_and_in_order(
    made: list[tuple[int, int, str]], limit: int, order: str, name: str | None, shared: set[int], forgetful: bool
) -> None:
    fleet = Fleet()
    expected: list[tuple[int, str]] = []
    for number, (berth, second, called) in enumerate(made):
        [container_id] = fleet.listings[berth].add(name=called, created_at=NOW + second)
        if number in shared and second != 5:  # two deployments of one account list the same containers
            other = fleet.listings[(berth + 1) % 3]
            other.add(**(fleet.listings[berth].containers[container_id] | {"created_at": NOW + second}))
        if name in (None, called):
            expected.append((NOW + second, container_id))
    expected.sort(key=lambda it: it[0], reverse=order == "desc")
    query = f"limit={limit}&order={order}" + (f"&name={name}" if name else "")
    pages = asyncio.run(fleet.walk(query, forgetful=forgetful))
    walked = [container_id for page in pages for container_id in page]
    times = {container_id: at for at, container_id in expected}
    assert sorted(walked) == sorted(times)
    assert [times[container_id] for container_id in walked] == [at for at, _ in expected]
    assert all(len(page) == limit for page in pages[:-1])
    assert pages[-1] or len(pages) == 1 or shared  # that all that follows was shown already, nobody knows before


async def test_what_two_deployments_list_in_another_order_is_shown_once() -> None:
    fleet = Fleet(2)
    [first, both] = fleet.listings[0].add(2)
    fleet.listings[1].add(**fleet.listings[0].containers[both])
    [last] = fleet.listings[1].add()
    assert await fleet.walk("limit=2") == [[both, first], [last]]


async def test_a_page_that_follows_goes_on_where_the_last_one_ended() -> None:
    fleet = Fleet()
    for number in range(30):
        fleet.listings[number % 3].add(created_at=NOW + number)
    first = await fleet.ask("limit=10")
    before = fleet.asked()
    second = await fleet.ask(f"limit=10&after={first['last_id']}")
    assert fleet.asked() - before == 3
    assert len({item["id"] for item in first["data"] + second["data"]}) == 20
    assert [item["created_at"] for item in second["data"]] == [NOW + 29 - number for number in range(10, 20)]


async def test_one_that_is_made_between_two_pages_is_not_on_the_second() -> None:
    fleet = Fleet()
    old = fleet.listings[0].add(3)
    first = await fleet.ask("limit=1")
    fleet.listings[1].add(created_at=NOW + 5)
    assert await fleet.ids(f"limit=5&after={first['last_id']}") == old[1::-1]
    newest = fleet.listings[2].add(created_at=NOW + 6)
    upwards = await fleet.ask("limit=4&order=asc")
    assert [item["id"] for item in upwards["data"]][:3] == old
    assert await fleet.ids(f"order=asc&after={upwards['last_id']}") == newest


async def test_a_page_may_follow_one_whose_last_container_was_deleted_elsewhere() -> None:
    fleet = Fleet()
    made = [fleet.listings[number % 3].add(created_at=NOW + number)[0] for number in range(9)]
    first = await fleet.ask("limit=3&order=asc")
    fleet.listings[1].remove([made[1]])
    assert await fleet.ids(f"order=asc&after={first['last_id']}") == made[3:]


@pytest.mark.parametrize("remembered", [True, False])
async def test_a_cursor_that_never_comes_by_is_refused(remembered: bool) -> None:
    fleet = Fleet()
    made = fleet.listings[0].add(3)
    fleet.listings[1].add(250)
    first = await fleet.ask("limit=2")
    after = first["last_id"] if remembered else "cntr_unknown"
    fleet.listings[0].remove(made[1:2])
    with pytest.raises(GatewayError) as refused:
        await fleet.ask(f"limit=2&after={after}")
    assert refused.value.code is ErrorCode.INVALID_VALUE
    assert refused.value.message == f"Invalid 'after': no item with id '{after}'."


async def test_where_one_deployment_fails_so_does_the_list() -> None:
    fleet = Fleet()
    for listing in fleet.listings:
        listing.add(2)
    fleet.listings[1].failing = lambda target: b'{"error":{"message":"out of order"}}'
    page = await fleet.ask()
    assert (page["status"], page["deployment"]) == (500, "berth-1")
    assert page["error"] == {"message": "out of order"}
    assert all(reply.closed for listing in fleet.listings for reply in listing.replies)


async def test_an_upstream_that_cannot_be_asked_stops_the_others() -> None:
    fleet = Fleet()
    fleet.listings[0].released.clear()  # it would never answer
    fleet.listings[2].page = lambda query: (200, b"[]")
    with pytest.raises(GatewayError) as refused:
        await fleet.ask()
    assert refused.value.code is ErrorCode.UPSTREAM_PROTOCOL_ERROR
    assert "berth-2" in refused.value.message
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("body", [b"", b"[]", b'{"data":[]}', b'{"data":{},"has_more":false}', b'{"has_more":false}'])
async def test_what_is_no_list_is_said_to_be_none(body: bytes) -> None:
    fleet = Fleet()
    fleet.listings[0].page = lambda query: (200, body)
    with pytest.raises(GatewayError, match="cannot be listed"):
        await fleet.ask()


async def test_a_list_that_goes_round_in_circles_is_refused() -> None:
    fleet = Fleet()
    fleet.listings[0].add(150)
    page = fleet.listings[0].page
    fleet.listings[0].page = lambda query: page({name: it for name, it in query.items() if name != "after"})
    with pytest.raises(GatewayError, match="does not go on"):
        await fleet.ask("limit=2&after=cntr_unknown")
    await fleet.ask("limit=2")


async def test_an_items_own_bytes_are_kept_and_what_is_missing_is_added() -> None:
    fleet = Fleet(2)
    fleet.listings[0].page = lambda query: (
        200,
        b'{"data": [ {"created_at":1, "id":"cntr_1","n":1.50e3, "n":2,"expires_after":'
        b'{"anchor":"last_active_at","minutes":1},"last_active_at":60} ], "has_more": false}',
    )
    exchange = opened_exchange("/v1/containers")
    reply = await fleet.lists.page(exchange, fleet.deployments)
    assert reply.whole is not None
    assert reply.whole.startswith(
        b'{"object":"list","data":[{"created_at":1, "id":"cntr_1","n":1.50e3, "n":2,"expires_after":'
        b'{"anchor":"last_active_at","minutes":1},"last_active_at":60,"expires_at":120}],"first_id":"cntr_1",'
    )
    assert exchange.response_json == reply.whole


async def test_large_pages_are_read_too() -> None:
    fleet = Fleet(2)
    made = fleet.listings[0].add(100, name="x" * 2000)
    assert await fleet.ids("limit=100&order=asc") == made


async def test_every_request_counts_as_an_attempt_and_waiting_for_several_counts_once() -> None:
    fleet = Fleet()
    exchange = opened_exchange("/v1/containers")
    await fleet.lists.page(exchange, fleet.deployments)
    assert [attempt.deployment.name for attempt in exchange.attempts] == ["berth-0", "berth-1", "berth-2"]
    assert all(attempt.ended_at is not None for attempt in exchange.attempts)
    assert exchange.upstream_seconds < exchange.duration_seconds
    assert exchange.deployment is None


async def test_the_other_parameters_reach_every_deployment() -> None:
    fleet = Fleet(2)
    await fleet.ask("x=a%26b&limit=7")
    assert [listing.asked for listing in fleet.listings] == [["GET /v1/containers?x=a%26b&limit=7&order=desc"]] * 2


async def test_a_wrong_query_reaches_none() -> None:
    fleet = Fleet()
    with pytest.raises(GatewayError):
        await fleet.ask("limit=0")
    assert fleet.asked() == 0
