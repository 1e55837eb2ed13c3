"""What every `SpendReports` does, over each of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from app.api.admin.spend_administration import as_csv
from app.domain.reports import EntryFilter, Grouping, ReportLine, SpendReports
from app.domain.spending import EntryKind
from app.storage.engine import Database
from app.storage.reports import SqlSpendReports
from app.storage.tables import entries

EVENING = datetime(2026, 11, 20, 23, 59, 59, 999_999, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 21, tzinfo=UTC)
EVERYTHING = EntryFilter()

LINES: list[dict[str, Any]] = [
    {"key_id": "a", "user_id": "ann", "team_id": "sea", "tags": ["x", "y"], "spent_nanousd": 5, "container_id": "c1"},
    {"key_id": "a", "user_id": "ann", "team_id": "sea", "tags": ["x"], "spent_nanousd": 7, "container_id": "c1"},
    {"key_id": "b", "team_id": "sea", "spent_nanousd": 100, "container_id": "c2", "at": EVENING, "memory_limit": "64g"},
    {"key_id": "b", "team_id": "sea", "kind": EntryKind.RESERVE, "reserved_nanousd": 9, "container_id": "c3"},
    {
        "key_id": "b",
        "team_id": "air",
        "kind": EntryKind.ADJUST,
        "spent_nanousd": -1,
        "container_id": "c4",
        "request_id": "r",
    },
]


def entry(number: int, fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "number": number,
        "at": MIDNIGHT,
        "kind": EntryKind.SETTLE,
        "hold_id": f"{number:032x}",
        "container_id": None,
        "user_id": None,
        "team_id": None,
        "tags": [],
        "provider": "openai",
        "deployment": "main",
        "memory_limit": "1g",
        "reserved_nanousd": 0,
        "spent_nanousd": 0,
        "request_id": None,
    } | fields


@pytest.fixture
async def reports(database: Database) -> SpendReports:
    await database.migrate()
    rows = [entry(number, fields) for number, fields in enumerate(LINES, 1)]
    await database.write(lambda connection: connection.execute(insert(entries), rows))
    return SqlSpendReports(database)


async def numbers(reports: SpendReports, **wanted: Any) -> list[int]:
    found, _ = await reports.entries(EntryFilter(**wanted), after=None, limit=100, descending=False)
    return [each.number for each in found]


async def test_entries_come_page_by_page_either_way(reports: SpendReports) -> None:
    for descending in (False, True):
        seen: list[int] = []
        after, has_more = None, True
        while has_more:
            page, has_more = await reports.entries(EVERYTHING, after=after, limit=2, descending=descending)
            seen += [each.number for each in page]
            after = seen[-1]
        assert seen == ([5, 4, 3, 2, 1] if descending else [1, 2, 3, 4, 5])


async def test_an_entry_comes_back_whole(reports: SpendReports) -> None:
    [found], _ = await reports.entries(EntryFilter(tag="y"), after=None, limit=1, descending=True)
    assert (found.number, found.at, found.kind, found.tags) == (1, MIDNIGHT, EntryKind.SETTLE, ("x", "y"))
    assert (found.key_id, found.user_id, found.team_id, found.spent_nanousd) == ("a", "ann", "sea", 5)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"key_id": "a"}, [1, 2]),
        ({"user_id": "ann"}, [1, 2]),
        ({"team_id": "sea"}, [1, 2, 3, 4]),
        ({"tag": "x"}, [1, 2]),
        ({"tag": "y"}, [1]),
        ({"tag": "' OR 1=1 --"}, []),
        ({"container_id": "c1"}, [1, 2]),
        ({"request_id": "r"}, [5]),
        ({"since": MIDNIGHT}, [1, 2, 4, 5]),
        ({"until": MIDNIGHT}, [3]),
        ({"since": EVENING, "until": EVENING + timedelta(microseconds=1)}, [3]),
        ({"team_id": "sea", "key_id": "b", "since": MIDNIGHT}, [4]),
    ],
)
async def test_entries_fit_everything_that_is_asked(
    reports: SpendReports, wanted: dict[str, Any], expected: list[int]
) -> None:
    assert await numbers(reports, **wanted) == expected


@pytest.mark.parametrize(
    ("groupings", "expected"),
    [
        ([Grouping.KEY], [(("b",), 99, 2), (("a",), 12, 1)]),
        ([Grouping.USER], [((None,), 99, 2), (("ann",), 12, 1)]),
        ([Grouping.TEAM], [(("sea",), 112, 2), (("air",), -1, 1)]),
        ([Grouping.TIER], [(("64g",), 100, 1), (("1g",), 11, 2)]),
        ([Grouping.TAG], [((None,), 99, 2), (("x",), 12, 1), (("y",), 5, 1)]),
        ([Grouping.DAY], [(("2026-11-20",), 100, 1), (("2026-11-21",), 11, 2)]),
        (
            [Grouping.DAY, Grouping.TEAM],
            [(("2026-11-20", "sea"), 100, 1), (("2026-11-21", "air"), -1, 1), (("2026-11-21", "sea"), 12, 1)],
        ),
        ([Grouping.DEPLOYMENT, Grouping.TAG, Grouping.KEY], None),
    ],
)
async def test_a_report_adds_up(
    reports: SpendReports, groupings: list[Grouping], expected: list[tuple[tuple[str | None, ...], int, int]] | None
) -> None:
    lines, has_more = await reports.report(EVERYTHING, groupings, limit=10)
    assert not has_more
    if expected is not None:
        assert [(line.group, line.spent_nanousd, line.containers) for line in lines] == expected
    if Grouping.TAG not in groupings:
        assert sum(line.spent_nanousd for line in lines) == 111


async def test_a_report_says_where_it_is_not_whole(reports: SpendReports) -> None:
    lines, has_more = await reports.report(EVERYTHING, [Grouping.KEY], limit=1)
    assert ([line.group for line in lines], has_more) == ([("b",)], True)


async def test_a_report_is_about_what_is_asked(reports: SpendReports) -> None:
    lines, _ = await reports.report(EntryFilter(tag="y", since=MIDNIGHT), [Grouping.TAG], limit=10)
    assert [(line.group, line.spent_nanousd) for line in lines] == [(("x",), 5), (("y",), 5)]
    assert await reports.report(EntryFilter(key_id="nobody"), [Grouping.KEY], limit=10) == ([], False)


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\r=1", " =1"])
def test_no_spreadsheet_takes_a_name_for_a_formula(name: str) -> None:
    line = ReportLine(group=(name,), spent_nanousd=7_500_000, containers=1)
    text = as_csv([Grouping.TAG], [line])
    assert text.startswith("tag,spend_usd,containers\r\n")
    assert "'" + name in text
    assert text.endswith(",0.0075,1\r\n")


def test_a_name_in_a_spreadsheet_stays_in_its_cell() -> None:
    line = ReportLine(group=('a,"b"\nc', None), spent_nanousd=-1, containers=0)
    assert as_csv([Grouping.TEAM, Grouping.KEY], [line]).splitlines()[1:] == ['"a,""b""', 'c",,-0.000000001,0']
