"""Numbers of several rounds, brought together. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Figures = Mapping[str, float]
"""What one round measured, by name. The unit is the end of the name: `_us`, `_bytes`, `_per_second`, `_share`."""


class Refused(Exception):
    """A measurement that does not count, and why: answers that were not 2xx, a body cut short, a tool that failed."""


class Unavailable(Exception):
    """Why a contender, or something that it needs, cannot take part."""


@dataclass(frozen=True, slots=True)
class Summary:
    """One figure over all its rounds."""

    median: float
    lowest: float
    highest: float


def summarise(rounds: Sequence[Figures]) -> dict[str, Summary]:
    """Every figure that all rounds have. One that a round lacks was refused there, and is left out."""
    if not rounds:
        return {}
    complete = [name for name in rounds[0] if all(name in figures for figures in rounds)]
    return {name: _summary(figures[name] for figures in rounds) for name in complete}


def _summary(values: Iterable[float]) -> Summary:
    ordered = sorted(values)
    return Summary(statistics.median(ordered), ordered[0], ordered[-1])
