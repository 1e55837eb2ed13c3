"""The run: every contender, one after the other, and that several times over."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from bench import upstream, wrk
from bench.contenders.contender import Contender, Site
from bench.figures import Figures, Refused, Unavailable
from bench.machine import Cores
from bench.program import NotReady, Program, free_port
from bench.scenarios import OTHERS_SHARE, Scenario, Stage, ask
from bench.services import Services
from bench.upstream import Upstream

WARM_UP_CONNECTIONS = 64
OTHERS_LIMIT: Final = 0.05
"""What everybody else may use of a core before a measurement counts as disturbed."""


@dataclass(frozen=True, slots=True)
class Part:
    """What is asked of one contender, and in how many of the rounds; None for all of them."""

    contender: Contender
    scenarios: tuple[Scenario, ...]
    rounds: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and how much of it."""

    parts: tuple[Part, ...]
    rounds: int
    warm_up_seconds: int
    big_bytes: int
    small_bytes: int
    repeat_seconds: float
    """For how long a measurement that something else on the machine disturbed is made again. 0 is never."""
    patience_seconds: float
    """For how long that may be in all: where nothing is ever undisturbed, the run has to end all the same."""
    install: bool
    """Whether contenders that are not installed are installed now, or left out."""


@dataclass(slots=True)
class Entry:
    """One contender and what came of it."""

    contender: Contender
    version: str = ""
    skipped: str | None = None
    """Why it took no part."""
    rounds: list[Figures] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    """Measurements that do not count, and why."""


@dataclass(slots=True)
class Patience:
    """What is left of the time for measuring again."""

    left_seconds: float

    @contextlib.contextmanager
    def spent(self) -> Iterator[None]:
        """The time that the body takes is gone."""
        began_at = time.monotonic()
        yield
        self.left_seconds -= time.monotonic() - began_at


@dataclass(frozen=True, slots=True)
class Place:
    """Where it all happens: the cores, what is installed, this run's folder, the upstream."""

    cores: Cores
    tools: Path
    folder: Path
    origin: Upstream
    patience: Patience

    def site(self, contender: Contender, number: int) -> Site:
        """A new one for each start."""
        home = self.folder / f"{contender.title.replace(' ', '-').replace(',', '')}-{number}"
        home.mkdir()
        return Site(home, free_port(), self.origin.port, self.origin.sink_port)


Say = Callable[[str], None]


def run(plan: Plan, *, cores: Cores, tools: Path, folder: Path, say: Say) -> Iterator[tuple[int, list[Entry]]]:
    """Measure. A new start of each contender for each round, so that no two are ever up together.

    After each round gives its number, and everything so far: the same list each time.
    """
    entries = [_admit(part.contender, plan, tools) for part in plan.parts]
    with upstream.running(
        folder / "upstream", core=cores.upstream, big_bytes=plan.big_bytes, small_bytes=plan.small_bytes
    ) as origin:
        place = Place(cores, tools, folder, origin, Patience(plan.patience_seconds))
        for number in range(1, plan.rounds + 1):
            for part, entry in zip(plan.parts, entries, strict=True):
                if entry.skipped is not None or number > (part.rounds or plan.rounds):
                    continue
                say(f"{time.strftime('%H:%M:%S')} round {number} of {plan.rounds}: {entry.contender.title}")
                try:
                    entry.rounds.append(_round(entry, part.scenarios, plan, place, number))
                except Exception as error:  # one that breaks must not cost the others their figures
                    _leave_out(entry, number, error)
                    say(f"  left out: {error!r}")
            yield number, entries


def _leave_out(entry: Entry, number: int, error: Exception) -> None:
    """Of all rounds if it broke in the first, else of this one."""
    reason = str(error) if isinstance(error, NotReady | Refused | Unavailable) else repr(error)
    if entry.rounds:
        entry.refusals.append(f"round {number}: {reason}")
    else:
        entry.skipped = reason


def _admit(contender: Contender, plan: Plan, tools: Path) -> Entry:
    entry = Entry(contender)
    try:
        if plan.install:
            contender.install(tools)
        entry.version = contender.version(tools)
    except Unavailable as reason:
        entry.skipped = str(reason)
    return entry


