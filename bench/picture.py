"""The run as a picture: bars with medians and ranges, as SVG that is readable on light and on dark. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from bench import report
from bench.figures import Summary

_WIDTH: Final = 920
_COLUMNS: Final = 2
_MARGIN, _GAP = 20, 32
_PANEL_WIDTH: Final = (_WIDTH - 2 * _MARGIN - (_COLUMNS - 1) * _GAP) // _COLUMNS
_NAME_WIDTH, _VALUE_WIDTH = 90, 84
_BAR, _STEP, _HEADING = 16, 26, 34
_TOP: Final = 70
_OURS: Final = "quaymaster"

_STYLE: Final = """\
  text { font: 13px system-ui, sans-serif; fill: #24292f; }
  .title { font-size: 18px; font-weight: 600; }
  .panel { font-size: 14px; font-weight: 600; }
  .quiet { fill: #57606a; font-size: 12px; }
  .bar { fill: #8c959f; }
  .ours { fill: #0969da; }
  .range { stroke: #24292f; stroke-width: 1.5; fill: none; }
  .axis { stroke: #d0d7de; stroke-width: 1; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .quiet { fill: #9198a1; }
    .bar { fill: #6e7681; }
    .ours { fill: #4493f8; }
    .range { stroke: #e6edf3; }
    .axis { stroke: #3d444d; }
  }
"""


@dataclass(frozen=True, slots=True)
class Panel:
    """One figure of everybody."""

    title: str
    figure: str
    text: Callable[[float], str]
    better: str


PANELS: Final = (
    Panel("retrieve, 64 connections: requests/s", "retrieve_64_per_second", report.count, "more is better"),
    Panel("retrieve, 1 connection: p50", "retrieve_1_p50_us", report.microseconds, "less is better"),
    Panel("create, 64 connections: requests/s", "create_64_per_second", report.count, "more is better"),
    Panel("retrieve, 64 connections: CPU each", "retrieve_64_cpu_us", report.microseconds, "less is better"),
    Panel("download of one file", "download_bytes_per_second", report.megabytes_per_second, "more is better"),
    Panel("upload of one file", "upload_bytes_per_second", report.megabytes_per_second, "more is better"),
)


def svg(document: Mapping[str, Any]) -> str:
    """The picture of a run's document: a panel for each figure, a bar for each peer that has it."""
    found = report.summaries(document)
    peers = {title: found[title] for title in report.PEERS if title in found}
    height = _HEADING + len(peers) * _STEP + _GAP
    rows = -(-len(PANELS) // _COLUMNS)
    total = _TOP + rows * height
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {total}" width="{_WIDTH}" height="{total}">',
        f"<style>\n{_STYLE}</style>",
        _text(_MARGIN, 32, "Quaymaster beside its peers, one core each", "title"),
        _text(_MARGIN, 52, _caption(document), "quiet"),
    ]
    for number, panel in enumerate(PANELS):
        x = _MARGIN + number % _COLUMNS * (_PANEL_WIDTH + _GAP)
        parts += _panel(panel, peers, x, _TOP + number // _COLUMNS * height)
    return "\n".join([*parts, "</svg>\n"])


def _caption(document: Mapping[str, Any]) -> str:
    rounds, cpu = document.get("rounds", 1), document.get("machine", {}).get("cpu", "")
    many = f"medians of {rounds} rounds, lines from the lowest to the highest" if rounds > 1 else "one round"
    return " · ".join(part for part in (many, cpu, str(document.get("started_at", ""))[:10]) if part)


def _panel(panel: Panel, peers: report.Summaries, x: int, y: int) -> list[str]:
    bars = {title: one[panel.figure] for title, one in peers.items() if panel.figure in one}
    longest = max((one.highest for one in bars.values()), default=1.0) or 1.0
    left, room = x + _NAME_WIDTH, _PANEL_WIDTH - _NAME_WIDTH - _VALUE_WIDTH
    parts = [
        _text(x, y + 14, panel.title, "panel"),
        _text(x + _PANEL_WIDTH, y + 14, panel.better, "quiet", anchor="end"),
        f'<path class="axis" d="M{left} {y + 24}V{y + 24 + len(peers) * _STEP}"/>',
    ]
    for number, title in enumerate(peers):
        top = y + 28 + number * _STEP
        parts.append(_text(left - 8, top + 13, title, "name", anchor="end"))
        one = bars.get(title)
        if one is None:
            parts.append(_text(left + 6, top + 13, "-", "quiet"))
        else:
            parts += _bar(one, panel.text(one.median), left, top, room / longest, ours=title == _OURS)
    return parts


def _bar(one: Summary, text: str, left: int, top: int, scale: float, *, ours: bool) -> list[str]:
    length, low, high = (round(value * scale, 1) for value in (one.median, one.lowest, one.highest))
    kind = "bar ours" if ours else "bar"
    middle = top + _BAR / 2
    parts = [f'<rect class="{kind}" x="{left}" y="{top}" width="{max(length, 1)}" height="{_BAR}" rx="2"/>']
    if high - low >= 1:
        parts.append(
            f'<path class="range" d="M{left + low} {middle}H{left + high}'
            f'M{left + low} {middle - 4}v8M{left + high} {middle - 4}v8"/>'
        )
    parts.append(_text(left + max(length, high) + 6, top + 13, text, "value"))
    return parts


def _text(x: float, y: float, text: str, kind: str, *, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
