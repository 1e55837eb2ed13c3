from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from random import Random

import pytest

from bench import starting
from bench.contenders.contender import Launch, Site, Target
from bench.contenders.direct import Direct
from bench.figures import Refused
from bench.machine import Cores
from bench.rounds import Entry, Part, Plan, Player, run, take_turns
from bench.scenarios import Create, Retrieve, Scenario, Stage


def cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


@dataclass(frozen=True, slots=True, eq=False)
class Told(Scenario):
    """Says what it was told to, and who was asked in which order. Nothing is started."""

    says: dict[str, list[float | Exception]]
    asked: list[str]
    turns: int = 1

    @property
    def name(self) -> str:
        return "told"

    def measure(self, stage: Stage) -> dict[str, float]:
        who = stage.big_file.name
        self.asked.append(who)
        said = self.says[who].pop(0)
        if isinstance(said, Exception):
            raise said
        return {"told": said}


def player(title: str, told: Told) -> Player:
    stage = Stage(Target(1), None, (), Cores(0, 0, 1), Path(title), lambda: Target(1), lambda: None)
    return Player(Entry(Direct()), stage, (told,), lambda: told.asked.append(f"{title} leaves"), {})


def played(turns: int, **says: list[float | Exception]) -> tuple[dict[str, Player], list[str]]:
    """Contenders that took turns at a scenario that says these things of them, and the order they were asked in."""
    told = Told(says, [], turns)
    players = {title: player(title, told) for title in says}
    take_turns(list(players.values()), told, Random(1))
    return players, told.asked


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "REST_SECONDS", 0)


@pytest.mark.usefixtures("restless")
def test_contenders_take_turns_in_changing_order_and_every_turn_is_kept() -> None:
    players, asked = played(8, a=[*range(8)], b=[*range(10, 18)])
    pairs = {tuple(asked[turn : turn + 2]) for turn in range(0, 16, 2)}
    assert pairs == {("a", "b"), ("b", "a")}
    assert players["a"].turns == {"told": [*range(8)]}
    assert players["b"].turns == {"told": [*range(10, 18)]}


@pytest.mark.usefixtures("restless")
def test_who_is_refused_once_is_not_asked_again_and_costs_the_others_nothing() -> None:
    players, asked = played(3, a=[1.0, Refused("no answer")], b=[7.0, 8.0, 9.0])
    assert sorted(asked) == ["a", "a", "b", "b", "b"]
    assert (players["a"].turns, players["a"].entry.refusals, players["a"].out) == ({}, ["told: no answer"], None)
    assert players["b"].turns == {"told": [7.0, 8.0, 9.0]}


@pytest.mark.usefixtures("restless")
def test_who_breaks_is_stopped_and_plays_no_more() -> None:
    players, asked = played(2, a=[OSError("gone")], b=[7.0, 9.0])
    assert sorted(asked) == ["a", "a leaves", "b", "b"]
    assert repr(players["a"].out) == "OSError('gone')"
    assert players["b"].turns == {"told": [7.0, 9.0]}


@pytest.mark.usefixtures("restless")
def test_nobody_is_measured_before_the_one_before_is_at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def looked_at(stage: Stage) -> float:
        asked.append(f"{stage.big_file.name} rests")
        return 0.0

    monkeypatch.setattr(Stage, "cpu_seconds", looked_at)
    told = Told({"a": [1.0, 2.0], "b": [1.0, Refused("no answer, and still busy with it")], "c": [1.0, 2.0]}, asked, 2)
    take_turns([player(title, told) for title in "abc"], told, Random(1))
    assert [name for name, _ in groupby(asked)] == [
        step for who in asked if "rests" not in who for step in (who, f"{who} rests")
    ]


def test_who_is_busy_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "REST_SECONDS", 0)
    used = [0.0, 1.0, 1.5, 1.505, 9.0]
    starting.come_to_rest(lambda: used.pop(0))
    assert used == [9.0]


class Broken(Direct):
    """A contender whose settings cannot be written, from a certain start on."""

    def __init__(self, starts: int) -> None:
        self.title = f"breaks after {starts}"
        self.starts = starts

    def launch(self, tools: Path, site: Site) -> Launch | None:
        self.starts -= 1
        if self.starts < 0:
            raise OSError("no room")
        return None


@pytest.mark.skipif(
    any(shutil.which(program) is None for program in ("nginx", "wrk", "setpriv", "taskset")) or len(cores()) < 2,
    reason="needs two cores, nginx, wrk and util-linux",
)
def test_a_contender_that_breaks_costs_no_other_one_its_figures(tmp_path: Path) -> None:
    retrieve = (Retrieve(1, 1, turns=2),)
    plan = Plan(
        groups=(
            (Part(Broken(0), retrieve), Part(Broken(1), retrieve)),
            (Part(Direct(), (*retrieve, Create(1, 1)), rounds=1),),
        ),
        rounds=2,
        warm_up_seconds=1,
        big_bytes=1000,
        small_bytes=1000,
        install=False,
    )
    chosen = Cores.choose(cores())
    after = list(run(plan, cores=chosen, tools=tmp_path, folder=tmp_path, say=lambda _: None))
    assert [number for number, _ in after] == [1, 2]
    never, once, direct = after[-1][1]
    assert (never.rounds, never.skipped) == ([], "OSError('no room')")
    assert (len(once.rounds), once.skipped, once.refusals) == (1, None, ["round 2: OSError('no room')"])
    assert (len(direct.rounds), direct.refusals) == (1, [])
    assert len(direct.rounds[0]["retrieve_1_per_second"]) == 2
    assert min(direct.rounds[0]["create_1_per_second"]) > 0
