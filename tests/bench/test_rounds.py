from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

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
    return Player(Entry(Direct()), stage, (told,), {})


def played(turns: int, **says: list[float | Exception]) -> tuple[dict[str, Player], list[str]]:
    """Contenders that took turns at a scenario that says these things of them, and the order they were asked in."""
    told = Told(says, [], turns)
    players = {title: player(title, told) for title in says}
    take_turns(list(players.values()), told)
    return players, told.asked


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "REST_SECONDS", 0)


@pytest.mark.usefixtures("restless")
def test_contenders_take_turns_each_time_another_one_first_and_the_median_counts() -> None:
    players, asked = played(3, a=[1.0, 5.0, 2.0], b=[7.0, 8.0, 9.0])
    assert asked == ["a", "b", "b", "a", "a", "b"]
    assert [each.figures for each in players.values()] == [{"told": 2.0}, {"told": 8.0}]


@pytest.mark.usefixtures("restless")
def test_who_is_refused_once_is_not_asked_again_and_costs_the_others_nothing() -> None:
    players, asked = played(3, a=[1.0, Refused("no answer")], b=[7.0, 8.0, 9.0])
    assert asked == ["a", "b", "b", "a", "b"]
    assert (players["a"].figures, players["a"].entry.refusals, players["a"].out) == ({}, ["told: no answer"], None)
    assert players["b"].figures == {"told": 8.0}


@pytest.mark.usefixtures("restless")
def test_who_breaks_plays_no_more_and_costs_the_others_nothing() -> None:
    players, asked = played(2, a=[OSError("gone")], b=[7.0, 9.0])
    assert asked == ["a", "b", "b"]
    assert repr(players["a"].out) == "OSError('gone')"
    assert players["b"].figures == {"told": 8.0}


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
    retrieve = (Retrieve(1, 1),)
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
    assert direct.rounds[0]["retrieve_1_per_second"] > 0
    assert direct.rounds[0]["create_1_per_second"] > 0
