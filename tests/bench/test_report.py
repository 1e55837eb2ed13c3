from __future__ import annotations

import re

from bench import report
from bench.contenders.direct import Direct
from bench.contenders.nginx import Nginx
from bench.contenders.quaymaster import Quaymaster
from bench.rounds import Entry


def entries() -> list[Entry]:
    return [
        Entry(Direct(), rounds=[{"retrieve_1_p50_us": 20}]),
        Entry(Nginx(), "1.22", rounds=[{"retrieve_64_per_second": 40_000, "retrieve_64_load_share": 0.99}]),
        Entry(
            Quaymaster(),
            "0.1.0",
            rounds=[
                {"retrieve_64_per_second": 10_000, "retrieve_1_p50_us": 120, "retrieve_64_others_share": 0.3},
                {"retrieve_64_per_second": 12_000, "retrieve_1_p50_us": 140, "retrieve_64_others_share": 0.0},
            ],
        ),
    ]


def cells(text: str, title: str) -> list[str]:
    """Those of the first row with this title."""
    rows = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    return next(row[1:] for row in rows if row[0] == title)


def test_the_table_holds_medians_ranges_and_comparisons() -> None:
    text = report.table(entries())
    assert cells(text, "p50") == ["20 µs", "-", "130 µs"]
    assert cells(text, "added") == ["0 µs", "-", "110 µs"]
    assert cells(text, "requests per second") == ["-", "40,000", "11,000"]
    assert cells(text, "lowest") == ["-", "40,000", "10,000"]
    assert cells(text, "highest") == ["-", "40,000", "12,000"]
    assert cells(text, "beside nginx") == ["-", "1.000 x", "0.275 x"]


def test_columns_are_aligned_whatever_stands_in_them() -> None:
    assert report.aligned([["", "a", "long name"], [], ["heading"], ["row", "1,000 µs", "-"]]) == (
        "            a  long name\n\nheading\nrow  1,000 µs          -"
    )


def test_remarks_say_what_the_table_cannot() -> None:
    found = entries()
    found[0].skipped = "no network"
    found[1].refusals.append("download: 5 of 6 bytes came")
    assert report.remarks(found) == [
        "no gateway did not finish: no network",
        "nginx, refused: download: 5 of 6 bytes came",
        "nginx, retrieve_64: the load was at its limit, so this is the least that nginx can do",
        "quaymaster was disturbed: something else used, of one of the cores, in retrieve_64 30 %",
    ]


def test_the_document_keeps_every_round_and_why_a_contender_is_missing() -> None:
    found = entries()
    found[1].skipped = "not installed"
    document = report.document(found, {"rounds": 2})
    assert document["rounds"] == 2
    assert document["contenders"]["nginx"]["skipped"] == "not installed"
    ours = document["contenders"]["quaymaster"]
    assert ours["figures"]["retrieve_64_per_second"] == {"median": 11_000, "lowest": 10_000, "highest": 12_000}
    assert [figures["retrieve_64_per_second"] for figures in ours["rounds"]] == [10_000, 12_000]
