"""What people read: one table, and what has to be known beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.figures import Summary, summarise
from bench.rounds import OTHERS_LIMIT, Entry
from bench.scenarios import OTHERS_SHARE

BASELINE: Final = "nginx"
DIRECT: Final = "no gateway"
LOAD_LIMIT = 0.9
INDENT: Final = "  "


def _microseconds(value: float) -> str:
    if value < 1_000:
        return f"{value:.0f} µs"
    return f"{value / 1e3:.2f} ms" if value < 1e6 else f"{value / 1e6:.1f} s"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:,.0f} MB"


def _megabytes_per_second(value: float) -> str:
    return f"{value / 1e6:,.0f} MB/s"


def _percent(value: float) -> str:
    return f"{value * 100:.0f} %"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a figure, or a heading where there is none."""

    title: str
    figure: str | None = None
    text: Callable[[float], str] = _count
    compared: bool = False
    """Whether more lines give its range, and it as a multiple of nginx's."""
    added: bool = False
    """Whether a second line gives how much more it is than without a gateway."""


ROWS: Final = (
    Row("retrieve, 1 connection"),
    Row("p50", "retrieve_1_p50_us", _microseconds, added=True),
    Row("p99", "retrieve_1_p99_us", _microseconds),
    Row("retrieve, 64 connections"),
    Row("requests per second", "retrieve_64_per_second", _count, compared=True),
    Row("p50", "retrieve_64_p50_us", _microseconds),
    Row("p99", "retrieve_64_p99_us", _microseconds),
    Row("CPU per request", "retrieve_64_cpu_us", _microseconds),
    Row("load core busy", "retrieve_64_load_share", _percent),
    Row("download"),
    Row("speed", "download_bytes_per_second", _megabytes_per_second, compared=True),
    Row("first byte after", "download_first_byte_us", _microseconds),
    Row("memory grows by", "download_growth_bytes", _megabytes),
    Row("load core busy", "download_load_share", _percent),
    Row("process"),
    Row("ready in", "ready_us", _microseconds),
    Row("memory, idle", "idle_rss_bytes", _megabytes),
    Row("memory, after the load", "retrieve_64_rss_bytes", _megabytes),
)


def table(entries: Sequence[Entry]) -> str:
    """The medians of all who took part, as aligned text."""
    summaries = {entry.contender.title: summarise(entry.rounds) for entry in entries if entry.rounds}
    lines = [["", *summaries]]
    for row in ROWS:
        lines += _lines(row, summaries) if row.figure is not None else [[], [row.title]]
    return aligned(lines)


def _lines(row: Row, summaries: Mapping[str, Mapping[str, Summary]]) -> list[list[str]]:
    figures = {title: one.get(row.figure or "") for title, one in summaries.items()}
    baseline, direct = figures.get(BASELINE), figures.get(DIRECT)

    def line(title: str, text: Callable[[Summary], str]) -> list[str]:
        return [INDENT + title, *("-" if one is None else text(one) for one in figures.values())]

    lines = [line(row.title, lambda one: row.text(one.median))]
    if row.compared and any(one is not None and one.highest > one.lowest for one in figures.values()):
        lines.append(line("  lowest", lambda one: row.text(one.lowest)))
        lines.append(line("  highest", lambda one: row.text(one.highest)))
    if row.compared and baseline is not None:
        lines.append(line(f"  beside {BASELINE}", lambda one: f"{one.median / baseline.median:.3f} x"))
    if row.added and direct is not None:
        lines.append(line("  added", lambda one: row.text(one.median - direct.median)))
    return lines


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Cells as columns: the first to the left, the others to the right. Short lines are headings."""
    full = [line for line in lines if len(line) > 1]
    widths = [max(len(line[column]) for line in full) for column in range(len(full[0]))]
    text = []
    for line in lines:
        first, *others = line or [""]
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=False))
        text.append("  ".join((first.ljust(widths[0]), *cells)).rstrip())
    return "\n".join(text)


def remarks(entries: Sequence[Entry]) -> list[str]:
    """What a reader must know to trust the table: who is missing, what was refused, what disturbed."""
    found = []
    for entry in entries:
        title = entry.contender.title
        if entry.skipped is not None:
            found.append(f"{title} {'was left out' if not entry.rounds else 'did not finish'}: {entry.skipped}")
        found += [f"{title}, refused: {reason}" for reason in entry.refusals]
        found += _disturbances(entry)
    return found


def _disturbances(entry: Entry) -> list[str]:
    title, summary = entry.contender.title, summarise(entry.rounds)
    found = []
    disturbed = [
        f"{name.removesuffix(OTHERS_SHARE)} {_percent(one.highest)}"
        for name, one in summary.items()
        if name.endswith(OTHERS_SHARE) and one.highest > OTHERS_LIMIT
    ]
    if disturbed:
        found.append(f"{title} was disturbed: something else used, of one of the cores, in {', in '.join(disturbed)}")
    load = summary.get("retrieve_64_load_share")
    if load is not None and load.median > LOAD_LIMIT and title != DIRECT:
        found.append(f"{title}, retrieve_64: the load was at its limit, so this is the least that {title} can do")
    return found


def document(entries: Sequence[Entry], context: Mapping[str, Any]) -> dict[str, Any]:
    """Everything, for machines. Figures carry their unit in their name."""
    return {
        **context,
        "contenders": {
            entry.contender.title: {
                "version": entry.version,
                "note": entry.contender.note,
                "skipped": entry.skipped,
                "refused": entry.refusals,
                "figures": {
                    name: {"median": one.median, "lowest": one.lowest, "highest": one.highest}
                    for name, one in summarise(entry.rounds).items()
                },
                "rounds": list(entry.rounds),
            }
            for entry in entries
        },
    }
