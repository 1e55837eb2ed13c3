"""Where a container lives, and where a new one goes."""

from __future__ import annotations

import time
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from app.domain.containers import Ownership
from app.domain.deployments import Deployment
from app.domain.errors import GatewayError
from app.domain.exchange import Exchange
from app.domain.identity import ALL_OPERATIONS, MASTER, Principal
from app.gateway.place import Placer
from app.routing.health import Failure
from app.routing.selection import Policy, Selector
from app.routing.track import Track
from tests.exchanges import opened_exchange
from tests.fakes.listing import Listing

KEY = Principal(key_id="1" * 16, owner="team:sea", is_master=False, allowed_operations=ALL_OPERATIONS)


class Fleet:
    """Three deployments of openai and one of azure, each with a list of its own."""

    def __init__(self) -> None:
        self.listings = {name: Listing() for name in ("a", "b", "c", "z")}
        self.deployments = {name: listing.deployment(name) for name, listing in self.listings.items()}
        self.tracks = {name: Track(name) for name in self.deployments}
        behind = {"openai": self._of("abc"), "azure": self._of("z")}
        self.placer = Placer(behind, self.tracks, Selector(Policy.ROUND_ROBIN, Random(1)))

    def _of(self, names: str) -> list[Deployment]:
        return [self.deployments[name] for name in names]

    def fail(self, name: str, failure: Failure = Failure.REFUSED, retry_after: float | None = None) -> None:
        self.tracks[name].circuit.failed(time.monotonic(), failure, retry_after)

    def chosen(self, times: int, **options: Any) -> set[str]:
        return {self.placer.choose("openai", **options).name for _ in range(times)}

    @property
    def asked(self) -> list[str]:
        """Where somebody asked anything, in order of their names."""
        return [name for name, listing in self.listings.items() for _ in listing.asked]


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def asking(container_id: str | None = None, deployment: str | None = None) -> Exchange:
    exchange = opened_exchange()
    exchange.container_id = container_id
    if deployment is not None:
        exchange.headers = [(b"x-quaymaster-deployment", deployment.encode())]
    return exchange


def refusal(fleet: Fleet, exchange: Exchange, principal: Principal) -> GatewayError:
    with pytest.raises(GatewayError) as refused:
        fleet.placer.named(exchange, principal)
    return refused.value


def test_a_registered_container_is_where_it_was_made_however_that_place_is(fleet: Fleet) -> None:
    fleet.fail("b")
    for name in "abcz":
        assert fleet.placer.home(Ownership(container_id="cntr_1", owner=None, deployment=name)).name == name


def test_a_home_that_is_gone_from_the_settings_is_named(fleet: Fleet) -> None:
    with pytest.raises(GatewayError) as refused:
        fleet.placer.home(Ownership(container_id="cntr_1", owner="team:sea", deployment="past"))
    assert refused.value.code == "no_healthy_deployment"
    assert refused.value.should_retry is False
    assert "'past'" in refused.value.message


def test_nobody_who_names_none_gets_one(fleet: Fleet) -> None:
    assert fleet.placer.named(asking(), KEY) is None
    assert fleet.placer.named(asking(), MASTER) is None


def test_a_key_names_what_it_may(fleet: Fleet) -> None:
    one, any_of_them = (replace(KEY, allowed_deployments=frozenset({names})) for names in ("b", "*"))
    for principal in (one, any_of_them, MASTER):
        named = fleet.placer.named(asking(deployment="b"), principal)
        assert named is fleet.deployments["b"]
    named = fleet.placer.named(asking(deployment="z"), any_of_them)  # of another provider than the default
    assert named is fleet.deployments["z"]


@pytest.mark.parametrize("name", ["b", "unheard-of", ""])
def test_a_key_that_may_not_choose_does_not_learn_what_there_is(fleet: Fleet, name: str) -> None:
    refused = refusal(fleet, asking(deployment=name), replace(KEY, allowed_deployments=frozenset({"a"})))
    assert (refused.code, refused.param) == ("operation_not_allowed", "x-quaymaster-deployment")
    assert refused.message == refusal(fleet, asking(deployment="c"), KEY).message


