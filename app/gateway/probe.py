"""Between requests: is a deployment that was not well better now, and one that is silent still there?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from app.domain.deployments import Deployment
from app.domain.errors import UpstreamFault
from app.registry.upstream import list_page
from app.routing.track import Track
from app.tasks import Tasks

LOOK_SECONDS: Final = 0.5
"""How often to look whether a cooldown is over."""
PROBE_SECONDS: Final = 5.0


class Prober:
    """Asks for one item of a deployment's list: it keeps no container alive, and no client's request is risked."""

    def __init__(self, deployments: Sequence[Deployment], tracks: Mapping[str, Track], tasks: Tasks) -> None:
        self._deployments = deployments
        self._tracks = tracks
        self._tasks = tasks
        self._log = structlog.get_logger()

    async def look(self) -> None:
        """Start the probes that are due."""
        now = time.monotonic()
        for deployment in self._deployments:
            if self._tracks[deployment.name].wants_probe(now):
                self._tasks.spawn(self._probe(deployment), f"probe of {deployment.name}")

    async def _probe(self, deployment: Deployment) -> None:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await list_page(deployment, limit=1)
            trouble = None
        except UpstreamFault as fault:
            trouble = fault.detail
        except TimeoutError:
            trouble = "no answer"
        track = self._tracks[deployment.name]
        track.probed(time.monotonic(), trouble is None)
        self._log.info(
            "deployment_probed",
            deployment=deployment.name,
            well=trouble is None,
            trouble=trouble,
            state=track.circuit.state(time.monotonic()),
        )
