"""Scenarios that only we are asked to stand: what neighbours cost, and what a million requests leave behind."""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Refused
from bench.neighbours import ENDED, OPEN
from bench.program import NotReady, Program
from bench.scenarios import OTHERS_SHARE, Scenario, Stage, loaded
from bench.upstream import ROOT

_CONNECTIONS = 64
_SLICE_SECONDS = 10
_SETTLED_AFTER = 50_000


@dataclass(frozen=True, slots=True)
class Neighbours(Scenario):
    """Retrieve over 64 connections, alone, and then while `slow` readers and `silent` upstream calls are open."""

    slow: int
    silent: int
    seconds: int

    @property
    def name(self) -> str:
        return "neighbours"

    def measure(self, stage: Stage) -> dict[str, float]:
        target = stage.target
        _, alone = loaded("alone", stage, target.container_path, _CONNECTIONS, self.seconds)
        argv = [sys.executable, "-m", "bench.neighbours", str(target.port), target.headers["Authorization"]]
        argv += [target.container_id, str(self.slow), str(self.silent)]
        with (
            tempfile.TemporaryDirectory() as folder,
            Program(argv, core=stage.cores.generator, folder=Path(folder), env={"PYTHONPATH": str(ROOT)}) as crowd,
        ):
            try:
                crowd.wait_until(lambda: OPEN in crowd.written() or ENDED in crowd.written(), within_seconds=60)
            except NotReady as error:
                raise Refused(f"the neighbours did not get in: {error}") from None
            time.sleep(1)  # the silent questions are asked, and have to arrive
            _, beside = loaded(self.name, stage, target.container_path, _CONNECTIONS, self.seconds, beside=(crowd,))
            if ENDED in (written := crowd.written()):
                raise Refused(f"neighbours were sent away: {written[:200]}")
        both = max(alone[f"alone{OTHERS_SHARE}"], beside[f"{self.name}{OTHERS_SHARE}"])
        return alone | beside | {f"{self.name}{OTHERS_SHARE}": both}


@dataclass(frozen=True, slots=True)
class Endurance(Scenario):
    """Retrieve over 64 connections until `requests` are answered, and see what memory has become of it."""

    requests: int

    @property
    def name(self) -> str:
        return "endurance"

    def measure(self, stage: Stage) -> dict[str, float]:
        if stage.program is None:
            raise Refused("there is nobody whose memory could grow")
        answered, settled, others = 0, 0, 0.0
        while answered < self.requests:
            seconds = _SLICE_SECONDS if settled else 2
            load, figures = loaded(self.name, stage, stage.target.container_path, _CONNECTIONS, seconds)
            answered += load.requests
            others = max(others, figures[f"{self.name}{OTHERS_SHARE}"])
            if not settled and answered >= _SETTLED_AFTER:
                settled = stage.program.rss_bytes()
        grown = stage.program.rss_bytes()
        return {
            f"{self.name}_requests": answered,
            f"{self.name}_growth_bytes": grown - stage.idle_rss_bytes,
            f"{self.name}_late_growth_bytes": grown - settled,
            f"{self.name}{OTHERS_SHARE}": others,
        }
