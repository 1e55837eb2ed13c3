"""`client.containers` and `client.containers.files`: the nine operations with OpenAI's method names.

The arguments are those of the functions of the same operations (see `quaymaster.create_container` and its like), less
those that say where to send: these are the client's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from os import PathLike
from pathlib import Path
from typing import IO, Any, TypeVar, Unpack, overload

from quaymaster import calls
from quaymaster.calls import Call
from quaymaster.contents import ContentStream
from quaymaster.downloads import download
from quaymaster.landings import Target, inside, is_folder, landing_at
from quaymaster.options import Order, RequestOptions, Settings
from quaymaster.pages import ContainerFilePage, ContainerPage
from quaymaster.signatures import taking
from quaymaster.transport import Transport
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

    def __init__(self, transport: Transport, settings: Settings) -> None:
        self._transport = transport
        self._settings = settings

    def _send(self, call: Call[T], options: RequestOptions) -> T:
        return self._transport.send(call, self._settings, options)


class Containers(_Resource):
    """`client.containers`: create, list, retrieve and delete containers; `files` are their files."""

    def __init__(self, transport: Transport, settings: Settings) -> None:
        super().__init__(transport, settings)
        self.files = ContainerFiles(transport, settings)

    @taking(RequestOptions)
    def create(
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
        """Create a container: see `quaymaster.create_container`."""
        call = calls.create_container(
            name,
            expires_after=expires_after,
            file_ids=file_ids,
            memory_limit=memory_limit,
            network_policy=network_policy,
            skills=skills,
        )
        return self._send(call, options)

    @taking(RequestOptions)
    def retrieve(self, container_id: str, **options: Unpack[RequestOptions]) -> Container:
        """Retrieve a container: see `quaymaster.retrieve_container`."""
        call = calls.retrieve_container(container_id)
        return self._send(call, options)

    @taking(RequestOptions)
    def delete(self, container_id: str, **options: Unpack[RequestOptions]) -> ContainerDeleted:
        """Delete a container: see `quaymaster.delete_container`."""
        call = calls.delete_container(container_id)
        return self._send(call, options)

    @taking(RequestOptions)
    def list(
        self,
        after: str | None = None,
        limit: int | None = None,
        order: Order | None = None,
        *,
        name: str | None = None,
        **options: Unpack[RequestOptions],
    ) -> ContainerPage:
        """List containers, a page at a time: see `quaymaster.list_containers`."""
        call = calls.list_containers(ContainerPage, after=after, limit=limit, order=order, name=name)
        page = self._send(call, options)
        page._fetch = lambda last_id: self.list(last_id, limit, order, name=name, **options)
        return page


class ContainerFiles(_Resource):
    """`client.containers.files`: create, list, retrieve, read and delete the files of a container."""

    @taking(RequestOptions)
    def create(
        self,
        container_id: str,
        file: FileTypes | None = None,
        *,
        file_id: str | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[RequestOptions],
    ) -> ContainerFile:
        """Upload or copy a file: see `quaymaster.create_container_file`."""
        call = calls.create_container_file(container_id, file=file, file_id=file_id, on_progress=on_progress)
        return self._send(call, options)

    @taking(RequestOptions)
    def retrieve(self, file_id: str, *, container_id: str, **options: Unpack[RequestOptions]) -> ContainerFile:
        """Retrieve what is known of a file: see `quaymaster.retrieve_container_file`."""
        call = calls.retrieve_container_file(container_id, file_id)
        return self._send(call, options)

    @taking(RequestOptions)
    def delete(self, file_id: str, *, container_id: str, **options: Unpack[RequestOptions]) -> ContainerFileDeleted:
        """Delete a file: see `quaymaster.delete_container_file`."""
        call = calls.delete_container_file(container_id, file_id)
        return self._send(call, options)

    @taking(RequestOptions)
    def content(self, file_id: str, *, container_id: str, **options: Unpack[RequestOptions]) -> bytes:
        """A file's bytes, in memory: see `quaymaster.retrieve_container_file_content`."""
        call = calls.retrieve_container_file_content(container_id, file_id)
        return self._send(call, options)

    @taking(RequestOptions)
    def stream(
        self, file_id: str, *, container_id: str, **options: Unpack[RequestOptions]
    ) -> AbstractContextManager[ContentStream]:
        """A file's bytes as they come: see `quaymaster.stream_container_file_content`."""
        call = calls.retrieve_container_file_content(container_id, file_id)
        return self._transport.stream(call, self._settings, options)

    @overload
    def download(
        self,
        file_id: str,
        *,
        container_id: str,
        to: str | PathLike[str],
        on_progress: OnProgress | None = None,
        **options: Unpack[RequestOptions],
    ) -> Path: ...

    @overload
    def download(
        self,
        file_id: str,
        *,
        container_id: str,
        to: IO[bytes],
        on_progress: OnProgress | None = None,
        **options: Unpack[RequestOptions],
    ) -> None: ...

    @taking(RequestOptions)
    def download(
        self,
        file_id: str,
        *,
        container_id: str,
        to: Target,
        on_progress: OnProgress | None = None,
        **options: Unpack[RequestOptions],
    ) -> Path | None:
        """A file's bytes into a file: see `quaymaster.download_container_file`."""
        call = calls.retrieve_container_file_content(container_id, file_id)
        if is_folder(to):
            file = self.retrieve(file_id, container_id=container_id, **options)
            to = inside(to, file.filename, file_id)
        stream = partial(self._transport.stream, call, self._settings, options)
        return download(lambda may_restart: stream(may_restart=may_restart), landing_at(to), on_progress)

    @taking(RequestOptions)
    def list(
        self,
        container_id: str,
        after: str | None = None,
        limit: int | None = None,
        order: Order | None = None,
        **options: Unpack[RequestOptions],
    ) -> ContainerFilePage:
        """List a container's files, a page at a time: see `quaymaster.list_container_files`."""
        call = calls.list_container_files(ContainerFilePage, container_id, after=after, limit=limit, order=order)
        page = self._send(call, options)
        page._fetch = lambda last_id: self.list(container_id, last_id, limit, order, **options)
        return page
