"""Nothing secret survives redaction, whatever shape it comes in, and everything else does."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.telemetry.digests import digest_of
from app.telemetry.redaction import (
    MAX_STRING_CHARS,
    REDACTED,
    TRUNCATED,
    is_credential_name,
    redact,
    redact_bytes,
    redact_json,
    redact_text,
    redacted_json,
)

CANARY = "canary-7f3a"

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3)
)
credential_names = st.sampled_from(
    [
        "authorization",
        "Authorization",
        "api_key",
        "api-key",
        "X-API-Key",
        "apiKey",
        "password",
        "db_password",
        "token",
        "accessToken",
        "secret",
        "client_secret",
        "master_key",
        "Cookie",
        "auth",
    ]
)


@st.composite
def hidden(draw: st.DrawFn) -> Any:
    """A canary in a place that redaction must hide."""
    holder: Any = draw(st.sampled_from(["string", "list", "object", "number"]))
    secret: Any = {"string": CANARY, "list": [CANARY, 1], "object": {"a": {"b": CANARY}}, "number": 0}[holder] or CANARY
    match draw(st.sampled_from(["credential", "domain_secrets", "skill", "key"])):
        case "credential":
            return {draw(credential_names): secret}
        case "domain_secrets":
            entry = {"domain": "example.com", "name": "n", draw(st.sampled_from(["value", "Value", "x"])): secret}
            return {"domain_secrets": draw(st.sampled_from([[entry], entry, [[entry]], secret]))}
        case "skill":
            return {"skills": [{"type": "inline", "source": {"type": "base64", "data": secret}}]}
    return {"note": f"use sk-{CANARY} please"}


@st.composite
def bodies(draw: st.DrawFn) -> Any:
    """A body of any shape with a hidden canary somewhere in it."""
    body = draw(hidden())
    for _ in range(draw(st.integers(0, 5))):
        if draw(st.booleans()):
            body = [draw(values), body, draw(values)]
        else:
            body = {**draw(st.dictionaries(st.text(max_size=12), values, max_size=2)), draw(st.text(max_size=12)): body}
    return body


@settings(deadline=None)
@given(bodies())
def test_no_canary_survives(body: Any) -> None:
    assert CANARY not in repr(redact(body))


@settings(deadline=None)
@given(bodies(), st.booleans())
def test_no_canary_survives_in_the_text_of_an_answer(body: Any, ascii_only: bool) -> None:
    try:
        text = json.dumps(body, ensure_ascii=ascii_only).encode()
        redacted = redact_json(text)
    except ValueError:  # lone surrogates are not JSON for us
        return
    assert CANARY not in redact_bytes(orjson.dumps(redacted)).decode()
    shown = redacted_json(text)
    assert CANARY not in shown.line.decode()
    assert CANARY not in repr(orjson.loads(shown.line))
    assert not shown.is_whole


@pytest.mark.parametrize("name", ["token", "Bearer", "credential", "secret", "auth", "cookie", "api-key", "passwd"])
def test_names_that_a_quick_look_finds(name: str) -> None:
    assert redact_json(f'{{"{name}":"{CANARY}"}}'.encode()) == {name: REDACTED}
    assert redact_json(b'{"a":"sk-abcdef"}') == {"a": "sk-[redacted]"}


@pytest.mark.parametrize(
    "text",
    [
        '{"a":{"password":"%s"},"a":1}',
        '{"a" :{"password" :"%s"},"a":1}',
        '{"password":"%s","password":null}',
        '{"b":[{"b":"%s" , "b":1}]}',
    ],
)
def test_what_a_later_name_replaces_is_not_shown(text: str) -> None:
    shown = redacted_json((text % CANARY).encode())
    assert CANARY.encode() not in shown.line


@pytest.mark.parametrize("name", ["pass\\u0077ord", "\u017fecret", "to\u212aen", "API_KEY", "skills\\u0020token"])
def test_names_that_hide_from_a_quick_look(name: str) -> None:
    assert redact_json(f'{{"{name}":"{CANARY}"}}'.encode()).popitem()[1] == REDACTED


@settings(deadline=None)
@given(values)
def test_the_quick_way_for_answers_gives_the_same(value: Any) -> None:
    try:
        text = orjson.dumps(value)
    except TypeError:  # integers beyond 64 bits
        return
    assert redact_json(text) == redact(orjson.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        '{"a":"café 数 \U0001f600"}',
        '{"a":"caf\\u00e9 \\ud83d\\ude00 \\"quoted\\" \\\\ \\/ line\\nline"}',
        '{"a":"task-list","disk-image":"risk-averse, desk-1234"}',
        '{"a":"sk-","b":["x\\\\"]}',
        json.dumps([{"name": "n" * 4096}] * 3),
        json.dumps({"data": [{"id": f"cntr_{number:048}", "status": "running"} for number in range(100)]}),
        '{"skills":[],"token":null,"api_key":false}',
    ],
)
def test_what_has_nothing_to_hide_is_shown_whole(text: str) -> None:
    shown = redacted_json(text.encode(), 100_000)
    assert orjson.loads(shown.line) == orjson.loads(text)
    assert shown.is_whole


@pytest.mark.parametrize(
    "text",
    [
        '{"a":"\\u0073k-canary-7f3a"}',
        '{"a":"s\\u006b-canary-7f3a"}',
        '{"a":"sk\\u002dcanary-7f3a"}',
        '{"a":"\\u00E9sk-canary-7f3a"}',
        '{"a":"line\\nsk-canary-7f3a"}',
        '{"a":"ésk-canary-7f3a"}',
        '{"a":"\\\\","password":"canary-7f3a"}',
        '{"a":"\\"","password":"canary-7f3a","b":"\\""}',
    ],
)
def test_nothing_hides_behind_an_escape(text: str) -> None:
    shown = redacted_json(text.encode())
    assert CANARY not in repr(orjson.loads(shown.line))
    assert not shown.is_whole


@pytest.mark.parametrize("text", ['"%s"' % ("\\n" * 4097), '"%s"' % ("\\u00e9" * 4097), '"%s"' % ("x" * 4097)])
def test_a_long_string_is_seen_whatever_it_is_made_of(text: str) -> None:
    assert orjson.loads(redacted_json(text.encode(), 100_000).line)["chars"] == 4097


def test_what_is_left_out_is_not_whole() -> None:
    shown = redacted_json(json.dumps(["x" * 1000] * 20).encode())
    assert TRUNCATED.encode() in shown.line
    assert not shown.is_whole


names = st.sampled_from(["domain_secrets", "Skills", "data", "domain", "keys", "x" * 200, "sk-abcdef"]) | st.text(
    max_size=9
)


@settings(deadline=None)
@given(
    st.recursive(values, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | credential_names, inner))
)
def test_the_quick_way_sees_every_name_that_a_rule_is_about(value: Any) -> None:
    text = json.dumps(value).encode()
    try:
        redacted = redact_json(text, 100_000)
    except ValueError:  # lone surrogates
        return
    assert redacted == redact(orjson.loads(text), 100_000)


@pytest.mark.parametrize("name", ["x" * 200, "Skills", "DOMAIN_SECRETS", "sk-abcdef", "x" * 120 + "password"])
def test_the_quick_way_knows_every_rule_about_names(name: str) -> None:
    value = {"a": [{name: {"data": [CANARY]}}]}
    assert redact_json(orjson.dumps(value)) == redact(value) != value


@pytest.mark.parametrize("depth", [22, 23, 24, 25, 26])
def test_the_quick_way_is_as_deep(depth: int) -> None:
    for text in (b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth):
        assert redact_json(text) == redact(orjson.loads(text))


def test_what_is_not_secret_is_kept() -> None:
    body = {
        "name": "my box",
        "memory_limit": "4g",
        "expires_after": {"anchor": "last_active_at", "minutes": 20},
        "file_ids": ["file-1"],
        "max_tokens": 5,
        "key_alias": "alice",
        "flag": True,
        "nothing": None,
        "ratio": 0.5,
    }
    assert redact(body) == body


def test_domain_secrets_keep_their_domain_and_name() -> None:
    policy = {"type": "allowlist", "domain_secrets": [{"domain": "a.com", "name": "TOKEN", "value": CANARY}]}
    assert redact({"network_policy": policy}) == {
        "network_policy": {
            "type": "allowlist",
            "domain_secrets": [{"domain": "a.com", "name": "TOKEN", "value": REDACTED}],
        }
    }


@pytest.mark.parametrize("size", [0, 10, 3_000, 2_000_000])
def test_an_inline_skill_is_its_decoded_size_and_hash(size: int) -> None:
    archive = bytes(range(256)) * (size // 256 + 1)
    archive = archive[:size]
    body = {"skills": [{"source": {"data": base64.b64encode(archive).decode()}}]}
    assert redact(body)["skills"][0]["source"]["data"] == {
        "bytes": size,
        "sha256": hashlib.sha256(archive).hexdigest(),
    }


def test_an_inline_skill_that_is_not_base64_is_the_size_and_hash_of_its_text() -> None:
    shown = redact({"skills": [{"source": {"data": "not base64 \ud800"}}]})["skills"][0]["source"]["data"]
    text = "not base64 \ud800".encode("utf-8", "surrogatepass")
    assert shown == {"bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}


def test_a_skill_that_was_not_even_parsed_is_shown_the_same_way() -> None:
    archive = bytes(range(256)) * 1000
    digest = digest_of(base64.b64encode(archive))
    shown = {"bytes": len(archive), "sha256": hashlib.sha256(archive).hexdigest()}
    assert redact({"skills": [{"source": {"data": digest}}], "name": digest}) == {
        "skills": [{"source": {"data": shown}}],
        "name": shown,
    }


def test_a_long_string_is_its_size_and_hash() -> None:
    text = "x" * (MAX_STRING_CHARS + 1)
    assert redact({"a": text}) == {"a": {"chars": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}}
    assert redact({"a": text[:-1]}) == {"a": text[:-1]}


def test_depth_is_bounded() -> None:
    nested: Any = []
    for _ in range(10_000):
        nested = [nested]
    assert TRUNCATED in repr(redact(nested))
    assert len(repr(redact(nested))) < 200


@pytest.mark.parametrize(
    "wide",
    [
        [[] for _ in range(300_000)],
        [0] * 300_000,
        ["ab"] * 300_000,
        {str(i): {} for i in range(300_000)},
        {str(i): "x" * 5000 for i in range(1000)},
    ],
    ids=["lists", "numbers", "strings", "names", "digests"],
)
def test_size_and_time_are_bounded(wide: Any) -> None:
    started_at = time.perf_counter()
    text = repr(redact(wide, max_chars=4096))
    assert TRUNCATED in text
    assert len(text) < 20_000
    assert time.perf_counter() - started_at < 0.2


@pytest.mark.parametrize(
    "value", [10**400, -(10**400), 2**64, float("inf"), b"bytes", object(), {1: 2}, {None: "x"}, "\ud800", (1, 2)]
)
def test_any_value_is_taken_and_can_be_logged(value: Any) -> None:
    json.dumps(redact({"a": value}))


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("sk-1234", "sk-[redacted]"),
        ("Bearer sk-qm-0123abcd-s3cr_t, and more", "Bearer sk-[redacted], and more"),
        ("line\nsk-abcdef", "line\nsk-[redacted]"),
        ('{"a":"x\\nsk-abcdef"}', '{"a":"x\\nsk-[redacted]"}'),
        ("\\u001bsk-abcdef", "\\u001bsk-[redacted]"),
        ("task-12345 disk-image risk-averse", "task-12345 disk-image risk-averse"),
        ("sk-", "sk-"),
        ("sk-[redacted]", "sk-[redacted]"),
    ],
)
def test_what_looks_like_a_key_is_masked(text: str, masked: str) -> None:
    assert redact_text(text) == masked
    assert redact_bytes(text.encode()) == masked.encode()


def test_an_integer_of_many_digits_is_cut_off() -> None:
    assert redact([2**63 - 1, 10**400]) == [2**63 - 1, TRUNCATED]


@pytest.mark.parametrize("name", ["api_key", "Authorization", "X-Api-Key", "clientSecret", "db.password", "AUTH"])
def test_names_of_credentials(name: str) -> None:
    assert is_credential_name(name)


def test_keys_in_names_are_masked() -> None:
    assert redact({"sk-abcdef": 1}) == {"sk-[redacted]": 1}


@pytest.mark.parametrize("name", ["key", "key_id", "key_alias", "max_tokens", "token_count", "author", "secretary"])
def test_names_that_only_sound_like_credentials(name: str) -> None:
    assert not is_credential_name(name)
