"""The library as a whole: its names, what importing it costs, and what a type checker says of its use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import quaymaster

ROOT = Path(quaymaster.__file__).parents[1]


def test_the_public_names_are_sorted_and_there() -> None:
    names = quaymaster.__all__
    assert names == sorted(set(names))
    for name in names:
        assert getattr(quaymaster, name) is not None
    found = {
        name
        for name, value in vars(quaymaster).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("quaymaster")
    }
    assert found <= set(names)
    assert set(names) <= set(dir(quaymaster))
    assert not hasattr(quaymaster, "nothing_of_the_kind")


def python(*arguments: str) -> str:
    environment = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, env=environment)
    return done.stdout


def packages(statement: str) -> set[str]:
    """The packages from outside the standard library that a statement loads."""
    loaded = python("-c", f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))")
    tops = {name.partition(".")[0] for name in json.loads(loaded)}
    return {name for name in tops if name not in sys.stdlib_module_names and not name.startswith("_")}


def test_importing_it_loads_httpx_and_pydantic_and_nothing_else() -> None:
    beside = packages("import httpx, pydantic\nclass Model(pydantic.BaseModel): field: int")
    assert packages("from quaymaster import *") - beside == {"quaymaster"}
    assert packages("from quaymaster import operations") == {"quaymaster"}
    assert {"httpx", "pydantic"} <= beside


def test_importing_it_opens_nothing() -> None:
    opened = "import sys; sys.addaudithook(lambda event, _: event.startswith('socket.') and sys.exit(event))"
    assert (
        python("-c", f"{opened}\nfrom quaymaster import *\nimport threading\nprint(threading.active_count())") == "1\n"
    )


USER = """
from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import assert_type

import httpx

import quaymaster as q


def blocking() -> None:
    container = q.create_container(
        "crate",
        {"anchor": "last_active_at", "minutes": 5},
        ["file-1"],
        memory_limit="4g",
        network_policy=q.NetworkPolicy(type="disabled"),
        skills=[{"type": "skill_reference", "skill_id": "s"}],
        custom_llm_provider="openai",
        api_key="k",
        api_base="http://x",
        api_version="v1",
        timeout=httpx.Timeout(5),
        max_retries=1,
        extra_headers={"a": "b"},
        extra_query={"a": 1},
        extra_body={"a": [1]},
    )
    assert_type(container, q.Container)
    assert_type(container.expires_at, int | None)
    assert_type(q.list_containers(after=None, limit=5, order="desc", name="x"), q.ContainerPage)
    assert_type(q.list_containers().data, list[q.Container])
    assert_type(q.list_containers().auto_paging(), Iterator[q.Container])
    assert_type([each for each in q.list_containers()], list[q.Container])
    assert_type(q.retrieve_container("c", timeout=3), q.Container)
    assert_type(q.delete_container("c").deleted, bool)
    for given in (b"x", "path", Path("path"), ("n", b"x"), ("n", b"x", "text/plain")):
        assert_type(q.create_container_file("c", given, on_progress=print), q.ContainerFile)
    with open("path", "rb") as opened:
        q.upload_container_file("c", file=opened)
    file = q.create_container_file("c", file_id="file-1")
    assert_type(file.bytes, int | None)
    assert_type(file.filename, str)
    assert_type(q.list_container_files("c", order="asc"), q.ContainerFilePage)
    assert_type(q.retrieve_container_file("c", "f"), q.ContainerFile)
    assert_type(q.retrieve_container_file_content("c", "f"), bytes)
    assert_type(q.delete_container_file("c", "f"), q.ContainerFileDeleted)
    with q.stream_container_file_content("c", "f") as content:
        assert_type(content.total_bytes, int | None)
        assert_type(b"".join(content.iter_bytes()), bytes)
    assert_type(q.download_container_file("c", "f", to="path"), Path)
    with q.container("crate", timeout=3) as crate:
        assert_type(crate, q.Container)
    try:
        q.retrieve_container("c")
    except q.ContainerExpiredError as error:
        assert_type(error.status_code, int)
        assert_type(error.request_id, str | None)
    except q.APIError as error:
        assert_type(error.body, object | None)


