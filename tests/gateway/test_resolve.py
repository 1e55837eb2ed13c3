"""Which provider a request without a body is for: found at once, it is what reading would have found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import GatewayError
from app.domain.exchange import Exchange
from app.gateway.resolve import Resolver
from quaymaster.operations import CONTAINERS_CREATE, CONTAINERS_RETRIEVE, FILES_CREATE, Operation
from tests.exchanges import DEPLOYMENT, ReadBody, opened_exchange


async def no_field(_exchange: Exchange, _name: str, _content: str) -> None:
    pass


RESOLVER = Resolver(
    {"openai": [DEPLOYMENT], "azure": [DEPLOYMENT]},
    "openai",
    check_field=no_field,
    file_limits=lambda _principal: (),
    max_json_bytes=1000,
    max_upload_bytes=1000,
    spool_dir="",
)
NAMES = st.sampled_from(["openai", "azure", "", " azure ", "oci"])
QUERIES = st.lists(
    st.one_of(
        st.sampled_from(["limit=1", "after=%41", "", "custom%5Fllm_provider=azure", "custom_llm_provider"]),
        NAMES.map(lambda name: f"custom_llm_provider={name.replace(' ', '+')}"),
    ),
    max_size=3,
).map("&".join)


class UnreadBody(ReadBody):
    """A body that is not known to have ended yet."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = False

    async def read(self) -> bytes:
        self.ended = True
        return b""


def asked(query: str, names: list[str], *, body: ReadBody) -> Exchange:
    exchange = opened_exchange()
    exchange.query, exchange.body = query, body
    exchange.headers = [(b"accept", b"*/*"), *((b"custom-llm-provider", name.encode()) for name in names)]
    return exchange


def filled_in(exchange: Exchange) -> tuple[object, ...]:
    return exchange.provider, exchange.provider_is_named, exchange.upstream_query, exchange.upstream_body


async def outcome(exchange: Exchange) -> str:
    try:
        found = RESOLVER.at_once(exchange, CONTAINERS_RETRIEVE)
        return await RESOLVER.resolve(exchange, CONTAINERS_RETRIEVE) if found is None else found
    except GatewayError as refusal:
        return refusal.message


@given(QUERIES, st.lists(NAMES, max_size=2))
async def test_at_once_is_what_reading_an_empty_body_finds(query: str, names: list[str]) -> None:
    here, there = asked(query, names, body=ReadBody()), asked(query, names, body=UnreadBody())
    assert await outcome(here) == await outcome(there)
    assert there.body.ended
    assert filled_in(here) == filled_in(there)


@pytest.mark.parametrize(
    ("query", "names", "found"),
    [
        ("", [], ("openai", False, "", None)),
        ("limit=1", [], ("openai", False, "limit=1", None)),
        ("custom_llm_provider=azure&limit=1", [], ("azure", True, "limit=1", None)),
        ("custom%5Fllm_provider=azure", ["openai"], ("openai", True, "", None)),
        ("custom_llm_provider=azure", [" ", "openai"], ("azure", True, "", None)),
    ],
)
def test_the_header_goes_before_the_query_and_neither_goes_up(
    query: str, names: list[str], found: tuple[object, ...]
) -> None:
    exchange = asked(query, names, body=ReadBody())
    assert RESOLVER.at_once(exchange, CONTAINERS_RETRIEVE) == found[0]
    assert filled_in(exchange) == found


@pytest.mark.parametrize(
    "operation", [CONTAINERS_CREATE, FILES_CREATE, CONTAINERS_RETRIEVE], ids=lambda each: each.name
)
def test_what_has_a_body_is_not_answered_at_once(operation: Operation) -> None:
    exchange = asked("custom_llm_provider=azure", [], body=UnreadBody())
    before = filled_in(exchange)
    assert RESOLVER.at_once(exchange, operation) is None
    assert filled_in(exchange) == before
