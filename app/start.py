"""Starting the gateway: what `serve` does, and what it keeps from being loaded."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_CANNOT_START: Final = 2


def start(config: Path | None, overrides: Mapping[str, str | int | None]) -> int:
    """Serve until a signal comes; returns the exit code. Why it cannot be done is said on stderr.

    `overrides` are settings that are stronger than all others, by the name of their variable without its prefix.
    """
    gc.disable()  # 50 ms: start-up leaves no garbage. `run` enables it again
    from app.config.load import load_settings
    from app.config.problems import ConfigurationError
    from app.sparing import uvicorn_without_its_command, without

    said = {f"QUAYMASTER_{name}": str(value) for name, value in overrides.items() if value is not None}
    try:
        settings = load_settings(config, {**os.environ, **said})
    except ConfigurationError as error:
        return _refuse(error)
    # structlog would import rich, 3 MB, to colour tracebacks.
    with uvicorn_without_its_command(), without("rich"):
        from app.serving import StartError, run
    if settings.server.workers > 1:
        from app.crew import run_crew as run
    try:
        return run(settings)
    except (ConfigurationError, StartError) as error:
        return _refuse(error)


def _refuse(error: Exception) -> int:
    print(f"quaymaster: {error}", file=sys.stderr)
    return _CANNOT_START
