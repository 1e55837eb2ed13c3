"""Numbers of several rounds, brought together. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Figures = Mapping[str, float]
"""What one round measured, by name. The unit is the end of the name: `_us`, `_bytes`, `_per_second`, `_share`."""


class Refused(Exception):
    """A measurement that does not count, and why: answers that were not 2xx, a body cut short, a tool that failed."""


class Unavailable(Exception):
    """Why a contender, or something that it needs, cannot take part."""


@dataclass(frozen=True, slots=True)
class Summary:
    """One figure in each of its rounds, in their order."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of all rounds."""
        return statistics.median(self.rounds)

    @property
    def lowest(self) -> float:
        """Of all rounds."""
        return min(self.rounds)

    @property
    def highest(self) -> float:
        """Of all rounds."""
        return max(self.rounds)

    def beside(self, other: Summary) -> float:
        """As a multiple of another's: the median of what it was in each round, where they were measured by turns.

        Where one of them has not all rounds, of the medians.
        """
        if len(self.rounds) != len(other.rounds):
            return self.median / other.median
        return statistics.median(mine / theirs for mine, theirs in zip(self.rounds, other.rounds, strict=True))


def summarise(rounds: Sequence[Figures]) -> dict[str, Summary]:
    """Every figure that all rounds have. One that a round lacks was refused there, and is left out."""
    return {name: Summary(tuple(figures[name] for figures in rounds)) for name in _in_all(rounds)}


def medians(turns: Sequence[Figures]) -> dict[str, float]:
    """Of every figure that all turns have."""
    return {name: statistics.median(figures[name] for figures in turns) for name in _in_all(turns)}


def _in_all(several: Sequence[Figures]) -> list[str]:
    return [name for name in (several[0] if several else ()) if all(name in figures for figures in several)]
