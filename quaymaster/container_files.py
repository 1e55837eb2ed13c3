"""The operations on a container's files as functions, each with an asynchronous twin: `a` + its name."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from os import PathLike
from pathlib import Path
from typing import IO, Unpack, overload

from quaymaster.contents import AsyncContentStream, ContentStream
from quaymaster.landings import Target
from quaymaster.options import CallOptions, Order
from quaymaster.pages import AsyncContainerFilePage, ContainerFilePage
from quaymaster.shared import async_containers, containers
from quaymaster.signatures import public, twin_of
from quaymaster.types import ContainerFile, ContainerFileDeleted, OnProgress
from quaymaster.uploads import FileTypes


@public
def create_container_file(
    container_id: str,
    file: FileTypes | None = None,
    *,
    file_id: str | None = None,
    on_progress: OnProgress | None = None,
    **options: Unpack[CallOptions],
) -> ContainerFile:
    """Put a file into a container: upload one, or copy one that the provider has.

    Args:
        container_id: the container's id ("cntr_…").
        file: bytes, a path (str or Path), a file opened in binary mode, or a tuple (name, one of these) or
            (name, one of these, media type). It is sent in pieces, and never held in memory.
        file_id: instead of it, the id of a file that the provider has ("file-…").
        on_progress: called with the bytes of the file sent so far, and those of all of it (None: not known).

    Returns:
        The ContainerFile: `id`, `path`, `filename`, `bytes` (its size; may be None), …

    Raises OSError for a path that cannot be read. A file object that cannot be rewound is sent only once.
    It is also called `upload_container_file`.

    Example:
        file = create_container_file("cntr_123", file="data.csv")
        print(file.path)
    """
    return containers(options).files.create(container_id, file, file_id=file_id, on_progress=on_progress)


@twin_of(create_container_file)
async def acreate_container_file(
    container_id: str,
    file: FileTypes | None = None,
    *,
    file_id: str | None = None,
    on_progress: OnProgress | None = None,
    **options: Unpack[CallOptions],
) -> ContainerFile:
    """Put a file into a container: await it."""
    return await async_containers(options).files.create(container_id, file, file_id=file_id, on_progress=on_progress)


@public
def list_container_files(
    container_id: str,
    after: str | None = None,
    limit: int | None = None,
    order: Order | None = None,
    **options: Unpack[CallOptions],
) -> ContainerFilePage:
    """List the files of a container, a page at a time.

    Args:
        container_id: the container's id ("cntr_…").
        after: the id of the last file of the page before; begin after it.
        limit: how many at most, 1 to 100. Default: 20.
        order: "asc" or "desc", by the time of creation. Default: "desc", newest first.

    Returns:
        A page: `data`, `first_id`, `last_id`, `has_more`. `auto_paging()` iterates over it and all pages after it.

    Example:
        for file in list_container_files("cntr_123").auto_paging():
            print(file.filename, file.bytes)
    """
    return containers(options).files.list(container_id, after, limit, order)


@twin_of(list_container_files)
async def alist_container_files(
    container_id: str,
    after: str | None = None,
    limit: int | None = None,
    order: Order | None = None,
    **options: Unpack[CallOptions],
) -> AsyncContainerFilePage:
    """List files: await the page; then `async for file in page.auto_paging()`."""
    return await async_containers(options).files.list(container_id, after, limit, order)


@public
def retrieve_container_file(container_id: str, file_id: str, **options: Unpack[CallOptions]) -> ContainerFile:
    """Retrieve what is known of a file; its content is `retrieve_container_file_content`'s.

    Args:
        container_id: the container's id ("cntr_…").
        file_id: the file's id ("cfile_…").

    Returns:
        The ContainerFile: `filename`, `path`, `bytes` (its size; may be None), `created_at` (unix seconds), `source`.

    Example:
        print(retrieve_container_file("cntr_123", "cfile_456").filename)
    """
    return containers(options).files.retrieve(file_id, container_id=container_id)


@twin_of(retrieve_container_file)
async def aretrieve_container_file(container_id: str, file_id: str, **options: Unpack[CallOptions]) -> ContainerFile:
    """Retrieve what is known of a file: await it."""
    return await async_containers(options).files.retrieve(file_id, container_id=container_id)


@public
def retrieve_container_file_content(container_id: str, file_id: str, **options: Unpack[CallOptions]) -> bytes:
    """The content of a file, whole and in memory. For large ones there is `stream_container_file_content`.

    Args:
        container_id: the container's id ("cntr_…").
        file_id: the file's id ("cfile_…").

    Returns:
        Its bytes.

    Example:
        Path("chart.png").write_bytes(retrieve_container_file_content("cntr_123", "cfile_456"))
    """
    return containers(options).files.content(file_id, container_id=container_id)


@twin_of(retrieve_container_file_content)
async def aretrieve_container_file_content(container_id: str, file_id: str, **options: Unpack[CallOptions]) -> bytes:
    """The content of a file: await it."""
    return await async_containers(options).files.content(file_id, container_id=container_id)


@public
def delete_container_file(container_id: str, file_id: str, **options: Unpack[CallOptions]) -> ContainerFileDeleted:
    """Delete a file from a container.

    Args:
        container_id: the container's id ("cntr_…").
        file_id: the file's id ("cfile_…").

    Returns:
        `id` and `deleted`, which is True.

    Example:
        assert delete_container_file("cntr_123", "cfile_456").deleted
    """
    return containers(options).files.delete(file_id, container_id=container_id)


@twin_of(delete_container_file)
async def adelete_container_file(
    container_id: str, file_id: str, **options: Unpack[CallOptions]
) -> ContainerFileDeleted:
    """Delete a file: await it."""
    return await async_containers(options).files.delete(file_id, container_id=container_id)


@public
def stream_container_file_content(
    container_id: str, file_id: str, **options: Unpack[CallOptions]
) -> AbstractContextManager[ContentStream]:
    """The content of a file as it comes, in little memory. The request is sent when the `with` block is entered.

    Args:
        container_id: the container's id ("cntr_…").
        file_id: the file's id ("cfile_…").

    Returns:
        A context manager. It gives `iter_bytes()`, `total_bytes` (None: not known), `headers` and `status_code`.

    Example:
        with stream_container_file_content("cntr_123", "cfile_456") as content:
            for piece in content.iter_bytes():
                sink.write(piece)
    """
    return containers(options).files.stream(file_id, container_id=container_id)


@twin_of(stream_container_file_content)
def astream_container_file_content(
    container_id: str, file_id: str, **options: Unpack[CallOptions]
) -> AbstractAsyncContextManager[AsyncContentStream]:
    """The content of a file as it comes: `async with … as content`, then `async for piece in content.aiter_bytes()`."""
    return async_containers(options).files.stream(file_id, container_id=container_id)


@overload
def download_container_file(
    container_id: str,
    file_id: str,
    *,
    to: str | PathLike[str],
    on_progress: OnProgress | None = None,
    **options: Unpack[CallOptions],
) -> Path: ...


@overload
def download_container_file(
    container_id: str,
    file_id: str,
    *,
    to: IO[bytes],
    on_progress: OnProgress | None = None,
    **options: Unpack[CallOptions],
) -> None: ...


@public
def download_container_file(
    container_id: str,
    file_id: str,
    *,
    to: Target,
    on_progress: OnProgress | None = None,
    **options: Unpack[CallOptions],
) -> Path | None:
    """Download a file into a file, in little memory.

    Where the connection is cut, what is missing is asked for, if the server can send parts; else it starts again. A
    path is written to under a temporary name beside it, and renamed at the end: after a failure it is what it was.

    Args:
        container_id: the container's id ("cntr_…").
        file_id: the file's id ("cfile_…").
        to: a path; a folder that exists, in which the file gets its own name; or a file opened for writing bytes.
        on_progress: called with the bytes that have come so far, and those of the whole file (None: not known).

    Returns:
        The path of the file; None where `to` was an open file, which stays open.

    Raises OSError where it cannot be written.

    Example:
        path = download_container_file("cntr_123", "cfile_456", to="downloads/")
    """
    files = containers(options).files
    return files.download(file_id, container_id=container_id, to=to, on_progress=on_progress)


@overload
async def adownload_container_file(
    container_id: str,
    file_id: str,
    *,
    to: str | PathLike[str],
    on_progress: OnProgress | None = None,
    **options: Unpack[CallOptions],
) -> Path: ...


@overload
async def adownload_container_file(
    container_id: str,
    file_id: str,
    *,
    to: IO[bytes],
    on_progress: OnProgress | None = None,
    **options: Unpack[CallOptions],
) -> None: ...


@twin_of(download_container_file)
async def adownload_container_file(
    container_id: str,
    file_id: str,
    *,
    to: Target,
    on_progress: OnProgress | None = None,
    **options: Unpack[CallOptions],
) -> Path | None:
    """Download a file into a file: await it."""
    files = async_containers(options).files
    return await files.download(file_id, container_id=container_id, to=to, on_progress=on_progress)


upload_container_file = create_container_file
aupload_container_file = acreate_container_file
