"""/v1/files: just enough of OpenAI's files API to have something to copy into a container."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from app.local.content import Content, content_reply
from app.local.data_folder import DataFolder
from app.local.errors import file_not_found, missing, unsupported
from app.local.http import Handler, Reply, Request, json_reply
from app.local.intake import Intake
from app.local.paging import list_document, read_cursor
from app.local.threads import Threads
from quaymaster.operations import BASE_PATH

PURPOSES: Final = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
MAX_PAGE_ITEMS: Final = 10_000


class FileHandlers:
    """The operations on /files, as an HTTP request asks for them."""

    def __init__(self, folder: DataFolder, threads: Threads, intake: Intake) -> None:
        self._blobs = folder.blobs
        self._files = folder.files
        self._threads = threads
        self._intake = intake

    def route(self, raw_path: str) -> tuple[Mapping[str, Handler], str] | None:
        """The handlers at an undecoded path by method, and the file id in it, undecoded; None where it is not ours."""
        match raw_path.removeprefix(BASE_PATH).removesuffix("/").split("/"):
            case ["", "files"]:
                return {"POST": self.create, "GET": self.page}, ""
            case ["", "files", file_id] if file_id:
                return {"GET": self.retrieve, "DELETE": self.delete}, file_id
            case ["", "files", file_id, "content"] if file_id:
                return {"GET": self.content}, file_id
        return None

    async def create(self, request: Request, _container_id: str, _file_id: str) -> Reply:
        """POST /files."""
        async with self._intake.receive(request) as upload:
            purpose = upload.fields.get("purpose")
            if upload.filename is None:
                raise missing("file")
            if purpose is None:
                raise missing("purpose")
            if purpose not in PURPOSES:
                raise unsupported("purpose", purpose, PURPOSES)
            file = await self._threads.records(
                upload.commit, lambda blob, filename: self._files.add(blob, filename=filename, purpose=purpose)
            )
        return json_reply(file.document())

    async def page(self, request: Request, _container_id: str, _file_id: str) -> Reply:
        """GET /files."""
        query = request.query()
        cursor = read_cursor(query, max_items=MAX_PAGE_ITEMS, default_items=MAX_PAGE_ITEMS)
        page = await self._threads.records(self._files.page, cursor, query.get("purpose"))
        return json_reply(list_document(page))

    async def retrieve(self, _request: Request, _container_id: str, file_id: str) -> Reply:
        """GET /files/{file_id}."""
        file = await self._threads.records(self._files.get, file_id)
        return json_reply(file.document())

    async def delete(self, _request: Request, _container_id: str, file_id: str) -> Reply:
        """DELETE /files/{file_id}; copies of it in containers stay."""
        freed = await self._threads.records(self._files.delete, file_id)
        await self._threads.bytes(self._blobs.remove, freed)
        return json_reply({"id": file_id, "object": "file", "deleted": True})

    async def content(self, request: Request, _container_id: str, file_id: str) -> Reply:
        """GET /files/{file_id}/content."""
        file = await self._threads.records(self._files.get, file_id)
        content = Content(file.blob_id, file.size_bytes, file.digest, file.filename, file.created_at)
        try:
            return await content_reply(request, content, self._blobs, self._threads)
        except FileNotFoundError:  # deleted since we asked
            raise file_not_found(file_id) from None
