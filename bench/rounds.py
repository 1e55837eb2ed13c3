"""The run: every contender, one after the other, and that several times over."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from bench import upstream, wrk
from bench.contenders.contender import Contender, Site, Target, Unavailable
from bench.figures import Figures, Refused
from bench.machine import Cores
from bench.program import NotReady, Program, free_port
from bench.scenarios import OTHERS_SHARE, Scenario, Stage

WARM_UP_CONNECTIONS = 64
OTHERS_LIMIT: Final = 0.05
"""What everybody else may use of a core before a measurement counts as disturbed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int
    warm_up_seconds: int
    content_bytes: int
    scenarios: tuple[Scenario, ...]
    repeat_seconds: float
    """For how long a measurement that something else on the machine disturbed is made again. 0 is never."""
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


Say = Callable[[str], None]


def run(
    plan: Plan, contenders: Sequence[Contender], *, cores: Cores, tools: Path, folder: Path, say: Say
) -> list[Entry]:
    """Measure. A new start of each contender for each round, so that no two are ever up together."""
    entries = [_admit(contender, plan, tools) for contender in contenders]
    with upstream.running(folder / "upstream", core=cores.upstream, content_bytes=plan.content_bytes) as (origin, port):
        for number in range(1, plan.rounds + 1):
            for entry in entries:
                if entry.skipped is not None:
                    continue
                say(f"round {number} of {plan.rounds}: {entry.contender.title}")
                home = folder / f"{entry.contender.title.replace(' ', '-')}-{number}"
                home.mkdir()
                site = Site(home, free_port(), port)
                try:
                    entry.rounds.append(_round(entry, plan, cores, tools, site, origin))
                except (NotReady, Refused) as error:
                    entry.skipped = str(error)
                    say(f"  left out: {error}")
    return entries


def _admit(contender: Contender, plan: Plan, tools: Path) -> Entry:
    entry = Entry(contender)
    try:
        if plan.install:
            contender.install(tools)
        entry.version = contender.version(tools)
    except Unavailable as reason:
        entry.skipped = str(reason)
    return entry


def _round(entry: Entry, plan: Plan, cores: Cores, tools: Path, site: Site, origin: Program) -> Figures:
    figures: dict[str, float] = {}
    with _started(entry.contender, cores, tools, site) as (program, ready_seconds):
        target = entry.contender.target(site)
        _check(target)
        stage = Stage(target, program, origin, cores)
        if program is not None:
            figures |= {"ready_us": ready_seconds * 1e6, "idle_rss_bytes": program.rss_bytes()}
        _warm_up(stage, plan.warm_up_seconds)
        for scenario in plan.scenarios:
            try:
                figures |= least_disturbed(
                    partial(scenario.measure, stage), f"{scenario.name}{OTHERS_SHARE}", plan.repeat_seconds
                )
            except Refused as reason:
                entry.refusals.append(f"{scenario.name}: {reason}")
            if program is not None:
                figures[f"{scenario.name}_rss_bytes"] = program.rss_bytes()
    return figures


@contextlib.contextmanager
def _started(contender: Contender, cores: Cores, tools: Path, site: Site) -> Iterator[tuple[Program | None, float]]:
    """The contender, answering, and how long that took it. Raises NotReady."""
    launch = contender.launch(tools, site)
    if launch is None:
        yield None, 0.0
        return
    target = contender.first_target(site)
    with Program(launch.argv, core=cores.contender, folder=site.folder, env=launch.env) as program:
        ready_seconds = program.wait_until_ready(
            target.port, upstream.CONTAINER_PATH, target.headers, within_seconds=contender.ready_within_seconds
        )
        yield program, ready_seconds


def _check(target: Target) -> None:
    """Raises Refused unless the container that comes back is the upstream's."""
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=10)
    try:
        connection.request("GET", upstream.CONTAINER_PATH, headers=dict(target.headers))
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise Refused(f"the first request failed: {error!r}") from None
    finally:
        connection.close()
    if answer.status != 200 or json.loads(body).get("id") != upstream.CONTAINER_ID:
        raise Refused(f"the first request was answered with {answer.status} {body[:200].decode(errors='replace')}")


def least_disturbed(measure: Callable[[], Figures], others: str, repeat_seconds: float) -> Figures:
    """The measurement during which everybody else used the least, which says nothing of how it went.

    `others` is the figure that tells. Measures until nothing disturbs, or the time is up. Raises Refused.
    """
    give_up_at = time.monotonic() + repeat_seconds
    best = measure()
    while best[others] > OTHERS_LIMIT and time.monotonic() < give_up_at:
        best = min(best, measure(), key=lambda figures: figures[others])
    return best


def _warm_up(stage: Stage, seconds: int) -> None:
    with contextlib.suppress(Refused):  # what fails here fails again where it is measured, and is reported there
        wrk.run(
            stage.target.url(upstream.CONTAINER_PATH),
            stage.target.headers,
            connections=WARM_UP_CONNECTIONS,
            seconds=seconds,
            core=stage.cores.generator,
        )
