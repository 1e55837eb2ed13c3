"""Containers as the admin routes show them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from app.api.admin.container_models import ContainerView, ReapAnswer, ReapedContainer
from app.domain.containers import Container
from app.domain.ports import ContainerRecord
from app.registry.reap import Harvest, Outcome, Reaped


def view_of(record: ContainerRecord, now: datetime) -> ContainerView:
    """Everything the registry knows of a container."""
    container = record.container
    return ContainerView(
        **_named(container),
        status=container.status_at(now),
        memory_limit=container.memory_limit,
        expires_at=container.expires_at,
        last_seen=container.seen_at,
        ended_at=container.ended_at,
        shares={identity: access.value for identity, access in sorted(record.shares.items())},
        files=record.files,
        bytes=record.bytes,
    )


def _named(container: Container) -> dict[str, Any]:
    """What every view of a container has."""
    return {
        "id": container.container_id,
        "owner": container.owner,
        "key_id": container.key_id,
        "deployment": container.deployment,
        "name": container.name,
        "created_at": container.created_at,
        "last_active_at": container.last_active_at,
    }


def answer_of(harvest: Harvest, *, dry_run: bool) -> ReapAnswer:
    """What a reaping came to."""
    return ReapAnswer(
        dry_run=dry_run,
        matched=len(harvest.reaped),
        deleted=harvest.count(Outcome.DELETED),
        gone=harvest.count(Outcome.GONE),
        kept=harvest.count(Outcome.KEPT),
        failed=harvest.count(Outcome.FAILED),
        has_more=harvest.has_more,
        containers=_reaped(harvest.reaped),
        unlisted=harvest.unlisted,
    )


def _reaped(reaped: Sequence[Reaped]) -> list[ReapedContainer]:
    return [
        ReapedContainer(
            **_named(each.condemned.container),
            reason=each.condemned.reason,
            outcome=each.outcome.value,
            error=each.trouble,
        )
        for each in reaped
    ]
