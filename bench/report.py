"""What people read: the document of a run as tables, and what has to be known beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.figures import Summary, summarise
from bench.rounds import Entry
from bench.scenarios import OTHERS_SHARE

BASELINE: Final = "nginx"
DIRECT: Final = "no gateway"
PEERS: Final[tuple[str, ...]] = (DIRECT, BASELINE, "quaymaster", "portkey", "litellm")
"""Who stands in the first table. All others are ours alone, and stand in the second."""
FEW: Final = "10 keys"
LOAD_LIMIT: Final = 0.9
OTHERS_LIMIT: Final = 0.05
"""What everybody else may use of a core before a measurement counts as disturbed."""
INDENT: Final = "  "

Summaries = Mapping[str, Mapping[str, Summary]]
"""Figures by contender and name."""


def microseconds(value: float) -> str:
    """In the unit that reads best."""
    if abs(value) < 1_000:
        return f"{value:.0f} µs"
    return f"{value / 1e3:.2f} ms" if abs(value) < 1e6 else f"{value / 1e6:.1f} s"


def count(value: float) -> str:
    """A whole number."""
    return f"{value:,.0f}"


def megabytes(value: float) -> str:
    """Bytes as MB."""
    return f"{value / 1e6:,.0f} MB"


def megabytes_per_second(value: float) -> str:
    """Bytes per second as MB/s."""
    return f"{value / 1e6:,.0f} MB/s"


def percent(value: float) -> str:
    """A share of one."""
    return f"{value * 100:.0f} %"


def times(value: float) -> str:
    """A multiple, to three figures that count."""
    return f"{value:,.0f} x" if value >= 100 else f"{value:.3g} x"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: a figure, or a heading where there is none."""

    title: str
    figure: str | None = None
    text: Callable[[float], str] = count
    compared: bool = False
    """Whether more lines give its range, and it as a multiple of the baseline's."""
    added: bool = False
    """Whether a second line gives how much more it is than without a gateway."""


def _load(title: str, figure: str, *, added: bool = False) -> tuple[Row, ...]:
    return (
        Row(title),
        Row("requests per second", f"{figure}_per_second", count, compared=not added),
        Row("p50", f"{figure}_p50_us", microseconds, added=added),
        Row("p99", f"{figure}_p99_us", microseconds, added=added),
        Row("CPU per request", f"{figure}_cpu_us", microseconds),
        Row("load core busy", f"{figure}_load_share", percent),
    )


ROWS: Final = (
    *_load("retrieve, 1 connection", "retrieve_1", added=True),
    *_load("retrieve, 64 connections", "retrieve_64"),
    *_load("retrieve, 256 connections", "retrieve_256"),
    *_load("create, 1 connection", "create_1", added=True),
    *_load("create, 64 connections", "create_64"),
    Row("download"),
    Row("speed", "download_bytes_per_second", megabytes_per_second, compared=True),
    Row("first byte after", "download_first_byte_us", microseconds),
    Row("memory grows by", "download_growth_bytes", megabytes),
    Row("load core busy", "download_load_share", percent),
    Row("upload"),
    Row("speed", "upload_bytes_per_second", megabytes_per_second, compared=True),
    Row("memory grows by", "upload_growth_bytes", megabytes),
    Row("load core busy", "upload_load_share", percent),
    Row("200 downloads of 100 MB at once"),
    Row("speed of all together", "crowd_bytes_per_second", megabytes_per_second, compared=True),
    Row("slowest beside fastest", "crowd_unfairness_ratio", times),
    Row("memory grows by", "crowd_growth_bytes", megabytes),
    Row("load core busy", "crowd_load_share", percent),
    Row("process"),
    Row("ready in", "ready_us", microseconds),
    Row("memory, idle", "idle_rss_bytes", megabytes),
    Row("memory, after retrieving", "retrieve_64_rss_bytes", megabytes),
)

