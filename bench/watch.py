"""What the cores did during one measurement: the contender's part, the load's, and that of everybody else."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench.machine import CoreClock, Cores
from bench.program import Program


@dataclass(slots=True)
class Watch:
    """Filled in when the measurement is over. Shares are of one core, 0 to 1 but for the clocks' 10 ms steps."""

    contender_cpu_seconds: float = 0.0
    load_share: float = 0.0
    """The generator, the fake upstream and the databases: of the core they share, else of the busier one."""
    balance_ratio: float = 1.0
    """Of the contender's two busiest processes the less busy one, beside the other."""
    others_share: float = 0.0
    """What neither the contender nor the load used, on the core where that was more; where the contender has all cores,
    on all together."""


@contextmanager
def watched(
    cores: Cores, contender: Program | None, load: Sequence[Program], *, spread: bool = False
) -> Iterator[Watch]:
    """Watch while the body runs. Programs it starts and waits for count as the generator.

    `load` are the programs on the upstream's core. `spread` tells that the contender runs on every core.
    """
    watch = Watch()
    clocks = {core: CoreClock.read(core) for core in {cores.generator, cores.upstream, cores.contender}}
    at_first = contender.cpu_seconds_by_process() if contender is not None else {}
    before = _load_seconds(load), _waited_for_cpu_seconds()
    yield watch
    now = _load_seconds(load), _waited_for_cpu_seconds()
    at_last = contender.cpu_seconds_by_process() if contender is not None else {}
    of_upstream, of_generator = (b - a for a, b in zip(before, now, strict=True))
    of_processes = sorted((seconds - at_first.get(pid, 0.0) for pid, seconds in at_last.items()), reverse=True)
    of_contender = sum(of_processes)
    used = dict.fromkeys(clocks, 0.0)
    used[cores.generator] += of_generator
    used[cores.upstream] += of_upstream
    loaded = {core: used[core] for core in {cores.generator, cores.upstream}}
    used[cores.contender] += of_contender
    seconds, busy = 0.0, {}
    for core, clock in clocks.items():
        later = CoreClock.read(core)
        seconds, busy[core] = later.at - clock.at, later.busy_seconds - clock.busy_seconds
    watch.contender_cpu_seconds = of_contender
    if len(of_processes) > 1 and of_processes[0] > 0:
        watch.balance_ratio = of_processes[1] / of_processes[0]
    watch.load_share = max(loaded.values()) / seconds
    if spread:
        watch.others_share = max(0.0, sum(busy.values()) - sum(used.values())) / seconds
        return
    # Without a contender its core has nothing to do with the figures.
    disturbed = set(clocks) if contender is not None else set(loaded)
    watch.others_share = max(0.0, *(busy[core] - used[core] for core in disturbed)) / seconds


def _load_seconds(programs: Sequence[Program]) -> float:
    return sum(program.cpu_seconds() for program in programs)


def _waited_for_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
