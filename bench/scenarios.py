"""What is measured of every contender. One more scenario is one more class here and its rows in `report`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final

from bench import curl, wrk
from bench.contenders.contender import Target
from bench.machine import Cores
from bench.program import Program
from bench.upstream import CONTAINER_PATH, CONTENT_PATH
from bench.watch import Watch, watched

OTHERS_SHARE: Final = "_others_share"


@dataclass(frozen=True, slots=True)
class Stage:
    """A contender that is running and warm. `program` is None where there is no gateway."""

    target: Target
    program: Program | None
    upstream: Program
    cores: Cores


class Scenario(ABC):
    """One kind of work. Its figures begin with its name; the one that ends in OTHERS_SHARE is always there."""

    @property
    @abstractmethod
    def name(self) -> str:
        """In one word."""

    @abstractmethod
    def measure(self, stage: Stage) -> dict[str, float]:
        """Do the work and watch. Raises Refused where it was not done as it should be."""


@dataclass(frozen=True, slots=True)
class Retrieve(Scenario):
    """GET a container, again and again, over `connections` connections for `seconds`."""

    connections: int
    seconds: int

    @property
    def name(self) -> str:
        return f"retrieve_{self.connections}"

    def measure(self, stage: Stage) -> dict[str, float]:
        with watched(stage.cores, stage.program, stage.upstream) as watch:
            load = wrk.run(
                stage.target.url(CONTAINER_PATH),
                stage.target.headers,
                connections=self.connections,
                seconds=self.seconds,
                core=stage.cores.generator,
            )
        figures = {
            f"{self.name}_per_second": load.requests_per_second,
            f"{self.name}_p50_us": load.p50_us,
            f"{self.name}_p99_us": load.p99_us,
            **_of_the_cores(self.name, watch),
        }
        if stage.program is not None:
            figures[f"{self.name}_cpu_us"] = watch.contender_cpu_seconds / load.requests * 1e6
        return figures


@dataclass(frozen=True, slots=True)
class Download(Scenario):
    """GET one file of `size_bytes`, which must be whole `within_seconds`."""

    size_bytes: int
    within_seconds: float

    @property
    def name(self) -> str:
        return "download"

    def measure(self, stage: Stage) -> dict[str, float]:
        program, before = stage.program, 0
        if program is not None:
            before = program.rss_bytes()
            program.forget_peak()
        with watched(stage.cores, program, stage.upstream) as watch:
            transfer = curl.download(
                stage.target.url(CONTENT_PATH),
                stage.target.headers,
                expected_bytes=self.size_bytes,
                within_seconds=self.within_seconds,
                core=stage.cores.generator,
            )
        figures = {
            f"{self.name}_bytes_per_second": transfer.bytes_per_second,
            f"{self.name}_first_byte_us": transfer.first_byte_seconds * 1e6,
            **_of_the_cores(self.name, watch),
        }
        if program is not None:
            figures[f"{self.name}_growth_bytes"] = max(0, program.peak_rss_bytes() - before)
        return figures


def _of_the_cores(name: str, watch: Watch) -> dict[str, float]:
    return {f"{name}_load_share": watch.load_share, f"{name}{OTHERS_SHARE}": watch.others_share}
