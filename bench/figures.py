"""Numbers of several rounds, brought together. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import sub, truediv

Figures = Mapping[str, float]
"""What was measured once, by name. The unit is the end of the name: `_us`, `_bytes`, `_per_second`, `_share`."""

Turns = Mapping[str, Sequence[float]]
"""The figures of one round, each as often as it was measured, in the order of the turns."""


class Refused(Exception):
    """A measurement that does not count, and why: answers that were not 2xx, a body cut short, a tool that failed."""


class Unavailable(Exception):
    """Why a contender, or something that it needs, cannot take part."""


@dataclass(frozen=True, slots=True)
class Summary:
    """One figure in every turn of every round, in their order."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of all turns."""
        return statistics.median(self.values)

    @property
    def lowest(self) -> float:
        """Of all turns."""
        return min(self.values)

    @property
    def highest(self) -> float:
        """Of all turns."""
        return max(self.values)

    def beside(self, other: Summary) -> float:
        """As a multiple of another's, turn by turn: the median."""
        return self._compared(other, truediv)

    def more_than(self, other: Summary) -> float:
        """How much more it is than another's, turn by turn: the median."""
        return self._compared(other, sub)

    def _compared(self, other: Summary, how: Callable[[float, float], float]) -> float:
        """Of the medians, where one of them missed a turn and nobody can tell which belong together."""
        if len(self.values) != len(other.values):
            return how(self.median, other.median)
        return statistics.median(map(how, self.values, other.values))


def summarise(rounds: Sequence[Turns]) -> dict[str, Summary]:
    """Every figure that all rounds have. One that a round lacks was refused there, and is left out."""
    if not rounds:
        return {}
    complete = [name for name in rounds[0] if all(name in turns for turns in rounds)]
    return {name: Summary(tuple(chain.from_iterable(turns[name] for turns in rounds))) for name in complete}
