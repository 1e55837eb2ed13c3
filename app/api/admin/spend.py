"""The `/spend` routes: thin, and every refusal a GatewayError."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from app.api.admin.access import require_admin
from app.api.admin.described import takes_query
from app.api.admin.spend_administration import SpendAdministration, by_name
from app.api.admin.spend_models import EntryPage, ListSpend, Report, ReportSpend
from app.api.admin.validation import from_query
from app.domain.reports import Grouping


def spend_routes(spend: SpendAdministration) -> APIRouter:
    """The routes that show what was spent. Each needs `request.state.principal`."""
    router = APIRouter(tags=["spend"], dependencies=[Depends(require_admin)])
    _add_reports(router, spend)
    _add_summaries(router, spend)
    return router


def _add_reports(router: APIRouter, spend: SpendAdministration) -> None:
    @router.get("/spend/logs", openapi_extra=takes_query(ListSpend), summary="Show the ledger, newest first")
    async def logs(request: Request) -> EntryPage:
        return await spend.entries(from_query(ListSpend, request.query_params.multi_items()))

    @router.get("/spend/report", openapi_extra=takes_query(ReportSpend), summary="Show what was spent, in groups")
    @router.get("/global/spend/report", include_in_schema=False)
    async def report(request: Request) -> Response:
        wanted = from_query(ReportSpend, request.query_params.multi_items())
        if wanted.format == "csv":
            text, has_more = await spend.csv(wanted)
            headers = {
                "content-disposition": 'attachment; filename="spend.csv"',
                "x-quaymaster-has-more": "true" if has_more else "false",
            }
            return Response(text, media_type="text/csv; charset=utf-8", headers=headers)
        return Response((await spend.report(wanted)).model_dump_json(), media_type="application/json")


def _add_summaries(router: APIRouter, spend: SpendAdministration) -> None:
    async def summary(request: Request, grouping: Grouping) -> Report:
        asked = request.query_params.multi_items()
        wanted = from_query(ReportSpend, [*asked, ("group_by", grouping.value)])
        return await spend.report(wanted)

    @router.get("/spend/keys", summary="Show what each key has spent, the dearest first")
    async def keys(request: Request) -> list[dict[str, Any]]:
        return by_name(await summary(request, Grouping.KEY), "key", "api_key")

    @router.get("/spend/users", summary="Show what each user has spent, the dearest first")
    async def users(request: Request) -> list[dict[str, Any]]:
        return by_name(await summary(request, Grouping.USER), "user", "user_id")

    @router.get("/spend/tags", summary="Show what was spent for each tag, the dearest first")
    async def tags(request: Request) -> list[dict[str, Any]]:
        return by_name(await summary(request, Grouping.TAG), "tag", "individual_request_tag", "total_spend")
