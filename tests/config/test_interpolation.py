from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.interpolation import interpolate, resolve, unset_variable

ENVIRON = {"KEY": "sk-1", "HOST": "example.com", "EMPTY": "", "TRICKY": "${KEY} $${ os.environ/KEY"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("", ""),
        ("$5 and $HOME", "$5 and $HOME"),
        ("${KEY}", "sk-1"),
        ("${NOPE}", None),
        ("${EMPTY}", None),
        ("${NOPE:-fallback}", "fallback"),
        ("${EMPTY:-fallback}", "fallback"),
        ("${KEY:-fallback}", "sk-1"),
        ("${NOPE:-}", ""),
        ("https://${HOST}/v1", "https://example.com/v1"),
        ("${HOST}:${PORT:-443}", "example.com:443"),
        ("os.environ/KEY", "sk-1"),
        ("os.environ/NOPE", None),
        ("see os.environ/KEY", "see os.environ/KEY"),
        ("$${KEY}", "${KEY}"),
        ("${TRICKY}", ENVIRON["TRICKY"]),
    ],
)
def test_variables_are_filled_in_once(text: str, value: str | None) -> None:
    assert resolve(text, ENVIRON) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("https://${NOPE}/v1", "the environment variable NOPE is not set"),
        ("${KEY", "${ must begin ${NAME} or ${NAME:-default}; write $${ for the characters themselves"),
        ("${1KEY}", "${ must begin ${NAME}"),
        ("${KEY-default}", "${ must begin ${NAME}"),
        ("os.environ/", "os.environ/ must be followed by the name of an environment variable"),
        ("os.environ/A-B", "os.environ/ must be followed by the name"),
    ],
)
def test_a_reference_that_means_nothing_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        resolve(text, ENVIRON)


def test_a_tree_is_filled_in_and_every_problem_has_its_path() -> None:
    tree = {"a": {"b": ["${KEY}", 7, None]}, 4000: "x", "c": "${", "d": [{"e": "a${NOPE}"}]}
    filled, problems = interpolate(tree, ENVIRON)
    assert filled == {"a": {"b": ["sk-1", 7, None]}, "4000": "x", "c": None, "d": [{"e": None}]}
    assert [problem.partition(": ")[0] for problem in problems] == ["c", "d[0].e"]


@pytest.mark.parametrize("value", ["${NOPE}", "os.environ/NOPE"])
def test_an_unset_variable_is_known_by_name(value: str) -> None:
    assert unset_variable(value, ENVIRON) == "NOPE"


@pytest.mark.parametrize("value", ["${KEY}", "${NOPE:-}", " ${NOPE}", "x${NOPE}", "$${NOPE}", "", None, 7])
def test_only_a_variable_alone_counts_as_unset(value: object) -> None:
    assert unset_variable(value, ENVIRON) is None


@given(st.text().filter(lambda text: "${" not in text and not text.startswith("os.environ/")))
def test_text_without_references_stays_as_it_is(text: str) -> None:
    assert resolve(text, {}) == text


@given(st.text())
def test_any_text_can_be_written_by_escaping_it(text: str) -> None:
    escaped = text.replace("${", "$${")
    if escaped.startswith("os.environ/"):
        escaped = "${PREFIX}" + escaped.removeprefix("os.environ/")
    assert resolve(escaped, {"PREFIX": "os.environ/"}) == text


@given(value=st.text(min_size=1), before=st.text("ab/:"), after=st.text("ab/:"))
def test_what_a_variable_holds_is_never_looked_up_again(value: str, before: str, after: str) -> None:
    assert resolve(f"{before}${{NAME}}{after}", {"NAME": value}) == before + value + after
