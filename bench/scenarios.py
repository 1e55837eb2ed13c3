"""What is measured of a contender. One more scenario is one more class, here or beside, and its rows in `report`."""

from __future__ import annotations

import http.client
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import wrk
from bench.contenders.contender import Target
from bench.figures import Refused
from bench.machine import Cores
from bench.program import Program
from bench.upstream import CONTAINERS_PATH
from bench.watch import Watch, watched

OTHERS_SHARE: Final = "_others_share"
NEW_CONTAINER: Final = '{"name": "bench"}'


@dataclass(frozen=True, slots=True)
class Stage:
    """A contender that is running and warm. `program` is None where there is no gateway."""

    target: Target
    program: Program | None
    load: tuple[Program, ...]
    """The fake upstream and the databases."""
    cores: Cores
    big_file: Path
    upload_target: Callable[[], Target]
    registered: Callable[[], int | None]
    """How many containers are in its registry, where it has one."""
    ready_seconds: float = 0.0
    """From exec to its first answer."""
    idle_rss_bytes: int = 0
    """Before the first load."""
    spread: bool = False
    """Whether the contender runs on every core."""

    def cpu_seconds(self) -> float:
        """What the contender and all that serve it have used so far."""
        return sum(program.cpu_seconds() for program in self.load) + (
            self.program.cpu_seconds() if self.program is not None else 0.0
        )

    def of_the_start(self) -> dict[str, float]:
        """The figures that are known before the first load."""
        if self.program is None:
            return {}
        return {"ready_us": self.ready_seconds * 1e6, "idle_rss_bytes": self.idle_rss_bytes}


class Scenario(ABC):
    """One kind of work. Its figures begin with its name; the one that ends in OTHERS_SHARE is always there."""

    turns: int = 1
    """How often it is measured in a round, by turns with all others who are asked the same."""

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
    turns: int = 1

    @property
    def name(self) -> str:
        return f"retrieve_{self.connections}"

    def measure(self, stage: Stage) -> dict[str, float]:
        return loaded(self.name, stage, stage.target.container_path, self.connections, self.seconds)[1]


@dataclass(frozen=True, slots=True)
class Create(Scenario):
    """POST a new container, again and again, over `connections` connections for `seconds`.

    Refused where two answers name the same container, and where a registry holds fewer than were answered.
    """

    connections: int
    seconds: int
    turns: int = 1

    @property
    def name(self) -> str:
        return f"create_{self.connections}"

    def measure(self, stage: Stage) -> dict[str, float]:
        path = CONTAINERS_PATH
        ids = {ask(stage.target, "POST", path, NEW_CONTAINER).get("id") for _ in range(2)}
        if len(ids) != 2 or None in ids:
            raise Refused("two creates did not make two containers")
        before = stage.registered()
        load, figures = loaded(self.name, stage, path, self.connections, self.seconds, body=NEW_CONTAINER)
        after = stage.registered()
        if before is not None and after is not None and after - before < load.requests:
            raise Refused(f"{load.requests} creates were answered, {after - before} are in the registry")
        return figures


@dataclass(frozen=True, slots=True)
class ListPage(Scenario):
    """GET the first page of containers, of so many items, over one connection for `seconds`."""

    items: int
    seconds: int
    turns: int = 1

    @property
    def name(self) -> str:
        return f"list_{self.items}"

    def measure(self, stage: Stage) -> dict[str, float]:
        path = f"{CONTAINERS_PATH}?limit={self.items}"
        listed = ask(stage.target, "GET", path).get("data")
        if not isinstance(listed, list) or len(listed) != self.items:
            raise Refused(f"the page has not {self.items} containers")
        return loaded(self.name, stage, path, 1, self.seconds)[1]


def loaded(
    name: str,
    stage: Stage,
    path: str,
    connections: int,
    seconds: int,
    *,
    body: str | None = None,
    beside: tuple[Program, ...] = (),
) -> tuple[wrk.Load, dict[str, float]]:
    """Let wrk ask, and watch; its figures. Programs `beside` belong to the load. Raises Refused."""
    with watched(stage.cores, stage.program, (*stage.load, *beside), spread=stage.spread) as watch:
        load = wrk.run(
            stage.target.url(path),
            stage.target.headers,
            connections=connections,
            seconds=seconds,
            core=stage.cores.generator,
            body=body,
        )
    figures = {
        f"{name}_per_second": load.requests_per_second,
        f"{name}_p50_us": load.p50_us,
        f"{name}_p99_us": load.p99_us,
        **of_the_cores(name, watch),
    }
    if stage.program is not None:
        figures[f"{name}_cpu_us"] = watch.contender_cpu_seconds / load.requests * 1e6
    if stage.spread:
        figures[f"{name}_balance_ratio"] = watch.balance_ratio
    return load, figures


def of_the_cores(name: str, watch: Watch) -> dict[str, float]:
    """The figures that say whether others count."""
    return {f"{name}_load_share": watch.load_share, f"{name}{OTHERS_SHARE}": watch.others_share}


def ask(target: Target, method: str, path: str, body: str | None = None) -> Mapping[str, Any]:
    """One request, and the JSON object that it was answered with. Raises Refused unless that came with a 200."""
    headers = dict(target.headers) | ({"Content-Type": "application/json"} if body is not None else {})
    with closing(http.client.HTTPConnection("127.0.0.1", target.port, timeout=30)) as connection:
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Refused(f"{method} {path} failed: {error!r}") from None
    try:
        said = json.loads(text)
    except ValueError:
        said = None
    if answer.status != 200 or not isinstance(said, dict):
        raise Refused(f"{method} {path} was answered with {answer.status} {text[:200].decode(errors='replace')}")
    return said
