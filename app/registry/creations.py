"""Which container came of which creation, where nobody saw the answer. No I/O; the clock is passed in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from app.domain.containers import Creation, Sighting

SKEW: Final = timedelta(seconds=5)
"""How far an upstream's clock may be behind ours."""
LATE: Final = timedelta(seconds=60)
"""How long after the last sign of its process an upstream may have made a container, or its clock be ahead."""
PATIENCE: Final = timedelta(seconds=60)
"""How long a container may take to appear in its upstream's list: nothing is given up before."""


@dataclass(frozen=True, slots=True)
class Match:
    """What is certain. Creations and containers that are in none of these wait for the next time."""

    made: tuple[tuple[Creation, Sighting], ...] = ()
    """Each creation and each container at most once."""
    unclear: tuple[Sighting, ...] = ()
    """Containers that could be of several owners."""
    closed: tuple[Creation, ...] = ()
    """Of these nothing came, or nobody can say what."""


def could_make(creation: Creation, sighting: Sighting) -> bool:
    """Whether this container may have come of this creation."""
    return (
        creation.name == sighting.name
        and (None in (creation.memory_limit, sighting.memory_limit) or creation.memory_limit == sighting.memory_limit)
        and creation.started_at - SKEW <= sighting.created_at <= creation.lease_until + LATE
    )


def match(creations: Sequence[Creation], sightings: Sequence[Sighting], now: datetime) -> Match:
    """Find what came of creations that are pending.

    `sightings` are the containers of their deployment that are not registered; creations whose lease goes on are given
    as well, as whatever they could have made is left to them. Whoever made a container is never guessed: one that could
    be of two owners is given to neither. Of one owner's, creations and containers of the same kind are as good as each
    other, and go together in order of time.
    """
    creations = sorted(creations, key=lambda creation: (creation.started_at, creation.creation_id))
    over = {creation.creation_id: creation for creation in creations if creation.lease_until <= now}
    makers = {
        sighting.container_id: [creation for creation in creations if could_make(creation, sighting)]
        for sighting in sightings
    }
    waiting: set[str] = set()
    unclear: list[Sighting] = []
    clear: list[Sighting] = []
    for sighting in sorted(sightings, key=lambda sighting: (sighting.created_at, sighting.container_id)):
        possible = makers[sighting.container_id]
        is_one_owners = len({creation.owner for creation in possible}) <= 1
        if any(it.creation_id not in over or not (is_one_owners or _is_patient(it, now)) for it in possible):
            waiting.update(creation.creation_id for creation in possible)
        elif is_one_owners:
            clear.append(sighting)
        else:
            unclear.append(sighting)
    made = _in_order(clear, makers)
    ended = {creation.creation_id for creation, _ in made} | waiting
    closed = [it for name, it in over.items() if name not in ended and _is_patient(it, now)]
    return Match(tuple(made), tuple(unclear), tuple(closed))


def _is_patient(creation: Creation, now: datetime) -> bool:
    """Whether it has waited for long enough."""
    return now - creation.started_at >= PATIENCE


def _in_order(
    sightings: Sequence[Sighting], makers: Mapping[str, Sequence[Creation]]
) -> list[tuple[Creation, Sighting]]:
    """Give each container to the creation that can do the least with others, so that the most find theirs.

    That is one that says how much memory it wanted, then the one whose time ends first.
    """
    made: list[tuple[Creation, Sighting]] = []
    taken: set[str] = set()
    for sighting in sightings:
        free = [creation for creation in makers[sighting.container_id] if creation.creation_id not in taken]
        if free:
            chosen = min(free, key=lambda it: (it.memory_limit is None, it.lease_until, it.started_at))
            taken.add(chosen.creation_id)
            made.append((chosen, sighting))
    return made
