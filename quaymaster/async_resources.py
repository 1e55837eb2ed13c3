"""The asynchronous `client.containers` and `client.containers.files`.

The arguments are those of the functions of the same operations (see `quaymaster.acreate_container` and its like), less
those that say where to send: these are the client's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from os import PathLike
from pathlib import Path
from typing import IO, Any, TypeVar, Unpack, overload

from quaymaster import calls
from quaymaster.calls import Call
from quaymaster.contents import AsyncContentStream
from quaymaster.downloads import adownload
from quaymaster.landings import Target, inside, is_folder, landing_at
from quaymaster.options import Order, RequestOptions, Settings
from quaymaster.pages import AsyncContainerFilePage, AsyncContainerPage
from quaymaster.signatures import taking
from quaymaster.threads import in_thread
from quaymaster.transport import AsyncTransport
from quaymaster.types import (
    Container,
    ContainerDeleted,
    ContainerFile,
    ContainerFileDeleted,
    ExpiresAfter,
    NetworkPolicy,
    OnProgress,
)
from quaymaster.uploads import FileTypes

T = TypeVar("T")


class _Resource:
    """What calls go through: a driver, and the client's settings."""

    def __init__(self, transport: AsyncTransport, settings: Settings) -> None:
        self._transport = transport
        self._settings = settings

    async def _send(self, call: Call[T], options: RequestOptions) -> T:
        return await self._transport.send(call, self._settings, options)


class AsyncContainers(_Resource):
    """`client.containers`: create, list, retrieve and delete containers; `files` are their files."""

    def __init__(self, transport: AsyncTransport, settings: Settings) -> None:
        super().__init__(transport, settings)
        self.files = AsyncContainerFiles(transport, settings)

    @taking(RequestOptions)
    async def create(
        self,
        name: str,
        expires_after: Mapping[str, Any] | ExpiresAfter | None = None,
        file_ids: Sequence[str] | None = None,
        *,
        memory_limit: str | None = None,
        network_policy: Mapping[str, Any] | NetworkPolicy | None = None,
        skills: Sequence[Mapping[str, Any]] | None = None,
        **options: Unpack[RequestOptions],
    ) -> Container:
        """Create a container: see `quaymaster.acreate_container`."""
        call = calls.create_container(
            name,
            expires_after=expires_after,
            file_ids=file_ids,
            memory_limit=memory_limit,
            network_policy=network_policy,
            skills=skills,
        )
        return await self._send(call, options)

    @taking(RequestOptions)
    async def retrieve(self, container_id: str, **options: Unpack[RequestOptions]) -> Container:
        """Retrieve a container: see `quaymaster.aretrieve_container`."""
        call = calls.retrieve_container(container_id)
        return await self._send(call, options)

    @taking(RequestOptions)
    async def delete(self, container_id: str, **options: Unpack[RequestOptions]) -> ContainerDeleted:
        """Delete a container: see `quaymaster.adelete_container`."""
        call = calls.delete_container(container_id)
        return await self._send(call, options)

    @taking(RequestOptions)
    async def list(
        self,
        after: str | None = None,
        limit: int | None = None,
        order: Order | None = None,
        *,
        name: str | None = None,
        **options: Unpack[RequestOptions],
    ) -> AsyncContainerPage:
        """List containers, a page at a time: see `quaymaster.alist_containers`."""
        call = calls.list_containers(AsyncContainerPage, after=after, limit=limit, order=order, name=name)
        page = await self._send(call, options)
        page._fetch = lambda last_id: self.list(last_id, limit, order, name=name, **options)
        return page


class AsyncContainerFiles(_Resource):
    """`client.containers.files`: create, list, retrieve, read and delete the files of a container."""

    @taking(RequestOptions)
    async def create(
        self,
        container_id: str,
        file: FileTypes | None = None,
        *,
        file_id: str | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[RequestOptions],
    ) -> ContainerFile:
        """Upload or copy a file: see `quaymaster.acreate_container_file`."""
        call = calls.create_container_file(container_id, file=file, file_id=file_id, on_progress=on_progress)
        return await self._send(call, options)

    @taking(RequestOptions)
    async def retrieve(self, file_id: str, *, container_id: str, **options: Unpack[RequestOptions]) -> ContainerFile:
        """Retrieve what is known of a file: see `quaymaster.aretrieve_container_file`."""
        call = calls.retrieve_container_file(container_id, file_id)
        return await self._send(call, options)

    @taking(RequestOptions)
    async def delete(
        self, file_id: str, *, container_id: str, **options: Unpack[RequestOptions]
    ) -> ContainerFileDeleted:
        """Delete a file: see `quaymaster.adelete_container_file`."""
        call = calls.delete_container_file(container_id, file_id)
        return await self._send(call, options)

    @taking(RequestOptions)
    async def content(self, file_id: str, *, container_id: str, **options: Unpack[RequestOptions]) -> bytes:
        """A file's bytes, in memory: see `quaymaster.aretrieve_container_file_content`."""
        call = calls.retrieve_container_file_content(container_id, file_id)
        return await self._send(call, options)

    @taking(RequestOptions)
    def stream(
        self, file_id: str, *, container_id: str, **options: Unpack[RequestOptions]
    ) -> AbstractAsyncContextManager[AsyncContentStream]:
        """A file's bytes as they come: see `quaymaster.astream_container_file_content`."""
        call = calls.retrieve_container_file_content(container_id, file_id)
        return self._transport.stream(call, self._settings, options)

    @overload
    async def download(
        self,
        file_id: str,
        *,
        container_id: str,
        to: str | PathLike[str],
        on_progress: OnProgress | None = None,
        **options: Unpack[RequestOptions],
    ) -> Path: ...

    @overload
    async def download(
        self,
        file_id: str,
        *,
        container_id: str,
        to: IO[bytes],
        on_progress: OnProgress | None = None,
        **options: Unpack[RequestOptions],
    ) -> None: ...

    @taking(RequestOptions)
    async def download(
        self,
        file_id: str,
        *,
        container_id: str,
        to: Target,
        on_progress: OnProgress | None = None,
        **options: Unpack[RequestOptions],
    ) -> Path | None:
        """A file's bytes into a file: see `quaymaster.adownload_container_file`."""
        call = calls.retrieve_container_file_content(container_id, file_id)
        if await in_thread(partial(is_folder, to)):
            file = await self.retrieve(file_id, container_id=container_id, **options)
            to = inside(to, file.filename, file_id)
        stream = partial(self._transport.stream, call, self._settings, options)
        return await adownload(lambda may_restart: stream(may_restart=may_restart), landing_at(to), on_progress)

    @taking(RequestOptions)
    async def list(
        self,
        container_id: str,
        after: str | None = None,
        limit: int | None = None,
        order: Order | None = None,
        **options: Unpack[RequestOptions],
    ) -> AsyncContainerFilePage:
        """List a container's files, a page at a time: see `quaymaster.alist_container_files`."""
        call = calls.list_container_files(AsyncContainerFilePage, container_id, after=after, limit=limit, order=order)
        page = await self._send(call, options)
        page._fetch = lambda last_id: self.list(container_id, last_id, limit, order, **options)
        return page
