"""What the cores did during one measurement: the contender's part, the load's, and that of everybody else."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.machine import CoreClock, Cores
from bench.program import Program


@dataclass(slots=True)
class Watch:
    """Filled in when the measurement is over. Shares are of one core, 0 to 1 but for the clocks' 10 ms steps."""

    contender_cpu_seconds: float = 0.0
    load_share: float = 0.0
    """The generator and the fake upstream: of the core they share, else of the busier one."""
    others_share: float = 0.0
    """What neither the contender nor the load used, on the core where that was more."""


@contextmanager
def watched(cores: Cores, contender: Program | None, upstream: Program) -> Iterator[Watch]:
    """Watch while the body runs. Programs it starts and waits for count as the generator."""
    watch = Watch()
    clocks = {core: CoreClock.read(core) for core in {cores.generator, cores.upstream, cores.contender}}
    before = _cpu_seconds(contender), _cpu_seconds(upstream), _waited_for_cpu_seconds()
    yield watch
    now = _cpu_seconds(contender), _cpu_seconds(upstream), _waited_for_cpu_seconds()
    of_contender, of_upstream, of_generator = (b - a for a, b in zip(before, now, strict=True))
    used = dict.fromkeys(clocks, 0.0)
    used[cores.generator] += of_generator
    used[cores.upstream] += of_upstream
    load = {core: used[core] for core in {cores.generator, cores.upstream}}
    used[cores.contender] += of_contender
    seconds, busy = 0.0, {}
    for core, clock in clocks.items():
        later = CoreClock.read(core)
        seconds, busy[core] = later.at - clock.at, later.busy_seconds - clock.busy_seconds
    watch.contender_cpu_seconds = of_contender
    watch.load_share = max(load.values()) / seconds
    # Without a contender its core has nothing to do with the figures.
    disturbed = set(clocks) if contender is not None else set(load)
    watch.others_share = max(0.0, *(busy[core] - used[core] for core in disturbed)) / seconds


def _cpu_seconds(program: Program | None) -> float:
    return program.cpu_seconds() if program is not None else 0.0


def _waited_for_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
