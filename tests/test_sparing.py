"""What is kept from being imported, and that who wants it all the same can have it. In processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.e2e.gateway import ROOT


def python(program: str) -> str:
    command = [sys.executable, "-W", "error", "-c", program]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout


SPARED = """
import sys
from app.sparing import models_built_when_used, uvicorn_without_its_command, without
with uvicorn_without_its_command(), without("rich"):
    import app.serving
"""


def test_what_nobody_uses_is_not_imported() -> None:
    loaded = python(f"{SPARED}\nprint(*sys.modules)").split()
    assert "uvicorn.server" in loaded
    unused = {"uvicorn.main", "uvicorn.supervisors", "click", "rich", "fastapi", "alembic", "httpx", "typer"}
    assert not unused & set(loaded)
    assert not [name for name in loaded if name.startswith("app.local.") and name != "app.local.errors"]


def test_who_asks_for_it_later_gets_it() -> None:
    wanted = "import rich, uvicorn\nprint(uvicorn.Server.__name__, uvicorn.run.__name__, hasattr(uvicorn, 'x'))"
    assert python(f"{SPARED}\n{wanted}") == "Server run False\n"


def test_models_are_built_when_they_are_used() -> None:
    program = """
with models_built_when_used(), without("pydantic.v1"):
    import app.control_plane
from fastapi.openapi.models import Info
from pydantic import BaseModel
print(Info.__pydantic_complete__, Info(title="x", version="1").title, BaseModel.model_config)
"""
    assert python(f"{SPARED}\n{program}") == "False x {}\n"


def test_nor_for_probes_and_the_first_request(tmp_path: Path) -> None:
    """A probe needs no FastAPI, which, when it is needed, would import the old pydantic for routes that it copies, and
    describe what nobody asked about."""
    program = f"""
import asyncio
from app.config.load import load_settings
from app.main import create_app

said = []
async def receive(): return {{"type": "http.request", "body": b"", "more_body": False}}
async def send(message): said.append(message.get("status"))
async def main():
    settings = load_settings(None, {{"QUAYMASTER_DATA_DIR": {str(tmp_path)!r}}})
    scope = {{"type": "http", "http_version": "1.1", "method": "GET", "headers": [], "query_string": b"",
             "client": ("127.0.0.1", 1), "state": {{}}}}
    async with create_app(settings, "sk-master") as edge:
        for path in ("/health/liveliness", "/health/readiness", "/metrics", "/docs"):
            await edge.control_plane({{**scope, "path": path, "raw_path": path.encode()}}, receive, send)
            print(path, next(filter(None, reversed(said))), "fastapi" in sys.modules)
asyncio.run(main())
from app.api.admin.models import GenerateKey
print("pydantic.v1" in sys.modules, GenerateKey.__pydantic_complete__)
"""
    answers = "/health/liveliness 200 False\n/health/readiness 200 False\n/metrics 200 False\n/docs 200 True\n"
    assert python(f"{SPARED}\n{program}") == f"{answers}False False\n"
