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
