"""Files in a container: create, list, retrieve, delete, download."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.api.declare import declare, elsewhere
from quaymaster.operations import FILES_CONTENT, FILES_CREATE, FILES_DELETE, FILES_LIST, FILES_RETRIEVE

router = APIRouter(tags=["container files"])


@declare(router, FILES_CREATE)
async def create_container_file(request: Request) -> Response:
    """Upload a file (multipart, streamed), or copy one in by `file_id` (JSON)."""
    return await elsewhere(request)


@declare(router, FILES_LIST)
async def list_container_files(request: Request) -> Response:
    """One page of a container's files."""
    return await elsewhere(request)


@declare(router, FILES_RETRIEVE)
async def retrieve_container_file(request: Request) -> Response:
    """What is known of one file."""
    return await elsewhere(request)


@declare(router, FILES_DELETE)
async def delete_container_file(request: Request) -> Response:
    """Delete a file."""
    return await elsewhere(request)


@declare(router, FILES_CONTENT)
async def download_container_file(request: Request) -> Response:
    """A file's bytes, streamed. `Range` and `If-None-Match` are passed on."""
    return await elsewhere(request)
