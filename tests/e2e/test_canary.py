"""Secrets go in by every door, everything that can be written down is, and none of it has one of them."""

from __future__ import annotations

import base64
import gzip
import io
import json
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.gateway import RunningGateway, running_gateway
from tests.hooks.written import Collector, collecting
from tests.services import free_port

CONTAINERS = "/v1/containers"
MARK = "7f3a9b"
PLAIN = ("master", "upstream", "bearer", "api-key", "x-api-key", "basic", "cookie", "secret", "password", "admin-key")
LIKE_KEYS = ("wrong", "query", "field", "path", "admin-field", "admin-query")
CANARY = {name: f"canary-{name}-{MARK}" for name in PLAIN} | {name: f"sk-canary-{name}-{MARK}" for name in LIKE_KEYS}
WEBHOOK_SECRET = f"canary-webhook-{MARK}"


def skill() -> str:
    """A zip archive with a canary in it, as base64."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("SKILL.md", f"canary-skill-{MARK}")
    return base64.b64encode(archive.getvalue()).decode()


def kept_in(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "data" / "quaymaster.db")) as database:
        return {request_id for (request_id,) in database.execute("SELECT request_id FROM requests")}


DATA = skill()


def settings(collector: Collector, folder: Path) -> str:
    away = {
        "name": "away",
        "provider": "azure",
        "api_base": f"http://127.0.0.1:{free_port()}",
        "api_key": CANARY["upstream"],
    }
    return json.dumps(
        {
            "deployments": [{"name": "here", "provider": "local"}, away],
            "logging": {"level": "debug"},
            "request_log": {
                "file": str(folder / "requests.jsonl"),
                "webhook_url": f"{collector.url}/lines",
                "webhook_secret": WEBHOOK_SECRET,
                "webhook_allow_private": True,
                "otlp_endpoint": collector.url,
            },
        }
    )


def ask_everything(gateway: RunningGateway, large: bool) -> tuple[list[str], list[str], str]:
    """Every door: the ids of the requests, the secrets of the keys that were made, and what metrics say."""
    gateway.client.headers["Authorization"] = f"Bearer {CANARY['master']}"
    ids: list[str] = []

    def ask(method: str, path: str, **more: Any) -> httpx.Response:
        answer = gateway.client.request(method, path, **more)
        assert answer.status_code < 503
        ids.append(answer.headers["x-request-id"])
        return answer

    key = ask("POST", "/key/generate", json={"key_alias": "alice"}).json()["key"]
    again = ask("POST", "/key/regenerate", json={"key": key, "grace_period": "1h"}).json()["key"]
    for headers in (
        {"Authorization": f"Bearer {CANARY['bearer']}"},
        {"Authorization": f"Basic {CANARY['basic']}"},
        {"Authorization": CANARY["wrong"]},
        {"api-key": CANARY["api-key"]},
        {"x-api-key": CANARY["x-api-key"]},
        {"Authorization": f"Bearer {key}", "Cookie": CANARY["cookie"]},
        {"Authorization": f"Bearer {again}"},
    ):
        ask("GET", CONTAINERS, headers=headers)
    secret = {"domain": "a.test", "name": "TOKEN", "value": CANARY["secret"]}
    source = {"type": "base64", "media_type": "application/zip", "data": DATA}
    body = {
        "name": "x",
        "network_policy": {"type": "allowlist", "allowed_domains": ["a.test"], "domain_secrets": [secret]},
        "skills": [{"type": "inline", "name": "s", "description": "d", "source": source}],
        "password": CANARY["password"],
        "note": CANARY["field"],
        "filler": "x" * (200_000 if large else 1),
    }
    ask("POST", CONTAINERS, json=body)
    ask("POST", f"{CONTAINERS}?custom_llm_provider=azure", json=body)
    ask("GET", f"{CONTAINERS}?name={CANARY['query']}&api_key={CANARY['query']}")
    ask("GET", f"/v1/{CANARY['path']}")
    ask("GET", f"{CONTAINERS}/{CANARY['path']}")
    ask("GET", f"/key/info?key={key}")
    ask("GET", f"/key/info?key={CANARY['admin-query']}")
    ask("POST", f"/key/{key}/regenerate")
    ask("POST", "/key/block", json={"key": CANARY["admin-key"]})
    ask("POST", "/key/block", json={"key": CANARY["wrong"], "password": CANARY["password"]})
    ask("POST", "/key/generate", json={"metadata": {"note": "x"}, CANARY["admin-field"]: 1})
    ask("POST", "/key/generate", json={"domain_secrets": [secret], "skills": [{"source": source}]})
    for request_id in ids:
        gateway.log(request_id)
    parts = [whole.split("-", 3)[3] for whole in (key, again)]
    return ids, parts, gateway.client.get("/metrics").text


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_no_secret_is_written_down(tmp_path: Path, large: bool) -> None:
    """Whether parsed as it stands or, being large, in pieces."""
    pytest.importorskip("opentelemetry.sdk")
    with collecting() as collector:
        with running_gateway(
            tmp_path, settings(collector, tmp_path), QUAYMASTER_MASTER_KEY=CANARY["master"]
        ) as gateway:
            ids, keys, metrics = ask_everything(gateway, large)
            assert gateway.stop() == 0
        posts = list(collector.posts)
    places = {"stdout": "\n".join(gateway.lines), "metrics": metrics}
    for number, (path, headers, body) in enumerate(posts):
        content = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        places[f"{path} {number}"] = repr(headers) + content.decode("latin-1")
    for file in [*(tmp_path / "data").rglob("*"), tmp_path / "requests.jsonl"]:
        if file.is_file():
            places[file.name] = file.read_bytes().decode("latin-1")

    # Everything was written down everywhere,
    by_name = "".join(text for name, text in places.items() if name.startswith("/lines"))
    traces = "".join(text for name, text in places.items() if name.startswith("/v1/traces"))
    rows = kept_in(tmp_path)
    for request_id in ids:
        assert request_id in rows
        assert request_id in by_name
        assert request_id in traces
        assert request_id in places["requests.jsonl"]
    # and none of it has a secret.
    secrets = [*CANARY.values(), WEBHOOK_SECRET, "canary-skill", DATA, DATA[:60], *keys]
    assert not [(place, secret) for place, text in places.items() for secret in secrets if secret in text]
