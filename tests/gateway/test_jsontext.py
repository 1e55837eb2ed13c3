"""Surgery on JSON text leaves every byte it was not asked to touch."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway import jsontext
from app.telemetry.digests import Digest

NAME = "custom_llm_provider"
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
objects = st.dictionaries(st.text() | st.just(NAME), values)
indents = st.sampled_from([None, 0, 2])


@given(objects, indents, st.booleans())
def test_taking_a_member_out_is_what_a_parser_would_say(
    value: dict[str, Any], indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    if not ascii_only and any("\ud800" <= character <= "\udfff" for character in text.decode("utf-8", "surrogatepass")):
        return  # not UTF-8, so no parser has accepted it
    left = json.loads(jsontext.without_member(text, NAME))
    assert left == {key: item for key, item in value.items() if key != NAME}


def test_what_stays_keeps_its_bytes() -> None:
    text = b'{ "n": 1e400, "big": 123456789012345678901234567890, "custom_llm_provider" : "x", "n": 1.50 }'
    assert jsontext.without_member(text, NAME) == (b'{ "n": 1e400, "big": 123456789012345678901234567890, "n": 1.50 }')


def test_every_member_of_the_name_goes_also_when_it_is_written_with_escapes() -> None:
    text = b'{"custom\\u005fllm_provider":{"a":["}"]},"a":{"custom_llm_provider":1},"custom_llm_provider":[{}]}'
    assert jsontext.without_member(text, NAME) == b'{"a":{"custom_llm_provider":1}}'


@given(objects, indents)
def test_a_member_put_in_is_there_and_nothing_else_changed(value: dict[str, Any], indent: int | None) -> None:
    text = json.dumps(value, indent=indent).encode()
    amended = jsontext.amend_object(text, value, lambda _: '"added":1')
    assert json.loads(amended) == {**value, "added": 1}
    assert jsontext.amend_object(text, value, lambda _: "") == text


@given(st.lists(objects | scalars), objects, indents)
def test_every_object_of_a_list_is_amended_and_only_those(
    items: list[Any], rest: dict[str, Any], indent: int | None
) -> None:
    value = {"object": "list", "data": items, **{key: item for key, item in rest.items() if key != "data"}}
    text = json.dumps(value, indent=indent).encode()
    amended = json.loads(jsontext.amend_list(text, lambda item: f'"size":{len(item)}' if len(item) % 2 else ""))
    expected = [{**item, "size": len(item)} if isinstance(item, dict) and len(item) % 2 else item for item in items]
    assert amended == {**value, "data": expected}


@pytest.mark.parametrize("text", [b'{"data":{}}', b'{"data":[]}', b"{}", b'{ "a" : [ ] , "data" : [ 1 , [ ] ] }'])
def test_a_list_without_objects_is_left_alone(text: bytes) -> None:
    assert jsontext.amend_list(text, lambda _: '"x":1') == text


long_strings = st.builds(
    lambda filler, times: filler * times, st.sampled_from(["A", '\\"', "\\\\", "é", "-0"]), st.integers(30_000, 70_000)
)


@given(st.dictionaries(st.text(max_size=5), long_strings | scalars, max_size=4))
def test_long_strings_come_back_where_they_stood(value: dict[str, Any]) -> None:
    text = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    shortened, places = jsontext.elide(text, 1_000_000)
    assert jsontext.restore(shortened, text, places) == text
    assert len(shortened) <= len(text) - sum(end - start for start, end in places.values()) + 40 * len(places)
    for start, end in places.values():
        assert text[start - 1 : start] == text[end : end + 1] == b'"'
        assert end - start >= jsontext.LONG_STRING_BYTES


@given(st.text(alphabet='\\"a', max_size=300), st.integers(0, 80))
def test_a_string_ends_at_its_first_quote_that_is_not_escaped(text: str, ahead: int) -> None:
    tail = b"a" * ahead + text.encode()
    whole = re.match(rb'[^"\\]*(?:\\.[^"\\]*)*"', tail)
    assert jsontext._string_end(b'"' + tail, 1) == (whole.end() if whole else -1)


def test_no_long_string_takes_long() -> None:
    """Where a step is taken for each of its quotes, or each of its backslashes, these take ten seconds."""
    begun = time.perf_counter()
    for unit in (rb"\"", rb"\\", rb"\\\""):
        text = b'["' + unit * 10_000_000 + b'"]'
        assert len(jsontext.elide(text, 1000)[1]) == 1
    assert time.perf_counter() - begun < 5


def test_a_shortened_text_says_the_same_with_digests_for_what_was_long() -> None:
    data = "QUJD" * 50_000
    text = json.dumps({"skills": [{"source": {"data": data}}], "name": "x"}).encode()
    shortened, places = jsontext.elide(text, 1000)
    value = jsontext.digests(orjson.loads(shortened), text, places)
    digest = value["skills"][0]["source"]["data"]
    assert isinstance(digest, Digest)
    assert digest.size == len(data) * 3 // 4
    assert value["name"] == "x"


def test_the_rest_of_a_body_is_bounded() -> None:
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        jsontext.elide(b"[" + b"{}," * 1000 + b"{}]", 1000)
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        jsontext.elide(b'["' + b'x","' * 1000 + b'"]', 1000)


@given(st.binary(max_size=200), st.integers(0, 3))
def test_text_that_is_not_json_is_left_to_the_parser(junk: bytes, times: int) -> None:
    text = junk + b'"' + b"A" * (times * 40_000) + b"\\" * times
    shortened, places = jsontext.elide(text, 1_000_000)
    assert jsontext.restore(shortened, text, places) == text
