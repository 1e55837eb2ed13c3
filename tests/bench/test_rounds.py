from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from bench.contenders.contender import Launch, Site
from bench.contenders.direct import Direct
from bench.machine import Cores
from bench.rounds import Part, Patience, Plan, least_disturbed, run
from bench.scenarios import Create, Retrieve


def cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def chosen(*others: float, repeat_seconds: float = 60, patience_seconds: float = 60) -> tuple[float, int]:
    """Of measurements that others disturbed so much: the share in the one chosen, and how many were made."""
    left, patience = list(others), Patience(patience_seconds)
    figures = least_disturbed(lambda: {"x_others_share": left.pop(0)}, "x_others_share", repeat_seconds, patience)
    return figures["x_others_share"], len(others) - len(left)


def test_a_disturbed_measurement_is_made_again_until_one_is_undisturbed() -> None:
    assert chosen(0.01, 0.0) == (0.01, 1)
    assert chosen(0.5, 0.9, 0.02, 0.0) == (0.02, 3)


def test_where_the_time_is_up_the_least_disturbed_is_taken() -> None:
    assert chosen(0.5, 0.0, repeat_seconds=0) == (0.5, 1)


def test_where_the_run_has_waited_long_enough_nothing_is_measured_again() -> None:
    assert chosen(0.5, 0.0, patience_seconds=0) == (0.5, 1)


def test_patience_is_used_up_by_what_is_measured_again() -> None:
    patience = Patience(1.0)
    with patience.spent():
        until = time.monotonic() + 0.001
        while time.monotonic() < until:
            pass
    assert 0 < patience.left_seconds < 1.0 - 0.0009


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
        parts=(
            Part(Broken(0), retrieve),
            Part(Broken(1), retrieve),
            Part(Direct(), (*retrieve, Create(1, 1)), rounds=1),
        ),
        rounds=2,
        warm_up_seconds=1,
        big_bytes=1000,
        small_bytes=1000,
        repeat_seconds=0,
        patience_seconds=0,
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
