"""`client.containers` and `client.containers.files`: the nine operations with OpenAI's method names.

The arguments are those of the functions of the same operations (see `quaymaster.create_container` and its like), less
those that say where to send: these are the client's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

from quaymaster import calls
from quaymaster.calls import Call
from quaymaster.options import Order, RequestOptions, Settings
from quaymaster.pages import ContainerFilePage, ContainerPage
from quaymaster.signatures import spelled
from quaymaster.transport import ContentStream, Transport
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

if TYPE_CHECKING:
    import httpx

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

    @spelled
    def create(
        self,
        name: str,
        expires_after: Mapping[str, Any] | ExpiresAfter | None = None,
        file_ids: Sequence[str] | None = None,
        *,
        memory_limit: str | None = None,
        network_policy: Mapping[str, Any] | NetworkPolicy | None = None,
        skills: Sequence[Mapping[str, Any]] | None = None,
        timeout: float | httpx.Timeout | None = None,
        max_retries: int | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
        extra_body: Mapping[str, object] | None = None,
    ) -> Container:
        """Create a container: see `quaymaster.create_container`."""
        call = calls.create_container(
            name,
            expires_after=expires_after,
            file_ids=file_ids,
            memory_limit=memory_limit,
            network_policy=network_policy,
            skills=skills,
            extra_body=extra_body,
        )
        return self._send(call, options_of(timeout, max_retries, extra_headers, extra_query))

    @spelled
    def retrieve(
        self,
        container_id: str,
        *,
        timeout: float | httpx.Timeout | None = None,
        max_retries: int | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
        extra_body: Mapping[str, object] | None = None,
    ) -> Container:
        """Retrieve a container: see `quaymaster.retrieve_container`."""
        call = calls.retrieve_container(container_id, extra_body=extra_body)
        return self._send(call, options_of(timeout, max_retries, extra_headers, extra_query))

    @spelled
    def delete(
        self,
        container_id: str,
        *,
        timeout: float | httpx.Timeout | None = None,
        max_retries: int | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
        extra_body: Mapping[str, object] | None = None,
    ) -> ContainerDeleted:
        """Delete a container: see `quaymaster.delete_container`."""
        call = calls.delete_container(container_id, extra_body=extra_body)
        return self._send(call, options_of(timeout, max_retries, extra_headers, extra_query))

    @spelled
    def list(
        self,
        after: str | None = None,
        limit: int | None = None,
        order: Order | None = None,
        *,
        name: str | None = None,
        timeout: float | httpx.Timeout | None = None,
        max_retries: int | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
        extra_body: Mapping[str, object] | None = None,
    ) -> ContainerPage:
        """List containers, a page at a time: see `quaymaster.list_containers`."""
        call = calls.list_containers(
            ContainerPage, after=after, limit=limit, order=order, name=name, extra_body=extra_body
        )
        page = self._send(call, options_of(timeout, max_retries, extra_headers, extra_query))
        page._fetch = lambda last_id: self.list(
            last_id,
            limit,
            order,
            name=name,
            timeout=timeout,
            max_retries=max_retries,
            extra_headers=extra_headers,
            extra_query=extra_query,
            extra_body=extra_body,
        )
        return page


class ContainerFiles(_Resource):
    """`client.containers.files`: create, list, retrieve, read and delete the files of a container."""

    @spelled
    def create(
        self,
        container_id: str,
        file: FileTypes | None = None,
        *,
        file_id: str | None = None,
        on_progress: OnProgress | None = None,
        timeout: float | httpx.Timeout | None = None,
        max_retries: int | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
        extra_body: Mapping[str, object] | None = None,
    ) -> ContainerFile:
        """Upload or copy a file: see `quaymaster.create_container_file`."""
        call = calls.create_container_file(
            container_id, file=file, file_id=file_id, on_progress=on_progress, extra_body=extra_body
        )
        return self._send(call, options_of(timeout, max_retries, extra_headers, extra_query))

    @spelled
    def retrieve(
        self,
        file_id: str,
        *,
        container_id: str,
        timeout: float | httpx.Timeout | None = None,
        max_retries: int | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
        extra_body: Mapping[str, object] | None = None,
    ) -> ContainerFile:
        """Retrieve what is known of a file: see `quaymaster.retrieve_container_file`."""
        call = calls.retrieve_container_file(container_id, file_id, extra_body=extra_body)
        return self._send(call, options_of(timeout, max_retries, extra_headers, extra_query))

    @spelled
    def delete(
        self,
        file_id: str,
        *,
        container_id: str,
        timeout: float | httpx.Timeout | None = None,
        max_retries: int | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
        extra_body: Mapping[str, object] | None = None,
    ) -> ContainerFileDeleted:
        """Delete a file: see `quaymaster.delete_container_file`."""
        call = calls.delete_container_file(container_id, file_id, extra_body=extra_body)
        return self._send(call, options_of(timeout, max_retries, extra_headers, extra_query))

    @spelled
    def content(
        self,
        file_id: str,
        *,
        container_id: str,
        timeout: float | httpx.Timeout | None = None,
        max_retries: int | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
        extra_body: Mapping[str, object] | None = None,
    ) -> bytes:
        """A file's bytes, in memory: see `quaymaster.retrieve_container_file_content`."""
        call = calls.retrieve_container_file_content(container_id, file_id, extra_body=extra_body)
        return self._send(call, options_of(timeout, max_retries, extra_headers, extra_query))

    @spelled
    def stream(
        self,
        file_id: str,
        *,
        container_id: str,
        timeout: float | httpx.Timeout | None = None,
        max_retries: int | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
        extra_body: Mapping[str, object] | None = None,
    ) -> AbstractContextManager[ContentStream]:
        """A file's bytes as they come: see `quaymaster.stream_container_file_content`."""
        call = calls.retrieve_container_file_content(container_id, file_id, extra_body=extra_body)
        return self._transport.stream(
            call, self._settings, options_of(timeout, max_retries, extra_headers, extra_query)
        )

    @spelled
    def list(
        self,
        container_id: str,
        after: str | None = None,
        limit: int | None = None,
        order: Order | None = None,
        *,
        timeout: float | httpx.Timeout | None = None,
        max_retries: int | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
        extra_body: Mapping[str, object] | None = None,
    ) -> ContainerFilePage:
        """List a container's files, a page at a time: see `quaymaster.list_container_files`."""
        call = calls.list_container_files(
            ContainerFilePage, container_id, after=after, limit=limit, order=order, extra_body=extra_body
        )
        page = self._send(call, options_of(timeout, max_retries, extra_headers, extra_query))
        page._fetch = lambda last_id: self.list(
            container_id,
            last_id,
            limit,
            order,
            timeout=timeout,
            max_retries=max_retries,
            extra_headers=extra_headers,
            extra_query=extra_query,
            extra_body=extra_body,
        )
        return page


def options_of(
    timeout: float | httpx.Timeout | None,
    max_retries: int | None,
    extra_headers: Mapping[str, str] | None,
    extra_query: Mapping[str, object] | None,
) -> RequestOptions:
    """A request's own options, but for its additional fields, which are the call's."""
    return RequestOptions(
        timeout=timeout, max_retries=max_retries, extra_headers=extra_headers, extra_query=extra_query
    )
