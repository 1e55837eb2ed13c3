"""The line that every request leaves behind."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from app.domain.exchange import Exchange, Outcome
from app.domain.identity import ALL_OPERATIONS, Principal
from app.hooks.builtin.log import RequestLog
from app.hooks.builtin.pen import MAX_PARSED_BYTES
from app.telemetry.digests import Digest
from app.telemetry.logging import Level
from tests.exchanges import answered_exchange, opened_exchange
from tests.logs import captured_log

ROOT = Path(__file__).parents[2]


def line_of(exchange: Exchange, level: Level = "info", **options: Any) -> dict[str, Any]:
    with captured_log(level) as log:
        requests = RequestLog(**options)
        requests.settled(exchange)
        requests.close(5)
        (event,) = log.events("request")
    return event


def test_an_answered_operation() -> None:
    exchange = answered_exchange()
    exchange.ended_at = exchange.started_at + 0.5
    exchange.outcome = Outcome.ANSWERED
    line = line_of(exchange)
    line.pop("timestamp")
    assert line == {
        "level": "info",
        "event": "request",
        "request_id": "req_1",
        "operation": "containers.retrieve",
        "method": "GET",
        "path": None,
        "key_id": "master",
        "key_alias": "master",
        "owner": "master",
        "provider": "openai",
        "deployment": "openai-main",
        "container_id": "cntr_1",
        "file_id": None,
        "status": 200,
        "outcome": "answered",
        "error_code": None,
        "error_detail": None,
        "duration_ms": 500.0,
        "overhead_ms": 2.0,
        "upstream_ms": 250.0,
        "attempts": 1,
        "bytes_in": 0,
        "bytes_out": 36,
        "cost_nanousd": 0,
        "upstream_request_id": "req_upstream",
        "request_body": None,
        "response_body": {"id": "cntr_1", "object": "container"},
    }


def test_a_request_that_was_refused_before_anything_was_known() -> None:
    exchange = opened_exchange("/nowhere?")
    exchange.status, exchange.error_code = 401, "invalid_api_key"
    line = line_of(exchange)
    assert line["operation"] is None
    assert line["path"] == "/nowhere?"
    assert (line["key_id"], line["owner"], line["deployment"]) == (None, None, None)
    assert line["overhead_ms"] == line["duration_ms"]


def test_who_asked_in_full() -> None:
    exchange = answered_exchange()
    exchange.principal = Principal(
        "k1", "team:t", False, ALL_OPERATIONS, alias="alice", user_id="u", team_id="t", tags=("a", "b")
    )
    line = line_of(exchange)
    expected = {"key_id": "k1", "key_alias": "alice", "owner": "team:t", "user_id": "u", "team_id": "t"}
    assert {name: line[name] for name in expected} == expected
    assert line["tags"] == ["a", "b"]


def test_bodies_are_redacted() -> None:
    exchange = answered_exchange(bytes_in=300)
    exchange.request_json = {
        "network_policy": {"domain_secrets": [{"domain": "a", "value": "hush"}]},
        "api_key": "hush",
    }
    exchange.response_json = b'{"error":{"message":"Incorrect API key provided: sk-abcdefgh","token":"hush"}}'
    line = line_of(exchange)
    assert "hush" not in json.dumps(line)
    assert line["request_body"]["network_policy"]["domain_secrets"] == [{"domain": "a", "value": "[redacted]"}]
    assert line["response_body"]["error"]["message"] == "Incorrect API key provided: sk-[redacted]"


def test_files_are_their_size_and_hash() -> None:
    exchange = answered_exchange()
    exchange.request_digest, exchange.response_digest = Digest(), Digest()
    exchange.request_digest.update(b"up")
    exchange.response_digest.update(b"down")
    line = line_of(exchange)
    assert line["request_body"] == {"bytes": 2, "sha256": hashlib.sha256(b"up").hexdigest()}
    assert line["response_body"] == {"bytes": 4, "sha256": hashlib.sha256(b"down").hexdigest()}


@pytest.mark.parametrize(
    "body",
    [b"<html>not JSON</html>", b"[" * 5000, b'"\xff"', b'["%s"]' % (b"x," * MAX_PARSED_BYTES)],
    ids=["html", "deep", "latin-1", "large"],
)
def test_an_answer_that_cannot_be_shown_is_its_size_and_hash(body: bytes) -> None:
    exchange = answered_exchange()
    exchange.response_json = body
    assert line_of(exchange)["response_body"] == {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def test_bodies_are_bounded_and_can_be_left_out() -> None:
    exchange = answered_exchange(bytes_in=60_000)
    exchange.request_json = {"file_ids": ["file-1"] * 5000}
    assert len(json.dumps(line_of(exchange, max_body_bytes=1000)["request_body"])) < 2000
    line = line_of(exchange, bodies=False)
    assert "request_body" not in line
    assert "response_body" not in line


@pytest.mark.parametrize("path", ["/key/sk-qm-1234-secret/regenerate", "/key/sk%2Dqm%2D1234%2Dsecret/regenerate"])
def test_a_key_in_a_path_is_masked(path: str) -> None:
    assert line_of(opened_exchange(path))["path"] == "/key/sk-[redacted]/regenerate"


def test_probes_that_succeed_are_for_debugging() -> None:
    exchange = opened_exchange("/health/readiness")
    exchange.status = 200
    assert line_of(exchange, "debug")["level"] == "debug"
    exchange.status = 503
    assert line_of(exchange, "debug")["level"] == "info"


def test_what_an_admin_route_was_sent_is_redacted() -> None:
    exchange = opened_exchange("/key/block", bytes_in=20)
    exchange.request_text = b'{"key":"hush","metadata":{"password":"hush","team":"a"},"key_id":"0123"}'
    assert line_of(exchange)["request_body"] == {
        "key": "[redacted]",
        "metadata": {"password": "[redacted]", "team": "a"},
        "key_id": "0123",
    }


def test_a_pretty_answer_is_one_line() -> None:
    exchange = answered_exchange()
    exchange.response_json = b'{\n  "id": "cntr_1"\r\n}'
    assert line_of(exchange)["response_body"] == {"id": "cntr_1"}


def test_what_cannot_be_kept_is_replaced() -> None:
    exchange = answered_exchange()
    exchange.container_id = "a\0b\ud800"
    assert line_of(exchange)["container_id"] == "a\ufffdb\ufffd"


def test_the_page_lists_every_field() -> None:
    exchange = answered_exchange()
    exchange.principal = Principal("k", "o", False, ALL_OPERATIONS, user_id="u", team_id="t", tags=("a",))
    table = (ROOT / "docs" / "logging.md").read_text().partition("## The request log")[2].partition("\n## ")[0]
    listed = {
        name.strip("` ") for row in table.splitlines() if row.startswith("| `") for name in row.split("|")[1].split(",")
    }
    assert listed == set(line_of(exchange))
