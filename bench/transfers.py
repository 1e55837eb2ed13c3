"""Scenarios of large bodies: one download, many at once, one upload."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from bench import curl
from bench.scenarios import Scenario, Stage, of_the_cores
from bench.upstream import BIG_FILE, SMALL_FILE, content_path
from bench.watch import watched

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Download(Scenario):
    """GET one file of `size_bytes`, which must be whole `within_seconds`."""

    size_bytes: int
    within_seconds: float

    @property
    def name(self) -> str:
        return "download"

    def measure(self, stage: Stage) -> dict[str, float]:
        transfer, figures = _moved(
            self.name,
            stage,
            lambda: curl.download(
                stage.target.url(content_path(stage.target.container_id, BIG_FILE)),
                stage.target.headers,
                expected_bytes=self.size_bytes,
                within_seconds=self.within_seconds,
                core=stage.cores.generator,
            ),
        )
        return figures | {
            f"{self.name}_bytes_per_second": transfer.bytes_per_second,
            f"{self.name}_first_byte_us": transfer.first_byte_seconds * 1e6,
        }


@dataclass(frozen=True, slots=True)
class Crowd(Scenario):
    """GET a file of `size_bytes` `times` over at once, each on a connection of its own."""

    times: int
    size_bytes: int
    within_seconds: float

    @property
    def name(self) -> str:
        return "crowd"

    def measure(self, stage: Stage) -> dict[str, float]:
        transfers, figures = _moved(
            self.name,
            stage,
            lambda: curl.download_many(
                stage.target.url(content_path(stage.target.container_id, SMALL_FILE)),
                stage.target.headers,
                times=self.times,
                expected_bytes=self.size_bytes,
                within_seconds=self.within_seconds,
                core=stage.cores.generator,
            ),
        )
        seconds = sorted(transfer.seconds for transfer in transfers)
        return figures | {
            f"{self.name}_bytes_per_second": self.times * self.size_bytes / seconds[-1],
            f"{self.name}_unfairness_ratio": seconds[-1] / seconds[0],
        }


@dataclass(frozen=True, slots=True)
class Upload(Scenario):
    """POST one file of `size_bytes` as a form. The upstream reads every byte, and says so."""

    size_bytes: int
    within_seconds: float

    @property
    def name(self) -> str:
        return "upload"

    def measure(self, stage: Stage) -> dict[str, float]:
        target = stage.upload_target()
        transfer, figures = _moved(
            self.name,
            stage,
            lambda: curl.upload(
                target.url(f"{target.container_path}/files"),
                target.headers,
                stage.big_file,
                expected_bytes=self.size_bytes,
                within_seconds=self.within_seconds,
                core=stage.cores.generator,
            ),
        )
        return figures | {f"{self.name}_bytes_per_second": transfer.bytes_per_second}


def _moved(name: str, stage: Stage, move: Callable[[], T]) -> tuple[T, dict[str, float]]:
    """Move bytes, and watch the cores and the contender's memory. Raises Refused."""
    program, before = stage.program, 0
    if program is not None:
        before = program.rss_bytes()
        program.forget_peak()
    with watched(stage.cores, program, stage.load) as watch:
        moved = move()
    figures = of_the_cores(name, watch)
    if program is not None:
        figures[f"{name}_growth_bytes"] = max(0, program.peak_rss_bytes() - before)
        figures[f"{name}_cpu_seconds"] = watch.contender_cpu_seconds
    return moved, figures