OWN_ROWS: Final = (
    *_load("retrieve, 64 connections", "retrieve_64"),
    Row("less busy worker beside the other", "retrieve_64_balance_ratio", times),
    Row("create, 1 connection"),
    Row("p50", "create_1_p50_us", microseconds),
    Row("p99", "create_1_p99_us", microseconds),
    Row("create, 64 connections"),
    Row("requests per second", "create_64_per_second", count),
    Row("p99", "create_64_p99_us", microseconds),
    Row("CPU per request", "create_64_cpu_us", microseconds),
    Row("list, 1 connection"),
    Row("p50 of 20 containers", "list_20_p50_us", microseconds),
    Row("p50 of 100 containers", "list_100_p50_us", microseconds),
    Row("retrieve, 64 connections, beside 1,000 slow readers and 500 silent calls"),
    Row("p99 without them", "alone_p99_us", microseconds),
    Row("p99 with them", "neighbours_p99_us", microseconds),
    Row("requests per second without", "alone_per_second", count),
    Row("requests per second with", "neighbours_per_second", count),
    Row("memory after many requests"),
    Row("requests", "endurance_requests", count),
    Row("more than when idle", "endurance_growth_bytes", megabytes),
    Row("more than after 50,000", "endurance_late_growth_bytes", megabytes),
    Row("process"),
    Row("ready in", "ready_us", microseconds),
    Row("memory, idle", "idle_rss_bytes", megabytes),
)


def summaries(document: Mapping[str, Any]) -> dict[str, dict[str, Summary]]:
    """The figures of a document, of all who took part."""
    return {title: summarise(one["rounds"]) for title, one in document["contenders"].items() if one["rounds"]}


def tables(document: Mapping[str, Any]) -> list[list[list[str]]]:
    """The medians of all who took part, first beside each other, then ours alone: lines of cells, headings of one."""
    found = summaries(document)
    peers = {title: found[title] for title in PEERS if title in found}
    alone = {title: one for title, one in found.items() if title not in PEERS}
    return [
        _table(part, rows, baseline)
        for part, rows, baseline in ((peers, ROWS, BASELINE), (alone, OWN_ROWS, FEW))
        if part
    ]


def _table(part: Summaries, rows: Sequence[Row], baseline: str) -> list[list[str]]:
    lines = [["", *part]]
    heading: list[list[str]] = []
    for row in rows:
        if row.figure is None:
            heading = [[], [row.title]]
        elif any(row.figure in one for one in part.values()):
            lines += [*heading, *_lines(row, part, baseline)]
            heading = []
    return lines


def _lines(row: Row, part: Summaries, baseline: str) -> list[list[str]]:
    figures = {title: one.get(row.figure or "") for title, one in part.items()}
    mark, direct = figures.get(baseline), figures.get(DIRECT)

    def line(title: str, text: Callable[[Summary], str]) -> list[str]:
        return [INDENT + title, *("-" if one is None else text(one) for one in figures.values())]

    lines = [line(row.title, lambda one: row.text(one.median))]
    if row.compared and any(one is not None and one.highest > one.lowest for one in figures.values()):
        lines.append(line("  lowest", lambda one: row.text(one.lowest)))
        lines.append(line("  highest", lambda one: row.text(one.highest)))
    if row.compared and mark is not None:
        lines.append(line(f"  beside {baseline}", lambda one: times(one.beside(mark))))
    if row.added and direct is not None:
        lines.append(line("  added", lambda one: row.text(one.more_than(direct))))
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


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """The same as a table of Markdown."""
    columns = len(lines[0])
    text = [_markdown_line(lines[0]), "|" + "---|" * columns]
    for line in lines[1:]:
        if len(line) == 1:
            text.append(_markdown_line([f"**{line[0]}**", *[""] * (columns - 1)]))
        elif line:
            text.append(_markdown_line(line))
    return "\n".join(text)


def _markdown_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.strip() for cell in cells) + " |"


def remarks(document: Mapping[str, Any]) -> list[str]:
    """What a reader must know to trust the tables: who is missing, what was refused, what disturbed."""
    found, figures = [], summaries(document)
    for title, one in document["contenders"].items():
        if one["skipped"] is not None:
            found.append(f"{title} {'was left out' if not one['rounds'] else 'did not finish'}: {one['skipped']}")
        found += [f"{title}, refused: {reason}" for reason in one["refused"]]
        found += _disturbances(title, figures.get(title, {}))
    return found


def _disturbances(title: str, figures: Mapping[str, Summary]) -> list[str]:
    found = []
    disturbed = [
        f"{name.removesuffix(OTHERS_SHARE)} {percent(one.median)}"
        for name, one in figures.items()
        if name.endswith(OTHERS_SHARE) and one.median > OTHERS_LIMIT
    ]
    if disturbed:
        found.append(f"{title} was disturbed: something else used, of one of the cores, in {', in '.join(disturbed)}")
    for name, load in figures.items():
        if title != DIRECT and name.endswith("_load_share") and load.median > LOAD_LIMIT:
            scenario = name.removesuffix("_load_share")
            found.append(f"{title}, {scenario}: the load was at its limit, so this is the least that {title} can do")
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
