from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from app.config.times import Age, Seconds, SecondsOrZero, parse_seconds

SECONDS: TypeAdapter[float] = TypeAdapter(Seconds)
SECONDS_OR_ZERO: TypeAdapter[float] = TypeAdapter(SecondsOrZero)
AGE: TypeAdapter[float] = TypeAdapter(Age)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (90, 90),
        (0.5, 0.5),
        ("90", 90),
        ("0.5", 0.5),
        ("30s", 30),
        ("15m", 900),
        (" 12h ", 43_200),
        ("1d", 86_400),
    ],
)
def test_times_as_people_write_them(written: object, seconds: float) -> None:
    assert SECONDS.validate_python(written) == seconds
    assert AGE.validate_python(written) == seconds


@pytest.mark.parametrize("written", ["", "s", "soon", "1.5h", "-1m", "0s", "1h30m", "30S", "5 s", "1y"])
def test_any_other_text_is_refused_with_an_example(written: str) -> None:
    with pytest.raises(ValueError, match='must be a number of seconds, or a time such as "30s"'):
        parse_seconds(written)


@pytest.mark.parametrize("written", [-1, "-1", "nan", "inf", "2d", 86_401, [], None])
def test_a_wait_is_at_most_a_day(written: object) -> None:
    for kind in (SECONDS, SECONDS_OR_ZERO):
        with pytest.raises(ValidationError):
            kind.validate_python(written)


def test_only_some_may_be_nothing() -> None:
    assert SECONDS_OR_ZERO.validate_python("0") == 0
    for kind in (SECONDS, AGE):
        with pytest.raises(ValidationError):
            kind.validate_python(0)


def test_an_age_is_at_most_a_hundred_years() -> None:
    assert AGE.validate_python("36500d") == 36_500 * 86_400
    with pytest.raises(ValidationError):
        AGE.validate_python(36_500 * 86_400 + 1)


@given(st.text() | st.from_regex(r"[0-9]+[a-z]{0,2}", fullmatch=True))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    with suppress(ValidationError):
        assert 0 < AGE.validate_python(text) <= 36_500 * 86_400
