"""Keys as the admin routes take and show them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from app.api.admin.limit_models import limits_with, standing_of
from app.api.admin.models import KeyFields, KeyView
from app.domain.identity import ContainerScope, Role, VirtualKey
from app.domain.keys import masked
from app.domain.spending import Balance


def key_with(key: VirtualKey, wanted: KeyFields, now: datetime) -> VirtualKey:
    """The key with the given fields set; a null brings a field's default back."""
    values: dict[str, Any] = {
        "key_alias": ("alias", wanted.key_alias),
        "duration": ("expires_at", now + wanted.duration if wanted.duration else None),
        "metadata": ("metadata", wanted.metadata or {}),
        "tags": ("tags", tuple(wanted.tags or ())),
        "allowed_operations": (
            "allowed_operations",
            ("*",) if wanted.allowed_operations is None else tuple(wanted.allowed_operations),
        ),
        "container_scope": ("container_scope", ContainerScope(wanted.container_scope or ContainerScope.OWN)),
        "allowed_deployments": ("allowed_deployments", tuple(wanted.allowed_deployments or ())),
        "user_id": ("user_id", wanted.user_id),
        "team_id": ("team_id", wanted.team_id),
        "blocked": ("blocked", key.blocked if wanted.blocked is None else wanted.blocked),
        "role": ("role", Role(wanted.role or Role.MEMBER)),
        "allowed_ips": ("allowed_ips", tuple(wanted.allowed_ips or ())),
    }
    given = [values[name] for name in values if name in wanted.model_fields_set]
    return replace(key, updated_at=now, limits=limits_with(key.limits, wanted), **dict(given))


def fields_of(key: VirtualKey, balance: Balance, now: datetime) -> dict[str, Any]:
    """What every view of a key has."""
    grace = key.previous_expires_at
    return {
        "key_id": key.key_id,
        "key_name": masked(key.key_id),
        "key_alias": key.alias,
        "expires": key.expires_at,
        "created_at": key.created_at,
        "updated_at": key.updated_at,
        "blocked": key.blocked,
        "user_id": key.user_id,
        "team_id": key.team_id,
        "tags": list(key.tags),
        "metadata": key.metadata,
        "allowed_operations": list(key.allowed_operations),
        "container_scope": key.container_scope.value,
        "allowed_deployments": list(key.allowed_deployments),
        "role": key.role.value,
        "allowed_ips": list(key.allowed_ips),
        "previous_expires": grace if grace is not None and grace > now else None,
        **standing_of(key.limits, balance),
    }


def view_of(key: VirtualKey, balance: Balance, now: datetime) -> KeyView:
    """A key without its secret."""
    return KeyView(**fields_of(key, balance, now))
