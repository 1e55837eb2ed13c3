"""A start of a contender: its databases, its program, its first answer, its memory before any load, its warm-up."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from bench import wrk
from bench.contenders.contender import Contender, Site
from bench.figures import Refused
from bench.machine import Cores
from bench.program import Program, free_port
from bench.scenarios import Stage, ask
from bench.services import Services
from bench.upstream import Upstream

WARM_UP_CONNECTIONS = 64
REST_SECONDS: Final = 0.5
"""Whoever has used no CPU to speak of for so long is at rest."""
_REST_CPU_SECONDS: Final = 0.02
_REST_LOOKS: Final = 10


@dataclass(frozen=True, slots=True)
class Place:
    """Where it all happens: the cores, what is installed, this run's folder, the upstream."""

    cores: Cores
    tools: Path
    folder: Path
    origin: Upstream

    def site(self, contender: Contender, number: int) -> Site:
        """A new one for each start."""
        home = self.folder / f"{contender.title.replace(' ', '-').replace(',', '')}-{number}"
        home.mkdir()
        return Site(home, free_port(), self.origin.port, self.origin.sink_port)


@contextlib.contextmanager
def on_stage(contender: Contender, place: Place, number: int, warm_up_seconds: int) -> Iterator[Stage]:
    """The contender, answering, at rest and warm. Raises NotReady, Refused and Unavailable."""
    site, cores = place.site(contender, number), place.cores
    try:
        with (
            contender.services(site, cores.upstream) as services,
            _started(contender, place, site, services) as (program, ready_seconds),
        ):
            if program is not None:
                come_to_rest(program.cpu_seconds)
            idle_rss_bytes = program.rss_bytes() if program is not None else 0
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
                ready_seconds=ready_seconds,
                idle_rss_bytes=idle_rss_bytes,
                spread=contender.takes_all_cores,
            )
            _warm_up(stage, warm_up_seconds)
            come_to_rest(stage.cpu_seconds)
            yield stage
    finally:
        shutil.rmtree(site.folder, ignore_errors=True)


@contextlib.contextmanager
def _started(
    contender: Contender, place: Place, site: Site, services: Services
) -> Iterator[tuple[Program | None, float]]:
    """The contender, answering, and how long that took it. Raises NotReady."""
    launch = contender.launch(place.tools, site)
    if launch is None:
        yield None, 0.0
        return
    cores = place.cores
    own = {cores.generator, cores.upstream, cores.contender} if contender.takes_all_cores else {cores.contender}
    target = contender.first_target(site)
    with Program(launch.argv, core=own, folder=site.folder, env={**launch.env, **services.env}) as program:
        ready_seconds = program.wait_until_ready(
            target.port, target.container_path, target.headers, within_seconds=contender.ready_within_seconds
        )
        yield program, ready_seconds


def come_to_rest(cpu_seconds: Callable[[], float]) -> None:
    """Wait until it has nothing left to do, or for some seconds: some load what they need later after they are ready,
    and some are still busy with a load that has gone, or have left much to be written to the disk."""
    os.sync()
    before = cpu_seconds()
    for _ in range(_REST_LOOKS):
        time.sleep(REST_SECONDS)
        if (now := cpu_seconds()) - before < _REST_CPU_SECONDS:
            break
        before = now


def _warm_up(stage: Stage, seconds: int) -> None:
    with contextlib.suppress(Refused):  # what fails here fails again where it is measured, and is reported there
        wrk.run(
            stage.target.url(stage.target.container_path),
            stage.target.headers,
            connections=WARM_UP_CONNECTIONS,
            seconds=seconds,
            core=stage.cores.generator,
        )
