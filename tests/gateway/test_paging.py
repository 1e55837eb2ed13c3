"""Which page a query asks for, in the words that the embedded provider has for what is wrong with it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.domain.errors import GatewayError
from app.gateway.paging import Asked, page_text, unknown_cursor
from app.local.errors import ApiError, cursor_not_found
from app.local.http import Request
from app.local.paging import read_cursor


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("", Asked()),
        ("limit=1", Asked(limit=1)),
        ("limit=100&order=asc&after=cntr_1", Asked(limit=100, descending=False, after="cntr_1")),
        ("limit=007", Asked(limit=7)),
        ("limit=5&limit=6&order=asc&order=desc", Asked(limit=5, descending=False)),
        ("after=&order=desc", Asked()),
        ("after=a%20b%2Fc+d", Asked(after="a b/c d")),
        ("name=", Asked(name="", rest=(("name", ""),))),
        ("name=a%26b&x=1&limit=3&x=2", Asked(name="a&b", limit=3, rest=(("name", "a&b"), ("x", "1"), ("x", "2")))),
    ],
)
def test_what_a_query_asks_for(query: str, asked: Asked) -> None:
    assert Asked.of(query) == asked


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-5",
        "limit=101",
        "limit=9999999999999999999",
        "limit=99999999999999999999",
        "limit=ten",
        "limit=",
        "limit=1.5",
        "limit=%D9%A1",
        "order=up",
        "order=",
        f"order={'x' * 200}",
    ],
)
def test_a_wrong_query_is_refused_as_the_embedded_provider_does(query: str) -> None:
    with pytest.raises(ApiError) as theirs:
        read_cursor(embedded_request(query).query())
    with pytest.raises(GatewayError) as ours:
        Asked.of(query)
    error = ours.value
    assert (error.message, error.param, error.code) == (theirs.value.message, theirs.value.param, theirs.value.code)


def test_so_is_an_unknown_cursor() -> None:
    theirs, ours = cursor_not_found("x" * 100), unknown_cursor("x" * 100)
    assert (ours.message, ours.param, ours.code) == (theirs.message, theirs.param, theirs.code)


def test_another_page_of_the_same_list() -> None:
    asked = Asked.of("x=1&limit=5&after=a&order=asc&name=a%26b&x=2")
    assert asked.page(None, 100) == "x=1&name=a%26b&x=2&limit=100&order=asc"
    assert asked.page("b c", 5) == "x=1&name=a%26b&x=2&limit=5&order=asc&after=b+c"


def embedded_request(query: str) -> Request:
    async def receive() -> dict[str, Any]:
        raise AssertionError("nothing of a body is read")

    scope = {"method": "GET", "raw_path": b"/", "headers": [], "query_string": query.encode()}
    return Request(scope, receive)


def test_a_page_as_it_is_written() -> None:
    text = page_text([b'{"id": "a"}', b'{"id": "\\"b"}'], ["a", '"b'], has_more=True)
    assert text.startswith(b'{"object":"list","data":[{"id": "a"},{"id": "\\"b"}],')
    page = orjson.loads(text)
    assert (page["first_id"], page["last_id"], page["has_more"]) == ("a", '"b', True)
    assert orjson.loads(page_text([], [], has_more=False)) == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }
