"""Which container came of which creation."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.containers import Creation, Sighting
from app.registry.creations import Match, could_make, match
from tests.storage.containers import at, container, creation
from tests.storage.containers import sighting as sighting_of

NOW = at(5)


def intent(creation_id: str, *, started: float = 0, lease: float = 1, **fields: Any) -> Creation:
    """A creation of this id, with times in minutes after noon."""
    return creation(creation_id=creation_id, started_at=at(started), lease_until=at(lease), **fields)


def seen(container_id: str, *, created: float = 0, **fields: Any) -> Sighting:
    return sighting_of(container(container_id=container_id, created_at=at(created), **fields))


def pairs(found: Match) -> set[tuple[str, str]]:
    return {(maker.creation_id, sighting.container_id) for maker, sighting in found.made}


def closed(found: Match) -> set[str]:
    return {one.creation_id for one in found.closed}


@pytest.mark.parametrize(
    ("fields", "could"),
    [
        ({}, True),
        ({"name": "another"}, False),
        ({"memory_limit": "4g"}, False),
        ({"memory_limit": None}, True),
        ({"created": -5 / 60}, True),
        ({"created": -6 / 60}, False),
        ({"created": 2}, True),
        ({"created": 2.1}, False),
    ],
)
def test_a_container_that_a_creation_could_have_made(fields: dict[str, Any], could: bool) -> None:
    assert could_make(intent("a", memory_limit="1g"), seen("cntr_1", **fields)) is could


def test_what_was_asked_without_a_memory_limit_may_have_any() -> None:
    assert could_make(intent("a"), seen("cntr_1", memory_limit="64g"))


def test_what_was_made_finds_its_owner_at_once() -> None:
    found = match([intent("a", started=4.9, lease=4.95)], [seen("cntr_1", created=4.9)], NOW)
    assert pairs(found) == {("a", "cntr_1")}
    assert not found.closed
    assert not found.unclear


@pytest.mark.parametrize(("started", "is_closed"), [(4.1, False), (4.0, True)])
def test_nothing_is_given_up_before_a_minute(started: float, is_closed: bool) -> None:
    found = match([intent("a", started=started, lease=started)], [seen("cntr_1", name="another")], NOW)
    assert closed(found) == ({"a"} if is_closed else set())


def test_those_that_are_still_being_made_are_left_alone() -> None:
    assert match([intent("a", lease=6)], [seen("cntr_1")], NOW) == Match()


def test_what_could_be_of_one_still_being_made_waits() -> None:
    over, going_on = intent("a"), intent("b", started=0.5, lease=6)
    assert match([over, going_on], [seen("cntr_1", created=0.5)], NOW) == Match()
    assert pairs(match([over, going_on], [seen("cntr_1", created=0.1)], NOW)) == {("a", "cntr_1")}


def test_nobody_gets_what_could_be_of_two_owners() -> None:
    """And what they could have made besides is not mixed up with it."""
    ours, theirs = intent("a"), intent("b", lease=0.5, owner="team:other")
    both, our_own = seen("cntr_1"), seen("cntr_2", created=1.9)
    found = match([ours, theirs], [both, our_own], NOW)
    assert pairs(found) == {("a", "cntr_2")}
    assert [sighting.container_id for sighting in found.unclear] == ["cntr_1"]
    assert closed(found) == {"b"}


def test_what_could_be_of_two_owners_waits_for_a_minute() -> None:
    ours, theirs = intent("a"), intent("b", owner="team:other", started=4.1, lease=4.2)
    assert match([ours, theirs], [seen("cntr_1", created=4.1)], NOW).unclear == ()
    ours = replace(ours, lease_until=at(4))
    assert match([ours, theirs], [seen("cntr_1", created=4.1)], NOW) == Match()


def test_several_of_one_owner_go_in_order_of_time() -> None:
    creations = [intent(name, started=at, lease=at + 1) for name, at in (("b", 1), ("a", 0), ("c", 2))]
    sightings = [seen(f"cntr_{at}", created=at) for at in (2, 0, 1)]
    assert pairs(match(creations, sightings, NOW)) == {("a", "cntr_0"), ("b", "cntr_1"), ("c", "cntr_2")}


def test_the_most_containers_find_a_creation() -> None:
    """One whose time is over soon goes before one that began earlier and could have made a later one too."""
    long, short = intent("a", started=0, lease=3), intent("b", started=0.1, lease=0.2)
    found = match([long, short], [seen("cntr_1", created=1), seen("cntr_2", created=3)], NOW)
    assert pairs(found) == {("b", "cntr_1"), ("a", "cntr_2")}


OWNERS = st.sampled_from(["team:a", "team:b", "key:c"])
NAMES = st.sampled_from(["crate", "box"])
MINUTES = st.integers(0, 40).map(lambda tenths: tenths / 10)
LIMITS = st.sampled_from([None, "1g", "4g"])


@st.composite
def creations(draw: st.DrawFn) -> list[Creation]:
    return [
        intent(
            f"{number:032x}",
            started=(started := draw(MINUTES)),
            lease=started + draw(MINUTES),
            owner=draw(OWNERS),
            name=draw(NAMES),
            memory_limit=draw(LIMITS),
        )
        for number in range(draw(st.integers(0, 6)))
    ]


@st.composite
def sightings(draw: st.DrawFn) -> list[Sighting]:
    return [
        seen(f"cntr_{number}", created=draw(MINUTES), name=draw(NAMES), memory_limit=draw(LIMITS))
        for number in range(draw(st.integers(0, 6)))
    ]


@given(creations(), sightings(), MINUTES, st.randoms(use_true_random=False))
def test_whatever_is_pending(made: list[Creation], listed: list[Sighting], minutes: float, random: Random) -> None:
    now = at(minutes)
    found = match(made, listed, now)

    assert len({creation.creation_id for creation, _ in found.made}) == len(found.made)
    given_away = [sighting.container_id for sighting in (*(one for _, one in found.made), *found.unclear)]
    assert len(set(given_away)) == len(given_away)
    for maker, sighting in found.made:
        possible = [one for one in made if could_make(one, sighting)]
        assert maker in possible
        assert {one.owner for one in possible} == {maker.owner}
        assert all(one.lease_until <= now for one in possible)
    for sighting in found.unclear:
        possible = [one for one in made if could_make(one, sighting)]
        assert len({one.owner for one in possible}) > 1
        assert all(one.lease_until <= now for one in possible)
    for given_up in found.closed:
        assert given_up.lease_until <= now
        assert now - given_up.started_at >= timedelta(minutes=1)
        assert given_up not in [one for one, _ in found.made]

    assert match(random.sample(made, len(made)), random.sample(listed, len(listed)), now) == found


@given(st.lists(st.tuples(MINUTES, MINUTES, st.floats(0, 1)), max_size=8))
def test_everything_that_one_owner_made_is_found(times: list[tuple[float, float, float]]) -> None:
    made = [
        intent(f"{number:032x}", started=began, lease=began + took) for number, (began, took, _) in enumerate(times)
    ]
    listed = [seen(f"cntr_{number}", created=began + took * at) for number, (began, took, at) in enumerate(times)]
    found = match(made, listed, at(10))
    assert len(found.made) == len(times)
    assert not found.unclear


def test_one_that_says_how_much_memory_it_wants_leaves_the_rest_to_others() -> None:
    any_size, small = intent("a", lease=0.5), intent("b", started=0.05, lease=1, memory_limit="1g")
    found = match([any_size, small], [seen("cntr_1"), seen("cntr_2", created=0.1, memory_limit="4g")], NOW)
    assert pairs(found) == {("b", "cntr_1"), ("a", "cntr_2")}
