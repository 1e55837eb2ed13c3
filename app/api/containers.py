"""Containers: create, list, retrieve, delete."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.api.declare import declare, elsewhere
from quaymaster.operations import CONTAINERS_CREATE, CONTAINERS_DELETE, CONTAINERS_LIST, CONTAINERS_RETRIEVE

router = APIRouter(tags=["containers"])


@declare(router, CONTAINERS_CREATE)
async def create_container(request: Request) -> Response:
    """Make a container. Fields the gateway does not know go upstream untouched."""
    return await elsewhere(request)


@declare(router, CONTAINERS_LIST)
async def list_containers(request: Request) -> Response:
    """One page of containers, newest first unless `order` says otherwise."""
    return await elsewhere(request)


@declare(router, CONTAINERS_RETRIEVE)
async def retrieve_container(request: Request) -> Response:
    """One container. Retrieving it counts as activity, which puts off its expiry."""
    return await elsewhere(request)


@declare(router, CONTAINERS_DELETE)
async def delete_container(request: Request) -> Response:
    """Delete a container and everything in it."""
    return await elsewhere(request)
