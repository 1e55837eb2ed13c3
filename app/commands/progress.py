"""How far a transfer is, shown on stderr where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from app.commands.output import is_fancy, shown


@contextmanager
def progress_bar(label: str, *, hidden: bool = False) -> Generator[Callable[[int, int | None], None]]:
    """Show a bar with the rate and the time left; the value takes the bytes so far, and in all if known."""
    if hidden or not is_fancy(sys.stderr):
        yield lambda transferred_bytes, total_bytes: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, redirect_stdout=False, redirect_stderr=False) as progress:
        task = progress.add_task(shown(label), total=None)

        def update(transferred_bytes: int, total_bytes: int | None) -> None:
            progress.update(task, completed=transferred_bytes, total=total_bytes)

        yield update
