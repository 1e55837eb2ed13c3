"""Who is asked what: the peers and we side by side, and then what only we are asked."""

from __future__ import annotations

from typing import Final

from bench.contenders import CONTENDERS
from bench.contenders.contender import Contender
from bench.contenders.direct import Direct
from bench.contenders.nginx import Nginx
from bench.contenders.quaymaster import Quaymaster
from bench.endurance import Endurance, Neighbours
from bench.rounds import Part, Plan
from bench.scenarios import Create, ListPage, Retrieve, Scenario
from bench.transfers import Crowd, Download, Upload

FEW: Final = Quaymaster(title="10 keys", keys=10, containers=100, note="10 keys and 100 containers in the database")
MANY_KEYS: Final = Quaymaster(title="100k keys", keys=100_000, containers=100, note="100,000 keys in the database")
MANY_CONTAINERS: Final = Quaymaster(
    title="1M containers", keys=10, containers=1_000_000, note="1,000,000 living containers, all its client's"
)
MANY_DEPLOYMENTS: Final = Quaymaster(
    title="50 deployments", keys=10, containers=100, deployments=50, note="50 deployments, all at the fake upstream"
)
POSTGRES: Final = Quaymaster(title="postgres", postgres=True, note="PostgreSQL with its own settings, on another core")
REDIS: Final = Quaymaster(
    title="redis", postgres=True, redis=True, note="limits in Redis and the rest in PostgreSQL, both on another core"
)
WORKERS: Final = Quaymaster(
    title="2 workers", postgres=True, redis=True, workers=2, note="as redis; two workers share both cores with the load"
)
CROWDED: Final = Quaymaster(
    title="neighbours", max_connections=4096, note="more connections to its upstream than by default: 4,096"
)
TIRED: Final = Quaymaster(title="endurance", note="as quaymaster; measured once")

GIBIBYTE: Final = 2**30
HUNDRED_MEGABYTES: Final = 100 * 10**6
DOWNLOADS: Final = 200


def full(rounds: int) -> Plan:
    """Everything, in three quarters of an hour where there are three rounds."""
    load = (  # LiteLLM's first answer at 256 connections takes more than three seconds
        *(Retrieve(connections, 5, turns=2) for connections in (1, 64, 256)),
        *(Create(connections, 4, turns=2) for connections in (1, 64)),
    )
    files = (Download(GIBIBYTE, within_seconds=150), Upload(GIBIBYTE, within_seconds=150))
    crowd = Crowd(DOWNLOADS, HUNDRED_MEGABYTES, within_seconds=150)
    retrieve, lists = Retrieve(64, 1, turns=9), (ListPage(20, 1, turns=9), ListPage(100, 1, turns=3))
    creates = (Create(1, 1, turns=5), Create(64, 1, turns=5))
    alone = (
        Part(FEW, (retrieve, *lists)),
        Part(MANY_KEYS, (retrieve,)),
        Part(MANY_CONTAINERS, (retrieve, *lists)),
        Part(MANY_DEPLOYMENTS, (retrieve,)),
        Part(POSTGRES, creates),
        Part(REDIS, (retrieve, *creates)),
        Part(WORKERS, (retrieve,)),
    )
    return Plan(
        groups=(
            _beside_each_other((*load, *files), crowd),
            alone,
            (Part(CROWDED, (Neighbours(slow=1_000, silent=500, seconds=6),)),),
            (Part(TIRED, (Endurance(1_000_000),), rounds=1),),
        ),
        rounds=rounds,
        warm_up_seconds=3,
        big_bytes=GIBIBYTE,
        small_bytes=HUNDRED_MEGABYTES,
        install=True,
    )


def quick(rounds: int) -> Plan:
    """The essentials, with less of everything: under two minutes where there is one round."""
    size = GIBIBYTE // 4
    retrieve, create = Retrieve(64, 2, turns=2), Create(64, 2, turns=2)
    files = (Download(size, within_seconds=60), Upload(size, within_seconds=60))
    peers = _beside_each_other((Retrieve(1, 1, turns=2), retrieve, create, *files), None)
    return Plan(
        groups=((*peers, Part(REDIS, (retrieve, create))),),
        rounds=rounds,
        warm_up_seconds=1,
        big_bytes=size,
        small_bytes=HUNDRED_MEGABYTES,
        install=False,
    )


def _beside_each_other(scenarios: tuple[Scenario, ...], crowd: Crowd | None) -> tuple[Part, ...]:
    """A part for each contender. The crowd is for those who can: 20 GB at LiteLLM's speed take ten minutes."""
    return tuple(
        Part(one, (*scenarios, crowd) if crowd is not None and _takes_crowds(one) else scenarios) for one in CONTENDERS
    )


def _takes_crowds(contender: Contender) -> bool:
    return isinstance(contender, Direct | Nginx | Quaymaster)
