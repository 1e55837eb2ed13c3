"""The machine: which cores do what, and how busy they were."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil


class UnfitMachine(Exception):
    """What is missing on this machine, in words for its user."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where. With two cores the generator and the fake upstream share one."""

    generator: int
    upstream: int
    contender: int

    @classmethod
    def choose(cls, available: set[int]) -> Self:
        """Raises UnfitMachine where there is only one core."""
        if len(available) < 2:
            raise UnfitMachine("two cores are needed: one for the contender, one for the load and the fake upstream")
        ordered = sorted(available)
        return cls(generator=ordered[0], upstream=ordered[-2], contender=ordered[-1])


@dataclass(frozen=True, slots=True)
class CoreClock:
    """How long a core has been busy, in seconds since boot; time that the hypervisor took counts as busy."""

    at: float
    busy_seconds: float

    @classmethod
    def read(cls, core: int) -> Self:
        """The clock now."""
        times = psutil.cpu_times(percpu=True)[core]
        # user and nice hold guest and guest_nice already.
        busy = times.user + times.nice + times.system + times.irq + times.softirq + times.steal
        return cls(time.monotonic(), busy)


def description(available: set[int]) -> dict[str, Any]:
    """What a reader of the figures has to know of this machine, and of its cores that there were to choose from."""
    return {
        "cpu": _cpu_model(),
        "cores": len(available),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
