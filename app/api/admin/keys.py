"""The `/key` routes: thin, and every refusal a GatewayError."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request

from app.api.admin.access import deed_of, require_admin
from app.api.admin.administration import KeyAdministration
from app.api.admin.described import takes_body, takes_query
from app.api.admin.litellm import from_litellm
from app.api.admin.models import (
    DeletedKeys,
    DeleteKeys,
    GeneratedKey,
    GenerateKey,
    KeyInfo,
    KeyPage,
    KeyView,
    ListKeys,
    NamedKey,
    RegenerateKey,
    ShowKey,
    UpdateKey,
)
from app.api.admin.validation import checked, from_json, from_query
from app.domain.errors import ErrorCode, GatewayError
from app.domain.identity import Principal


def key_routes(keys: KeyAdministration) -> APIRouter:
    """The routes that make, change, show and remove virtual keys. Each needs `request.state.principal`."""
    router = APIRouter(prefix="/key", tags=["keys"], dependencies=[Depends(require_admin)])
    _add_changes(router, keys)
    _add_regeneration(router, keys)
    _add_views(router, keys)
    return router


def _add_changes(router: APIRouter, keys: KeyAdministration) -> None:
    @router.post("/generate", openapi_extra=takes_body(GenerateKey), summary="Make a key")
    async def generate(request: Request) -> GeneratedKey:
        return await keys.generate(from_litellm(GenerateKey, await request.body()), deed_of(request, "key.generate"))

    @router.post("/update", openapi_extra=takes_body(UpdateKey), summary="Change a key")
    async def update(request: Request) -> KeyView:
        return await keys.update(from_litellm(UpdateKey, await request.body()), deed_of(request, "key.update"))

    @router.post("/block", openapi_extra=takes_body(NamedKey), summary="Refuse a key from now on")
    async def block(request: Request) -> KeyView:
        named = from_json(NamedKey, await request.body())
        return await keys.set_blocked(named.key, True, deed_of(request, "key.block"))

    @router.post("/unblock", openapi_extra=takes_body(NamedKey), summary="Take a blocked key again")
    async def unblock(request: Request) -> KeyView:
        named = from_json(NamedKey, await request.body())
        return await keys.set_blocked(named.key, False, deed_of(request, "key.unblock"))

    @router.post("/delete", openapi_extra=takes_body(DeleteKeys), summary="Remove keys")
    async def delete(request: Request) -> DeletedKeys:
        return await keys.delete(from_json(DeleteKeys, await request.body()), deed_of(request, "key.delete"))


def _add_regeneration(router: APIRouter, keys: KeyAdministration) -> None:
    @router.post("/regenerate", openapi_extra=takes_body(RegenerateKey), summary="Give a key a new secret")
    async def regenerate(request: Request) -> GeneratedKey:
        wanted = from_litellm(RegenerateKey, await request.body())
        if wanted.key is None:
            raise GatewayError(ErrorCode.MISSING_REQUIRED_PARAMETER, "Missing required parameter: 'key'.", param="key")
        return await keys.regenerate(wanted.key, wanted, deed_of(request, "key.regenerate"))

    in_path = [{"name": "key", "in": "path", "required": True, "schema": {"type": "string"}}]

    @router.post(
        "/{key}/regenerate",
        openapi_extra=takes_body(RegenerateKey, parameters=in_path),
        summary="Give the named key a new secret",
    )
    async def regenerate_named(request: Request) -> GeneratedKey:
        wanted = from_litellm(RegenerateKey, await request.body())
        named = checked(NamedKey, {"key": request.path_params["key"]}).key
        if wanted.key not in {None, named}:
            raise GatewayError(ErrorCode.INVALID_VALUE, "The path and the body name different keys.", param="key")
        return await keys.regenerate(named, wanted, deed_of(request, "key.regenerate"))


def _add_views(router: APIRouter, keys: KeyAdministration) -> None:
    @router.get("/info", openapi_extra=takes_query(ShowKey), summary="Show a key")
    async def info(request: Request) -> KeyInfo:
        name = from_query(ShowKey, request.query_params.multi_items()).key
        principal: Principal = request.state.principal
        if name is None and principal.is_master:
            raise GatewayError(ErrorCode.MISSING_REQUIRED_PARAMETER, "Missing required parameter: 'key'.", param="key")
        return await keys.info(name or principal.key_id)

    @router.get("/list", openapi_extra=takes_query(ListKeys), summary="Show keys, newest first")
    async def page(request: Request) -> KeyPage:
        return await keys.page(from_query(ListKeys, request.query_params.multi_items()))