async def awaiting() -> None:
    assert_type(await q.acreate_container("crate", max_retries=0), q.Container)
    page = await q.alist_containers(limit=5)
    assert_type(page, q.AsyncContainerPage)
    assert_type([each async for each in page.auto_paging()], list[q.Container])
    assert_type([each async for each in page], list[q.Container])
    assert_type(await q.aretrieve_container("c"), q.Container)
    assert_type(await q.adelete_container("c"), q.ContainerDeleted)
    assert_type(await q.acreate_container_file("c", ("n", b"x")), q.ContainerFile)
    assert_type(await q.aupload_container_file("c", b"x"), q.ContainerFile)
    assert_type(await q.alist_container_files("c"), q.AsyncContainerFilePage)
    assert_type(await q.aretrieve_container_file("c", "f"), q.ContainerFile)
    assert_type(await q.aretrieve_container_file_content("c", "f"), bytes)
    assert_type(await q.adelete_container_file("c", "f"), q.ContainerFileDeleted)
    async with q.astream_container_file_content("c", "f") as content:
        assert_type([piece async for piece in content.aiter_bytes()], list[bytes])
    assert_type(await q.adownload_container_file("c", "f", to=Path("path")), Path)
    async with q.container("crate") as crate:
        assert_type(crate, q.Container)


def clients() -> None:
    with q.Quaymaster(api_key="k", default_headers={"a": "b"}, http_client=httpx.Client()) as client:
        assert_type(client.containers.create(name="x"), q.Container)
        assert_type(client.containers.list(limit=1), q.ContainerPage)
        assert_type(client.containers.files.create("c", file=b"x"), q.ContainerFile)
        assert_type(client.containers.files.content("f", container_id="c"), bytes)
        assert_type(client.containers.files.download("f", container_id="c", to="path"), Path)
        with client.containers.files.stream("f", container_id="c") as content:
            assert_type(content, q.ContentStream)


async def async_clients() -> None:
    async with q.AsyncQuaymaster(timeout=3) as client:
        assert_type(await client.containers.retrieve("c"), q.Container)
        assert_type(await client.containers.files.list("c"), q.AsyncContainerFilePage)
        async with client.containers.files.stream("f", container_id="c") as content:
            assert_type(content, q.AsyncContentStream)


if __name__ == "__main__":
    asyncio.run(awaiting())
"""
WRONG = [
    "q.create_container(7)",
    'q.create_container("x", api_key=7)',
    'q.create_container("x", api_bas="y")',
    'q.list_containers(order="newest")',
    'q.retrieve_container_file("c")',
    'q.retrieve_container("c").nmae',
    'q.retrieve_container("c").name = "y"',
    'q.Quaymaster(timeout="soon")',
    'q.Quaymaster().containers.list(limit="5")',
    'q.create_container_file("c", 7)',
]


def test_a_type_checker_follows_every_function(tmp_path: Path) -> None:
    path, wrong = tmp_path / "user.py", tmp_path / "wrong.py"
    path.write_text(USER)
    wrong.write_text("import quaymaster as q\n" + "\n".join(WRONG) + "\n")
    (tmp_path / "mypy.ini").write_text(f"[mypy]\nmypy_path = {ROOT}\n")
    checker = [sys.executable, "-m", "mypy", "--strict", "--config-file", "mypy.ini", "--cache-dir", "cache"]
    checked = subprocess.run([*checker, path, wrong], cwd=tmp_path, capture_output=True, text=True, check=False)
    complaints = [line for line in checked.stdout.splitlines() if ": error: " in line]
    assert [line for line in complaints if not line.startswith("wrong.py")] == []
    assert {int(line.split(":")[1]) - 2 for line in complaints} == set(range(len(WRONG))), checked.stdout
    for name in quaymaster.__all__:
        if name[0].islower():
            assert f"q.{name}(" in USER
