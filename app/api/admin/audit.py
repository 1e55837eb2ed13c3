"""The `/audit` route: what operators did."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from app.api.admin.access import require_admin
from app.api.admin.described import takes_query
from app.api.admin.fields import Text
from app.api.admin.outages import store_answers
from app.api.admin.validation import from_query
from app.domain.stores import AuditLog, AuditRow


class ListAudit(BaseModel):
    """GET /audit/list."""

    model_config = ConfigDict(extra="forbid")

    page: int = Field(1, ge=1, le=1_000_000)
    size: int = Field(50, ge=1, le=1000)
    subject: Text | None = Field(None, description="Only what was done to this: key:…, team:…, user:… or container:…")


class AuditView(BaseModel):
    """One change."""

    number: int = Field(description="Counted from 1 without gaps")
    at: datetime
    actor: str = Field(description="The id of the key that did it; master for the master key, gateway for a schedule")
    action: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    request_id: str | None
    previous_hash: str
    hash: str


class AuditPage(BaseModel):
    """One page of changes, newest first."""

    audit: list[AuditView]
    total_count: int
    current_page: int
    total_pages: int


def audit_routes(log: AuditLog) -> APIRouter:
    """The route that shows the audit log. It needs `request.state.principal`."""
    router = APIRouter(prefix="/audit", tags=["audit"], dependencies=[Depends(require_admin)])

    @router.get("/list", openapi_extra=takes_query(ListAudit), summary="Show what operators changed, newest first")
    async def page(request: Request) -> AuditPage:
        asked = from_query(ListAudit, request.query_params.multi_items())
        with store_answers("The audit log"):
            rows, total = await log.page(offset=(asked.page - 1) * asked.size, limit=asked.size, subject=asked.subject)
        return AuditPage(
            audit=[_view(row) for row in rows],
            total_count=total,
            current_page=asked.page,
            total_pages=-(-total // asked.size),
        )

    return router


def _view(row: AuditRow) -> AuditView:
    return AuditView(
        number=row.number,
        at=row.at,
        actor=row.actor,
        action=row.action,
        subject=row.subject,
        before=None if row.before is None else dict(row.before),
        after=None if row.after is None else dict(row.after),
        request_id=row.request_id,
        previous_hash=row.previous_hash.hex(),
        hash=row.hash.hex(),
    )
