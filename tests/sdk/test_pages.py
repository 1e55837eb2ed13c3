"""Lists over more than one request: where they go on, and where they stop."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from quaymaster import AsyncContainerPage, ContainerPage, InternalServerError, QuaymasterError
from tests.fakes.scripted import ScriptedUpstream, answers, reply
from tests.sdk.ways import Call, calling, collect, items

pytestmark = pytest.mark.usefixtures("nothing_left")


def page(*ids: str, has_more: bool, last_id: str | None = None) -> bytes:
    containers = [
        {"id": each, "object": "container", "created_at": 1, "name": each, "status": "running"} for each in ids
    ]
    body = {"object": "list", "data": containers, "first_id": None, "last_id": last_id, "has_more": has_more}
    return reply(200, json.dumps(body).encode(), (b"content-type", b"application/json"))


async def listed(call: Call, **arguments: Any) -> list[str]:
    return [each.id for each in await items(await call("list_containers", **arguments))]


def afters(upstream: ScriptedUpstream) -> list[str | None]:
    """The `after` of each request that came."""
    queries = [parse_qs(urlsplit(request.target.decode()).query) for request in upstream.requests]
    return [query.get("after", [None])[0] for query in queries]


@pytest.mark.parametrize(
    ("pages", "found", "asked"),
    [
        pytest.param([page("a", "b", has_more=False)], ["a", "b"], [None], id="one page"),
        pytest.param(
            [page("a", "b", has_more=True), page("c", has_more=False)], ["a", "b", "c"], [None, "b"], id="two pages"
        ),
        pytest.param(
            [page("a", has_more=True), page(has_more=True), page("z", has_more=False)],
            ["a"],
            [None, "a"],
            id="an empty page ends it, whatever it says of more",
        ),
        pytest.param([page(has_more=True)], [], [None], id="an empty list"),
        pytest.param(
            [page("a", has_more=True, last_id="of the server's own"), page("b", has_more=False)],
            ["a", "b"],
            [None, "a"],
            id="after the last item, as OpenAI's SDKs go on",
        ),
        pytest.param(
            [page("a", "b", has_more=True), page("a", "b", has_more=True)],
            ["a", "b"],
            [None, "b"],
            id="a server that ignores after",
        ),
        pytest.param(
            [page("a", has_more=True), page("b", has_more=True), page("a", has_more=True)],
            ["a", "b"],
            [None, "a", "b"],
            id="a server that goes round in circles",
        ),
    ],
)
async def test_a_list_is_walked_to_its_end(driver: str, pages: list[bytes], found: list[str], asked: list[str]) -> None:
    async with (
        ScriptedUpstream(answers(*pages)) as upstream,
        calling(driver, api_base=upstream.origin, api_key="sk-key") as call,
    ):
        assert await listed(call) == found
        assert afters(upstream) == asked


async def test_the_arguments_go_along(driver: str) -> None:
    script = answers(page("a", has_more=True), page("b", has_more=False))
    async with (
        ScriptedUpstream(script) as upstream,
        calling(driver, api_base=upstream.origin, api_key="sk-key", custom_llm_provider="oci") as call,
    ):
        await listed(call, limit=1, order="asc", name="n", extra_headers={"x-team": "a"}, extra_query={"deep": 1})
    first, second = upstream.requests
    assert second.target == b"/containers?after=a&" + first.target.partition(b"?")[2]
    assert first.target == b"/containers?limit=1&order=asc&name=n&deep=1"
    for name in (b"x-team", b"authorization", b"custom-llm-provider"):
        assert first.header(name) == second.header(name) is not None


async def test_a_page_that_fails_fails_the_walk_after_what_came(driver: str) -> None:
    script = answers(page("a", "b", has_more=True), reply(500, b"{}"))
    async with (
        ScriptedUpstream(script) as upstream,
        calling(driver, api_base=upstream.origin, api_key="sk-key") as call,
    ):
        first = await call("list_containers", max_retries=0)
        found: list[Any] = []
        with pytest.raises(InternalServerError):
            await collect(first, found)
    assert [each.id for each in found] == ["a", "b"]


async def test_a_page_is_its_own_items() -> None:
    body = {"data": [{"id": "a", "created_at": 1, "name": "x", "status": "running"}]}
    assert [each.id for each in ContainerPage.model_validate(body)] == ["a"]
    assert [each.id async for each in AsyncContainerPage.model_validate(body)] == ["a"]


async def test_a_page_from_nowhere_cannot_go_on() -> None:
    body = {"data": [{"id": "a", "created_at": 1, "name": "x", "status": "running"}], "has_more": True}
    with pytest.raises(QuaymasterError, match="did not come from a request"):
        list(ContainerPage.model_validate(body).auto_paging())
    with pytest.raises(QuaymasterError, match="did not come from a request"):
        [each async for each in AsyncContainerPage.model_validate(body).auto_paging()]
