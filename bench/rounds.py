"""The run: groups of contenders, one after the other, and that several times over. Within a group, turn by turn."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from bench import upstream
from bench.contenders.contender import Contender
from bench.figures import Figures, Refused, Turns, Unavailable
from bench.machine import Cores
from bench.program import NotReady
from bench.scenarios import Scenario, Stage
from bench.starting import Place, come_to_rest, on_stage


@dataclass(frozen=True, slots=True)
class Part:
    """What is asked of one contender, and in how many of the rounds; None for all of them."""

    contender: Contender
    scenarios: tuple[Scenario, ...]
    rounds: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and how much of it."""

    groups: tuple[tuple[Part, ...], ...]
    """Those of a group are up together and take turns, so that a machine that changes its speed changes it for all."""
    rounds: int
    warm_up_seconds: int
    big_bytes: int
    small_bytes: int
    install: bool
    """Whether contenders that are not installed are installed now, or left out."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """Those of all groups."""
        return tuple(part for group in self.groups for part in group)


@dataclass(slots=True)
class Entry:
    """One contender and what came of it."""

    contender: Contender
    version: str = ""
    skipped: str | None = None
    """Why it took no part."""
    rounds: list[Turns] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    """Measurements that do not count, and why."""


@dataclass(slots=True, eq=False)
class Player:
    """One contender in one round."""

    entry: Entry
    stage: Stage
    scenarios: tuple[Scenario, ...]
    leave: Callable[[], None]
    """Stop it. May be called twice."""
    turns: dict[str, Sequence[float]]
    """What is known of this round."""
    out: Exception | None = None
    """Why it plays no more."""

    def turn(self, scenario: Scenario) -> Figures | None:
        """Measure once, and wait until it is at rest. None where that does not count, and is not to be tried again."""
        try:
            figures = self._measured(scenario)
            come_to_rest(self.stage.cpu_seconds)
            if figures is not None and (program := self.stage.program) is not None:
                figures[f"{scenario.name}_rss_bytes"] = program.rss_bytes()
        except Exception as error:
            self.out = error
            self.leave()
            return None
        return figures

    def _measured(self, scenario: Scenario) -> dict[str, float] | None:
        try:
            return dict(scenario.measure(self.stage))
        except Refused as reason:
            self.entry.refusals.append(f"{scenario.name}: {reason}")
            return None


Say = Callable[[str], None]


def run(plan: Plan, *, cores: Cores, tools: Path, folder: Path, say: Say) -> Iterator[tuple[int, list[Entry]]]:
    """Measure. A new start of each contender for each round.

    After each round gives its number, and everything so far: the same list each time.
    """
    groups = [[(part, _admit(part.contender, plan, tools)) for part in group] for group in plan.groups]
    with upstream.running(
        folder / "upstream", core=cores.upstream, big_bytes=plan.big_bytes, small_bytes=plan.small_bytes
    ) as origin:
        place = Place(cores, tools, folder, origin)
        for number in range(1, plan.rounds + 1):
            for group in groups:
                invited = [
                    (part, entry)
                    for part, entry in group
                    if entry.skipped is None and number <= (part.rounds or plan.rounds)
                ]
                _round(invited, plan, place, number, say)
            yield number, [entry for group in groups for _, entry in group]


def _admit(contender: Contender, plan: Plan, tools: Path) -> Entry:
    entry = Entry(contender)
    try:
        if plan.install:
            contender.install(tools)
        entry.version = contender.version(tools)
    except Unavailable as reason:
        entry.skipped = str(reason)
    return entry


def _round(invited: Sequence[tuple[Part, Entry]], plan: Plan, place: Place, number: int, say: Say) -> None:
    """Start them all, and let them take turns. One that breaks is stopped, and costs the others nothing."""
    players: list[Player] = []
    with contextlib.ExitStack() as started:
        for part, entry in invited:
            say(f"{time.strftime('%H:%M:%S')} round {number} of {plan.rounds}: {entry.contender.title} starts")
            own = started.enter_context(contextlib.ExitStack())
            try:
                stage = own.enter_context(on_stage(part.contender, place, number, plan.warm_up_seconds))
            except Exception as error:
                _leave_out(entry, number, error, say)
            else:
                turns: dict[str, Sequence[float]] = {name: [one] for name, one in stage.of_the_start().items()}
                players.append(Player(entry, stage, part.scenarios, own.close, turns))
        for scenario in dict.fromkeys(scenario for player in players for scenario in player.scenarios):
            say(f"{time.strftime('%H:%M:%S')} round {number} of {plan.rounds}: {scenario.name}")
            take_turns([player for player in players if scenario in player.scenarios], scenario, Random(number))
        for player in players:
            if player.out is not None:
                _leave_out(player.entry, number, player.out, say)
            else:
                player.entry.rounds.append(player.turns)


def take_turns(players: Sequence[Player], scenario: Scenario, random: Random) -> None:
    """Measure each as often as the scenario has turns, each time in another order. Who fails once is asked no more."""
    found: dict[Player, list[Figures]] = {player: [] for player in players if player.out is None}
    for _ in range(scenario.turns):
        for player in random.sample(list(found), len(found)):
            figures = player.turn(scenario)
            if figures is None:
                del found[player]
            else:
                found[player].append(figures)
    for player, turns in found.items():
        player.turns |= {name: [figures[name] for figures in turns] for name in turns[0]}


def _leave_out(entry: Entry, number: int, error: Exception, say: Say) -> None:
    """Of all rounds if it broke in the first, else of this one."""
    say(f"  {entry.contender.title} is left out: {error!r}")
    reason = str(error) if isinstance(error, NotReady | Refused | Unavailable) else repr(error)
    if entry.rounds:
        entry.refusals.append(f"round {number}: {reason}")
    else:
        entry.skipped = reason