def _round(entry: Entry, scenarios: Sequence[Scenario], plan: Plan, place: Place, number: int) -> Figures:
    contender, cores = entry.contender, place.cores
    site = place.site(contender, number)
    figures: dict[str, float] = {}
    with contender.services(site, cores.upstream) as services:
        with _started(contender, place, site, services) as (program, ready_seconds):
            if program is not None:
                figures |= {"ready_us": ready_seconds * 1e6, "idle_rss_bytes": _idle_rss_bytes(program)}
            target = contender.target(site)
            if ask(target, "GET", target.container_path).get("id") != target.container_id:
                raise Refused("the first container that came was another one")
            stage = Stage(
                target,
                program,
                (*place.origin.programs, *services.programs),
                cores,
                place.origin.big_file,
                upload_target=partial(contender.upload_target, site, target),
                registered=partial(contender.registered, site, services),
                idle_rss_bytes=int(figures.get("idle_rss_bytes", 0)),
                spread=contender.takes_all_cores,
            )
            _warm_up(stage, plan.warm_up_seconds)
            for scenario in scenarios:
                figures |= _measured(entry, scenario, stage, plan.repeat_seconds, place.patience)
        shutil.rmtree(site.folder, ignore_errors=True)
    return figures


def _measured(entry: Entry, scenario: Scenario, stage: Stage, repeat_seconds: float, patience: Patience) -> Figures:
    figures: dict[str, float] = {}
    measure, others = partial(scenario.measure, stage), f"{scenario.name}{OTHERS_SHARE}"
    try:
        figures |= least_disturbed(measure, others, repeat_seconds if scenario.repeatable else 0, patience)
    except Refused as reason:
        entry.refusals.append(f"{scenario.name}: {reason}")
    if stage.program is not None:
        figures[f"{scenario.name}_rss_bytes"] = stage.program.rss_bytes()
    return figures


@contextlib.contextmanager
def _started(
    contender: Contender, place: Place, site: Site, services: Services
) -> Iterator[tuple[Program | None, float]]:
    """The contender, answering, and how long that took it. Raises NotReady."""
    launch = contender.launch(place.tools, site)
    if launch is None:
        yield None, 0.0
        return
    os.sync()  # else it would be disturbed by what others have left to be written
    cores = place.cores
    own = {cores.generator, cores.upstream, cores.contender} if contender.takes_all_cores else {cores.contender}
    target = contender.first_target(site)
    with Program(launch.argv, core=own, folder=site.folder, env={**launch.env, **services.env}) as program:
        ready_seconds = program.wait_until_ready(
            target.port, target.container_path, target.headers, within_seconds=contender.ready_within_seconds
        )
        yield program, ready_seconds


def least_disturbed(measure: Callable[[], Figures], others: str, repeat_seconds: float, patience: Patience) -> Figures:
    """The measurement during which everybody else used the least, which says nothing of how it went.

    `others` is the figure that tells. Measures until nothing disturbs, or the time is up, or the run's patience is.
    Raises Refused.
    """
    give_up_at = time.monotonic() + repeat_seconds
    best = measure()
    while best[others] > OTHERS_LIMIT and time.monotonic() < give_up_at and patience.left_seconds > 0:
        with patience.spent():
            best = min(best, measure(), key=lambda figures: figures[others])
    return best


def _idle_rss_bytes(program: Program) -> int:
    """Its memory, once it has nothing left to do: some load what they need later after they are ready."""
    before = program.cpu_seconds()
    for _ in range(10):
        time.sleep(0.5)
        if (now := program.cpu_seconds()) - before < 0.02:
            break
        before = now
    return program.rss_bytes()


def _warm_up(stage: Stage, seconds: int) -> None:
    with contextlib.suppress(Refused):  # what fails here fails again where it is measured, and is reported there
        wrk.run(
            stage.target.url(stage.target.container_path),
            stage.target.headers,
            connections=WARM_UP_CONNECTIONS,
            seconds=seconds,
            core=stage.cores.generator,
        )
