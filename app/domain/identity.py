"""Who is asking: virtual keys, and the principal that a credential stands for."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from quaymaster.operations import OPERATIONS, Operation, matching

ALL_OPERATIONS: Final = frozenset(OPERATIONS)
MASTER_KEY_ID: Final = "master"


class ContainerScope(StrEnum):
    """Which containers a key sees."""

    OWN = "own"
    """Its owner's, and those shared with it."""
    ALL = "all"
    """Every one in every deployment, also those the registry never heard of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualKey:
    """A virtual key as it is stored. The key itself is `sk-qm-<key_id>-<secret>`; of the secret only SHA-256 is kept.

    A fast hash is right here: the secret has 256 random bits, so there is nothing to guess. `key_id` is public and
    survives regeneration. Times are aware datetimes in UTC. While `previous_expires_at` is in the future the secret
    before the last regeneration works too.
    """

    key_id: str
    secret_hash: bytes
    created_at: datetime
    updated_at: datetime
    alias: str | None = None
    expires_at: datetime | None = None
    blocked: bool = False
    user_id: str | None = None
    team_id: str | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    allowed_operations: tuple[str, ...] = ("*",)
    container_scope: ContainerScope = ContainerScope.OWN
    allowed_deployments: tuple[str, ...] = ()
    """Deployments it may choose by name, "*" for any; one it may not choose may still be chosen for it."""
    previous_secret_hash: bytes | None = None
    previous_expires_at: datetime | None = None

    @property
    def owner(self) -> str:
        """Whose containers this key makes: its team, else its user, else itself. The kind is part of the name."""
        if self.team_id is not None:
            return f"team:{self.team_id}"
        if self.user_id is not None:
            return f"user:{self.user_id}"
        return f"key:{self.key_id}"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking, settled once when a credential is first seen and shared by all its requests."""

    key_id: str
    owner: str
    is_master: bool
    allowed_operations: frozenset[Operation]
    alias: str | None = None
    user_id: str | None = None
    team_id: str | None = None
    tags: tuple[str, ...] = ()
    sees_all: bool = False
    """Whether its container scope is all."""
    identities: tuple[str, ...] = ()
    """Every name that a share can reach it by: its team's, its user's and its own."""
    allowed_deployments: frozenset[str] = frozenset()

    @classmethod
    def of(cls, key: VirtualKey) -> Principal:
        """The principal of a virtual key."""
        return cls(
            key_id=key.key_id,
            owner=key.owner,
            is_master=False,
            allowed_operations=matching(key.allowed_operations),
            alias=key.alias,
            user_id=key.user_id,
            team_id=key.team_id,
            tags=key.tags,
            sees_all=key.container_scope is ContainerScope.ALL,
            identities=tuple(
                f"{kind}:{name}"
                for kind, name in (("team", key.team_id), ("user", key.user_id), ("key", key.key_id))
                if name is not None
            ),
            allowed_deployments=frozenset(key.allowed_deployments),
        )

    def may_choose(self, deployment: str) -> bool:
        """Whether it may name this deployment for a new container."""
        return "*" in self.allowed_deployments or deployment in self.allowed_deployments


MASTER: Final = Principal(
    key_id=MASTER_KEY_ID,
    owner="master",
    is_master=True,
    allowed_operations=ALL_OPERATIONS,
    alias="master",
    sees_all=True,
    allowed_deployments=frozenset({"*"}),
)
