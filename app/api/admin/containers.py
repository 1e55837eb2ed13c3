"""The `/container` routes: thin, and every refusal a GatewayError."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request

from app.api.admin.access import deed_of, require_admin
from app.api.admin.container_administration import ContainerAdministration
from app.api.admin.container_models import (
    AdoptContainer,
    ContainerPage,
    ContainerView,
    ListContainers,
    NamedContainer,
    ReapAnswer,
    ReapContainers,
    ShareContainer,
    UnshareContainer,
)
from app.api.admin.described import takes_body, takes_query
from app.api.admin.validation import from_json, from_query


def container_routes(containers: ContainerAdministration) -> APIRouter:
    """The routes that show, give away, share and delete containers. Each needs `request.state.principal`."""
    router = APIRouter(prefix="/container", tags=["containers"], dependencies=[Depends(require_admin)])
    _add_views(router, containers)
    _add_changes(router, containers)
    return router


def _add_views(router: APIRouter, containers: ContainerAdministration) -> None:
    @router.get("/list", openapi_extra=takes_query(ListContainers), summary="Show containers, newest first")
    async def page(request: Request) -> ContainerPage:
        return await containers.page(from_query(ListContainers, request.query_params.multi_items()))

    @router.get("/info", openapi_extra=takes_query(NamedContainer), summary="Show a container")
    async def info(request: Request) -> ContainerView:
        return await containers.info(from_query(NamedContainer, request.query_params.multi_items()).container_id)


def _add_changes(router: APIRouter, containers: ContainerAdministration) -> None:
    @router.post("/adopt", openapi_extra=takes_body(AdoptContainer), summary="Give a container to an owner")
    async def adopt(request: Request) -> ContainerView:
        wanted = from_json(AdoptContainer, await request.body())
        return await containers.adopt(wanted, deed_of(request, "container.adopt"))

    @router.post("/share", openapi_extra=takes_body(ShareContainer), summary="Let others use a container too")
    async def share(request: Request) -> ContainerView:
        wanted = from_json(ShareContainer, await request.body())
        return await containers.share(wanted, deed_of(request, "container.share"))

    @router.post("/unshare", openapi_extra=takes_body(UnshareContainer), summary="Let them use it no longer")
    async def unshare(request: Request) -> ContainerView:
        wanted = from_json(UnshareContainer, await request.body())
        return await containers.unshare(wanted, deed_of(request, "container.unshare"))

    @router.post("/reap", openapi_extra=takes_body(ReapContainers), summary="Delete running containers that fit")
    async def reap(request: Request) -> ReapAnswer:
        wanted = from_json(ReapContainers, await request.body())
        return await containers.reap(wanted, deed_of(request, "container.reap"))