def test_a_name_that_does_not_exist_is_answered_with_those_that_do(fleet: Fleet) -> None:
    refused = refusal(fleet, asking(deployment="d"), MASTER)
    assert (refused.code, refused.param) == ("invalid_value", "x-quaymaster-deployment")
    assert refused.message == "Unknown deployment. Configured here: a, b, c, z."


def test_new_containers_are_spread_over_the_provider(fleet: Fleet) -> None:
    assert fleet.chosen(3) == {"a", "b", "c"}
    assert {fleet.placer.choose("azure").name for _ in range(3)} == {"z"}


def test_one_that_is_not_well_gets_none(fleet: Fleet) -> None:
    fleet.fail("b")
    assert fleet.chosen(6) == {"a", "c"}


def test_one_that_was_tried_is_not_tried_again(fleet: Fleet) -> None:
    assert fleet.chosen(6, tried=["a", "b"]) == {"c"}
    with pytest.raises(GatewayError):
        fleet.placer.choose("openai", tried=["a", "b", "c"])


def test_where_none_is_well_the_client_learns_why_and_when_to_come_back(fleet: Fleet) -> None:
    fleet.fail("a", Failure.RATE_LIMITED, 40.0)
    fleet.fail("b", Failure.RATE_LIMITED, 20.0)
    fleet.fail("c", Failure.RATE_LIMITED, 30.0)
    with pytest.raises(GatewayError) as refused:
        fleet.placer.choose("openai")
    assert refused.value.code == "no_healthy_deployment"
    assert refused.value.retry_after_seconds == pytest.approx(20, abs=1)
    assert "a (rate_limited), b (rate_limited), c (rate_limited)" in refused.value.message
    assert fleet.placer.choose("azure").name == "z"


def test_somebody_who_may_try_again_at_once_is_told_to_wait_a_second(fleet: Fleet) -> None:
    for name in "abc":
        fleet.tracks[name].weight = 0
    with pytest.raises(GatewayError) as refused:
        fleet.placer.choose("openai")
    assert refused.value.retry_after_seconds == 1


@pytest.mark.parametrize("home", ["a", "b", "c"])
async def test_an_unregistered_container_is_looked_for_once(fleet: Fleet, home: str) -> None:
    [container_id] = fleet.listings[home].add()
    for _ in range(3):
        assert (await fleet.placer.search(asking(container_id), MASTER, "openai")).name == home
    assert fleet.asked == sorted("abc"[: "abc".index(home) + 1])
    assert all(reply.closed for listing in fleet.listings.values() for reply in listing.replies)


async def test_one_that_is_nowhere_is_looked_for_again_and_the_first_says_so(fleet: Fleet) -> None:
    for _ in range(2):
        assert (await fleet.placer.search(asking("cntr_nowhere"), MASTER, "openai")).name == "a"
    assert fleet.asked == ["a", "a", "b", "b", "c", "c"]


async def test_nothing_is_looked_for_where_there_is_no_choice(fleet: Fleet) -> None:
    assert (await fleet.placer.search(asking("cntr_1"), MASTER, "azure")).name == "z"
    assert (await fleet.placer.search(asking("cntr_1", deployment="b"), MASTER, "openai")).name == "b"
    assert fleet.asked == []


async def test_where_it_was_found_under_one_provider_is_no_answer_for_another(fleet: Fleet) -> None:
    [container_id] = fleet.listings["c"].add()
    await fleet.placer.search(asking(container_id), MASTER, "openai")
    assert (await fleet.placer.search(asking(container_id), MASTER, "azure")).name == "z"


async def test_an_id_is_asked_for_as_one_segment(fleet: Fleet) -> None:
    await fleet.placer.search(asking("cntr/../1?x=y"), MASTER, "openai")
    assert fleet.listings["a"].asked == ["GET /v1/containers/cntr%2F..%2F1%3Fx%3Dy"]


async def test_a_deployment_that_does_not_answer_does_not_have_it(fleet: Fleet) -> None:
    fleet.listings["a"].failing = lambda target: b"{}"
    [container_id] = fleet.listings["b"].add()
    assert (await fleet.placer.search(asking(container_id), MASTER, "openai")).name == "b"
