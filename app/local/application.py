"""The embedded provider as a plain ASGI application: credential, path, errors."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from app.domain.errors import ClientGone
from app.local.data_folder import DataFolder
from app.local.errors import ApiError
from app.local.files_api import FileHandlers
from app.local.handlers import ContainerHandlers
from app.local.http import Handler, Receive, Reply, Request, Scope, Send, error_reply
from app.local.intake import Intake
from app.local.threads import Threads
from quaymaster.operations import route

MAX_FILE_BYTES: Final = 512 * 1024 * 1024

_log = logging.getLogger(__name__)


class LocalApp:
    """The containers API over one data folder, for any ASGI server; no lifespan is needed.

    Constructing it blocks for a moment: it opens the folder and puts it in order. Raises as DataFolder. With an
    `api_key` every request must carry it as a bearer token. `clock` gives unix seconds.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        api_key: str | None = None,
        clock: Callable[[], float] = time.time,
        max_file_bytes: int = MAX_FILE_BYTES,
    ) -> None:
        self._folder = DataFolder(data_dir, clock)
        self._threads = Threads()
        self._api_key = None if api_key is None else api_key.encode()
        intake = Intake(self._folder.blobs, self._threads, max_file_bytes=max_file_bytes)
        self._containers = ContainerHandlers(self._folder, self._threads, intake)
        self._files = FileHandlers(self._folder, self._threads, intake)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            raise ValueError(f"the containers API speaks HTTP, not {scope['type']}")
        request = Request(scope, receive)
        request_id = f"req_{secrets.token_hex(16)}"
        try:
            reply = await self._answer(request, request_id)
        except ClientGone:
            return
        await reply.send(request, request_id, send)

    async def aclose(self) -> None:
        """Finish the work under way and let go of the data folder. No request may be in flight or follow."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._threads.close()
        self._folder.close()

    async def _answer(self, request: Request, request_id: str) -> Reply:
        try:
            self._authenticate(request)
            handlers, container_id, file_id = self._route(request)
            handler = handlers.get(request.method)
            if handler is None:
                raise _method_not_allowed(request, handlers)
            return await handler(request, unquote(container_id), unquote(file_id))
        except ApiError as error:
            return error_reply(error)
        except ClientGone:
            raise
        except Exception:
            _log.exception("local provider failed on request %s", request_id)
            return error_reply(
                ApiError(500, f"The server had an error. Its log has it under {request_id}.", kind="server_error")
            )

    def _authenticate(self, request: Request) -> None:
        if self._api_key is None:
            return
        credentials = [value for name, value in request.headers if name == b"authorization"]
        if not credentials:
            raise _unauthorized("You didn't provide an API key. Send it as 'Authorization: Bearer YOUR_KEY'.")
        scheme, _, key = credentials[0].partition(b" ")
        if len(credentials) > 1 or scheme.lower() != b"bearer" or not hmac.compare_digest(key, self._api_key):
            raise _unauthorized("Incorrect API key provided.")

    def _route(self, request: Request) -> tuple[Mapping[str, Handler], str, str]:
        """The handlers at the request's path by method, and the ids in it, undecoded. Raises ApiError (404)."""
        found = route(request.raw_path)
        if found is not None:
            by_operation = self._containers.by_operation
            handlers = {method: by_operation[operation] for method, operation in found.methods.items()}
            return handlers, found.container_id or "", found.file_id or ""
        files = self._files.route(request.raw_path)
        if files is None:
            raise ApiError(404, f"Invalid URL ({request.method} {request.raw_path}).", code="unknown_url")
        return files[0], "", files[1]


def _unauthorized(message: str) -> ApiError:
    return ApiError(401, message, code="invalid_api_key", headers=[(b"www-authenticate", b"Bearer")])


def _method_not_allowed(request: Request, handlers: Mapping[str, Handler]) -> ApiError:
    allow = ", ".join(sorted(handlers))
    return ApiError(
        405,
        f"Not allowed to {request.method} on {request.raw_path}. Allowed: {allow}.",
        code="method_not_allowed",
        headers=[(b"allow", allow.encode())],
    )
