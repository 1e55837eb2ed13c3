from __future__ import annotations

import pytest

from bench import wrk
from bench.figures import Refused

GOOD = (
    "Running 1s test @ http://127.0.0.1:1/v1/containers/x\n"
    '  1 threads and 64 connections\nREPORT {"requests": 48000, "duration_us": 3000000, "p50_us": 707, "p99_us": 5978, '
    '"errors": {"connect": 0, "read": 0, "write": 0, "status": 0, "timeout": 0}}\n'
)


def test_a_report_is_read_whatever_stands_around_it() -> None:
    load = wrk.parse(GOOD)
    assert (load.requests, load.seconds, load.p50_us, load.p99_us) == (48000, 3.0, 707, 5978)
    assert load.requests_per_second == 16000


@pytest.mark.parametrize("kind", ["connect", "read", "write", "status", "timeout"])
def test_one_failure_of_any_kind_refuses_the_figure(kind: str) -> None:
    with pytest.raises(Refused, match=f"of 48000 requests failed: 1 {kind}"):
        wrk.parse(GOOD.replace(f'"{kind}": 0', f'"{kind}": 1'))


def test_no_answers_and_no_report_are_refused() -> None:
    with pytest.raises(Refused, match="no request was answered"):
        wrk.parse(GOOD.replace("48000", "0"))
    with pytest.raises(Refused, match="no report"):
        wrk.parse("unable to connect to 127.0.0.1:1 Connection refused")
