from __future__ import annotations

import re
from typing import Any

from bench import report
from bench.contenders.direct import Direct
from bench.contenders.nginx import Nginx
from bench.contenders.quaymaster import Quaymaster
from bench.rounds import Entry


def entries() -> list[Entry]:
    return [
        Entry(Direct(), rounds=[{"retrieve_1_p50_us": [20, 20], "retrieve_64_load_share": [1.0]}]),
        Entry(Nginx(), "1.22", rounds=[{"retrieve_64_per_second": [40_000], "retrieve_64_load_share": [0.99]}]),
        Entry(
            Quaymaster(),
            "0.1.0",
            rounds=[
                {
                    "retrieve_64_per_second": [10_000],
                    "retrieve_1_p50_us": [120],
                    "retrieve_64_others_share": [0.3, 0.9],
                },
                {
                    "retrieve_64_per_second": [12_000],
                    "retrieve_1_p50_us": [140],
                    "retrieve_64_others_share": [0.0, 0.1, 0.3],
                },
            ],
        ),
        Entry(Quaymaster(title="10 keys"), rounds=[{"retrieve_64_per_second": [11_000], "list_20_p50_us": [900]}]),
        Entry(Quaymaster(title="1M containers"), rounds=[{"retrieve_64_per_second": [10_450]}]),
    ]


def tables() -> list[list[list[str]]]:
    return report.tables(report.document(entries(), {}))


def cells(text: str, title: str) -> list[str]:
    """Those of the first row with this title."""
    rows = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    return next(row[1:] for row in rows if row[0] == title)


def test_the_table_of_peers_holds_medians_ranges_and_comparisons() -> None:
    text = report.aligned(tables()[0])
    assert re.split(r"\s{2,}", text.splitlines()[0].strip()) == ["no gateway", "nginx", "quaymaster"]
    assert cells(text, "p50") == ["20 µs", "-", "130 µs"]
    assert cells(text, "added") == ["0 µs", "-", "110 µs"]
    assert cells(text, "requests per second") == ["-", "40,000", "11,000"]
    assert cells(text, "lowest") == ["-", "40,000", "10,000"]
    assert cells(text, "highest") == ["-", "40,000", "12,000"]
    assert cells(text, "beside nginx") == ["-", "1 x", "0.275 x"]


def test_what_only_we_are_asked_stands_in_a_table_of_its_own() -> None:
    text = report.aligned(tables()[1])
    assert cells(text, "requests per second") == ["11,000", "10,450"]
    assert cells(text, "beside 10 keys") == ["1 x", "0.95 x"]
    assert cells(text, "p50 of 20 containers") == ["900 µs", "-"]


def test_rows_and_headings_that_nobody_has_are_left_out() -> None:
    text = report.aligned(tables()[0])
    assert "retrieve, 64 connections" in text
    assert "download" not in text
    assert "speed" not in text


def test_columns_are_aligned_whatever_stands_in_them() -> None:
    assert report.aligned([["", "a", "long name"], [], ["heading"], ["row", "1,000 µs", "-"]]) == (
        "            a  long name\n\nheading\nrow  1,000 µs          -"
    )


def test_the_same_lines_are_a_table_of_markdown() -> None:
    assert report.markdown([["", "a"], [], ["heading"], ["  row", "1"]]).splitlines() == [
        "|  | a |",
        "|---|---|",
        "| **heading** |  |",
        "| row | 1 |",
    ]


def test_remarks_say_what_the_tables_cannot() -> None:
    found = entries()
    found[0].skipped = "no network"
    found[1].refusals.append("download: 5 of 6 bytes came")
    assert report.remarks(report.document(found, {})) == [
        "no gateway did not finish: no network",
        "nginx, refused: download: 5 of 6 bytes came",
        "nginx, retrieve_64: the load was at its limit, so this is the least that nginx can do",
        "quaymaster was disturbed: something else used, of one of the cores, in retrieve_64 30 %",
    ]


def test_the_document_keeps_every_turn_and_why_a_contender_is_missing() -> None:
    found = entries()
    found[1].skipped = "not installed"
    document: dict[str, Any] = report.document(found, {"rounds": 2})
    assert document["rounds"] == 2
    assert document["contenders"]["nginx"]["skipped"] == "not installed"
    ours = document["contenders"]["quaymaster"]
    assert ours["figures"]["retrieve_64_per_second"] == {"median": 11_000, "lowest": 10_000, "highest": 12_000}
    assert [turns["retrieve_64_per_second"] for turns in ours["rounds"]] == [[10_000], [12_000]]


def test_units_are_those_that_read_best() -> None:
    assert [report.microseconds(value) for value in (-12.4, 999, 1_500, 2.5e6)] == [
        "-12 µs",
        "999 µs",
        "1.50 ms",
        "2.5 s",
    ]
    assert [report.times(value) for value in (0.2045, 1.0, 123.4)] == ["0.204 x", "1 x", "123 x"]
