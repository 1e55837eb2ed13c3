"""The nine operations, one method each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from app.local.content import Content, content_reply
from app.local.creation import read_spec
from app.local.data_folder import DataFolder
from app.local.errors import container_file_not_found, missing
from app.local.http import Handler, Reply, Request, json_reply
from app.local.intake import Intake
from app.local.paging import list_document, read_cursor
from app.local.threads import Threads
from quaymaster import operations

MAX_CREATE_BYTES: Final = 96 * 1024 * 1024
"""An inline skill may be 70 MB of base64."""


class ContainerHandlers:
    """The operations on containers and their files, as an HTTP request asks for them."""

    def __init__(self, folder: DataFolder, threads: Threads, intake: Intake) -> None:
        self._blobs = folder.blobs
        self._containers = folder.containers
        self._threads = threads
        self._intake = intake
        self.by_operation: Mapping[operations.Operation, Handler] = {
            operations.CONTAINERS_CREATE: self.create,
            operations.CONTAINERS_LIST: self.page,
            operations.CONTAINERS_RETRIEVE: self.retrieve,
            operations.CONTAINERS_DELETE: self.delete,
            operations.FILES_CREATE: self.create_file,
            operations.FILES_LIST: self.file_page,
            operations.FILES_RETRIEVE: self.retrieve_file,
            operations.FILES_DELETE: self.delete_file,
            operations.FILES_CONTENT: self.content,
        }

    async def create(self, request: Request, _container_id: str, _file_id: str) -> Reply:
        """POST /containers."""
        content = await request.body(max_bytes=MAX_CREATE_BYTES)
        spec = await self._threads.bytes(read_spec, content)
        container, freed = await self._threads.records(self._containers.create, spec)
        await self._threads.bytes(self._blobs.remove, freed)
        return json_reply(container.document())

    async def page(self, request: Request, _container_id: str, _file_id: str) -> Reply:
        """GET /containers."""
        query = request.query()
        page = await self._threads.records(self._containers.page, read_cursor(query), query.get("name"))
        return json_reply(list_document(page))

    async def retrieve(self, _request: Request, container_id: str, _file_id: str) -> Reply:
        """GET /containers/{container_id}."""
        container = await self._threads.records(self._containers.retrieve, container_id)
        return json_reply(container.document())

    async def delete(self, _request: Request, container_id: str, _file_id: str) -> Reply:
        """DELETE /containers/{container_id}."""
        freed = await self._threads.records(self._containers.delete, container_id)
        await self._threads.bytes(self._blobs.remove, freed)
        return json_reply({"id": container_id, "object": "container.deleted", "deleted": True})

    async def create_file(self, request: Request, container_id: str, _file_id: str) -> Reply:
        """POST /containers/{container_id}/files: the bytes themselves, or the id of a file under /v1/files."""
        await self._threads.records(self._containers.use, container_id)
        async with self._intake.receive(request) as upload:
            if upload.filename is not None:
                record = partial(self._containers.add_file, container_id)
                file = await self._threads.records(upload.commit, record)
            elif "file_id" in upload.fields:
                file = await self._threads.records(self._containers.copy_file, container_id, upload.fields["file_id"])
            else:
                raise missing("file")
        return json_reply(file.document())

    async def file_page(self, request: Request, container_id: str, _file_id: str) -> Reply:
        """GET /containers/{container_id}/files."""
        cursor = read_cursor(request.query())
        return json_reply(list_document(await self._threads.records(self._containers.file_page, container_id, cursor)))

    async def retrieve_file(self, _request: Request, container_id: str, file_id: str) -> Reply:
        """GET /containers/{container_id}/files/{file_id}."""
        file = await self._threads.records(self._containers.file, container_id, file_id)
        return json_reply(file.document())

    async def delete_file(self, _request: Request, container_id: str, file_id: str) -> Reply:
        """DELETE /containers/{container_id}/files/{file_id}."""
        freed = await self._threads.records(self._containers.delete_file, container_id, file_id)
        await self._threads.bytes(self._blobs.remove, freed)
        return json_reply({"id": file_id, "object": "container.file.deleted", "deleted": True})

    async def content(self, request: Request, container_id: str, file_id: str) -> Reply:
        """GET /containers/{container_id}/files/{file_id}/content."""
        file = await self._threads.records(self._containers.file, container_id, file_id)
        content = Content(file.blob_id, file.size_bytes, file.digest, file.filename, file.created_at)
        try:
            return await content_reply(request, content, self._blobs, self._threads)
        except FileNotFoundError:  # deleted since we asked
            raise container_file_not_found(container_id, file_id) from None
