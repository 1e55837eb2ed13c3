"""How the nine operations are declared to FastAPI, which describes them at /docs. `data_plane` serves them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from quaymaster.operations import Operation, Payload

Endpoint = Callable[[Request], Awaitable[Response]]


async def elsewhere(request: Request) -> Response:
    """What every operation's endpoint does.

    The data plane takes operations ahead of FastAPI's routing, which goes by the decoded path: what comes here
    (`/%63ontainers`) is no path of the API.
    """
    raise HTTPException(404)


def declare(router: APIRouter, operation: Operation) -> Callable[[Endpoint], Endpoint]:
    """Declare an endpoint as an operation of the table."""

    def register(endpoint: Endpoint) -> Endpoint:
        router.add_api_route(
            operation.path,
            endpoint,
            methods=[operation.method],
            summary=operation.summary,
            operation_id=operation.name,
            response_class=Response,
            openapi_extra=described(operation),
        )
        return endpoint

    return register


def described(operation: Operation) -> dict[str, Any]:
    """What OpenAPI says of an operation's parameters and body."""
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in ("container_id", "file_id")
        if "{" + name + "}" in operation.path
    ]
    parameters += [
        {
            "name": name,
            "in": place,
            "schema": {"type": "string"},
            "description": "Which provider; stripped before forwarding.",
        }
        for name, place in (("custom-llm-provider", "header"), ("custom_llm_provider", "query"))
    ]
    if operation.response in (Payload.CONTAINER_LIST, Payload.FILE_LIST):
        parameters += [
            {
                "name": "limit",
                "in": "query",
                "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
            },
            {"name": "order", "in": "query", "schema": {"type": "string", "enum": ["asc", "desc"], "default": "desc"}},
            {"name": "after", "in": "query", "schema": {"type": "string"}},
        ]
    extra: dict[str, Any] = {"parameters": parameters}
    if operation.request is Payload.JSON:
        extra["requestBody"] = {"required": True, "content": {"application/json": {"schema": _CONTAINER_SCHEMA}}}
    if operation.request is Payload.UPLOAD:
        extra["requestBody"] = {"required": True, "content": _UPLOAD_CONTENT}
    return extra


_CONTAINER_SCHEMA = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": True,
    "properties": {
        "name": {"type": "string"},
        "expires_after": {
            "type": "object",
            "properties": {"anchor": {"const": "last_active_at"}, "minutes": {"type": "integer"}},
        },
        "file_ids": {"type": "array", "items": {"type": "string"}},
        "memory_limit": {"type": "string", "enum": ["1g", "4g", "16g", "64g"]},
        "network_policy": {"type": "object"},
        "skills": {"type": "array", "items": {"type": "object"}},
        "custom_llm_provider": {"type": "string"},
    },
}
_UPLOAD_CONTENT = {
    "multipart/form-data": {
        "schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}
    },
    "application/json": {"schema": {"type": "object", "properties": {"file_id": {"type": "string"}}}},
}
