"""The four ways to call an operation: the functions, their asynchronous twins, and the two clients."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import quaymaster
from quaymaster import AsyncQuaymaster, Quaymaster

OPERATIONS = (
    "create_container",
    "list_containers",
    "retrieve_container",
    "delete_container",
    "create_container_file",
    "list_container_files",
    "retrieve_container_file",
    "retrieve_container_file_content",
    "delete_container_file",
)
"""The nine, as the functions call them."""
OF_ONE_FILE = ("retrieve_container_file", "retrieve_container_file_content", "delete_container_file")
WAYS = ("functions", "async functions", "client", "async client")
DESTINATION = ("custom_llm_provider", "api_key", "api_base", "api_version")

Call = Callable[..., Awaitable[Any]]
"""`await call("retrieve_container", "cntr_…", timeout=1)`: the name and arguments are those of the function."""


@asynccontextmanager
async def calling(way: str, **destination: Any) -> AsyncIterator[Call]:
    """Calls made in this way. Blocking ones run in a thread, so that a server in the test's own loop can answer."""
    if way == "functions":
        yield lambda function, /, *args, **options: asyncio.to_thread(
            getattr(quaymaster, function), *args, **destination, **options
        )
    elif way == "async functions":
        yield lambda function, /, *args, **options: getattr(quaymaster, f"a{function}")(*args, **destination, **options)
    elif way == "client":
        with Quaymaster(**destination) as client:

            async def blocking(function: str, /, *args: Any, **options: Any) -> Any:
                method, given, named = method_of(client, function, args)
                return await asyncio.to_thread(method, *given, **named, **options)

            yield blocking
    else:
        async with AsyncQuaymaster(**destination) as async_client:

            async def awaited(function: str, /, *args: Any, **options: Any) -> Any:
                method, given, named = method_of(async_client, function, args)
                return await method(*given, **named, **options)

            yield awaited


def method_of(
    client: Quaymaster | AsyncQuaymaster, name: str, args: tuple[Any, ...]
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """The method for a function, and its arguments as the method takes them."""
    resource: Any = client.containers.files if "_container_file" in name else client.containers
    word = "content" if name.endswith("_content") else name.partition("_")[0]
    method = getattr(resource, word)
    if name in OF_ONE_FILE:
        return method, (args[1],), {"container_id": args[0]}
    return method, args, {}


async def items(page: Any) -> list[Any]:
    """All items of a list, this page's and those after it."""
    found: list[Any] = []
    await collect(page, found)
    return found


async def collect(page: Any, found: list[Any]) -> None:
    """Add the items of this page, and of those after it, to `found` as they come."""
    if inspect.isasyncgen(paging := page.auto_paging()):
        async for each in paging:
            found += [each]
    else:
        await asyncio.to_thread(found.extend, paging)
