from __future__ import annotations

import pytest

from bench import curl
from bench.figures import Refused


def test_a_whole_download_is_read() -> None:
    transfer = curl.parse("200 1073741824 0.000674 0.500000", 2**30)
    assert (transfer.first_byte_seconds, transfer.bytes_per_second) == (0.000674, 2**31)


@pytest.mark.parametrize(
    ("report", "reason"),
    [("500 53 0.01 0.02", "answered with 500"), ("200 1073741823 0.01 1.0", "1073741823 of 1073741824 bytes")],
)
def test_what_is_not_a_whole_download_is_refused(report: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        curl.parse(report, 2**30)


def test_an_upload_counts_once_the_upstream_says_that_all_of_it_came() -> None:
    transfer = curl.parse_upload('{"id": "cfile_1", "bytes": 1100}\nREPORT 200 1100 0.4 0.5', 1000)
    assert (transfer.size_bytes, transfer.bytes_per_second) == (1000, 2000)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ('{"error": "too large"}\nREPORT 413 70000 0.1 0.2', 'answered with 413 {"error": "too large"}'),
        ('{"bytes": 999}\nREPORT 200 1100 0.4 0.5', "999 of 1000 bytes arrived"),
        ('{"bytes": null}\nREPORT 200 1100 0.4 0.5', "not a file"),
        ("OK\nREPORT 200 1100 0.4 0.5", "not a file: OK"),
        ("[]\nREPORT 200 1100 0.4 0.5", "not a file"),
    ],
)
def test_an_upload_that_did_not_arrive_whole_is_refused(output: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        curl.parse_upload(output, 1000)
