"""No gateway at all: what the load generator and the fake upstream can do by themselves."""

from __future__ import annotations

from pathlib import Path

from bench.contenders.contender import Contender, Launch, Site, Target


class Direct(Contender):
    """The generator asks the upstream."""

    title = "no gateway"
    note = "the load generator on the fake upstream: the most that this run can measure"

    def version(self, tools: Path) -> str:
        return ""

    def launch(self, tools: Path, site: Site) -> Launch | None:
        return None

    def first_target(self, site: Site) -> Target:
        return Target(site.upstream_port)

    def upload_target(self, site: Site, target: Target) -> Target:
        return Target(site.sink_port)
