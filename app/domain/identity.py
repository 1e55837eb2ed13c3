"""Who is asking: virtual keys, and the principal that a credential stands for."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from app.domain.accounts import NO_LIMITS, Account, AccountKind, Limits
from app.domain.addresses import Network, parse_network
from app.domain.limiting import NOT_LIMITED, Allowance
from quaymaster.operations import OPERATIONS, Operation, matching

ALL_OPERATIONS: Final = frozenset(OPERATIONS)
MASTER_KEY_ID: Final = "master"


class ContainerScope(StrEnum):
    """Which containers a key sees."""

    OWN = "own"
    """Its owner's, and those shared with it."""
    ALL = "all"
    """Every one in every deployment, also those the registry never heard of."""


class Role(StrEnum):
    """What a key is for."""

    MEMBER = "member"
    """Containers."""
    VIEWER = "viewer"
    """Looking: whatever a GET does, in containers and in the admin routes."""
    ADMIN = "admin"
    """Containers, and every admin route."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """Keys that own their containers, and spend, together. A team need not be made before a key names it."""

    team_id: str
    created_at: datetime
    updated_at: datetime
    alias: str | None = None
    blocked: bool = False
    tags: tuple[str, ...] = ()
    """Those of its keys' reports, beside their own."""
    metadata: dict[str, Any] = field(default_factory=dict)
    limits: Limits = NO_LIMITS


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person or program that has keys. It need not be made before a key names it."""

    user_id: str
    created_at: datetime
    updated_at: datetime
    alias: str | None = None
    email: str | None = None
    blocked: bool = False
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    limits: Limits = NO_LIMITS


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
    role: Role = Role.MEMBER
    allowed_ips: tuple[str, ...] = ()
    """Networks in CIDR notation that it may be used from; none means from everywhere."""
    limits: Limits = NO_LIMITS

    @property
    def owner(self) -> str:
        """Whose containers this key makes: its team, else its user, else itself. The kind is part of the name."""
        if self.team_id is not None:
            return f"team:{self.team_id}"
        if self.user_id is not None:
            return f"user:{self.user_id}"
        return f"key:{self.key_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A key with what is known of its user and its team: read from the store as one."""

    key: VirtualKey
    user: User | None = None
    team: Team | None = None

    @property
    def is_blocked(self) -> bool:
        """Whether an operator blocked it, its user or its team."""
        return (
            self.key.blocked or (self.user is not None and self.user.blocked) or bool(self.team and self.team.blocked)
        )

    @property
    def accounts(self) -> tuple[Account, ...]:
        """The accounts that it is counted in, key first."""
        key, user, team = self.key, self.user, self.team
        found = [Account(kind=AccountKind.KEY, id=key.key_id, limits=key.limits, alias=key.alias)]
        if key.user_id is not None:
            limits, alias = (NO_LIMITS, None) if user is None else (user.limits, user.alias)
            found.append(Account(kind=AccountKind.USER, id=key.user_id, limits=limits, alias=alias))
        if key.team_id is not None:
            limits, alias = (NO_LIMITS, None) if team is None else (team.limits, team.alias)
            found.append(Account(kind=AccountKind.TEAM, id=key.team_id, limits=limits, alias=alias))
        return tuple(found)

    @property
    def tags(self) -> tuple[str, ...]:
        """The key's, then those of its user and team that it does not have itself."""
        others = (*(self.user.tags if self.user else ()), *(self.team.tags if self.team else ()))
        return tuple(dict.fromkeys((*self.key.tags, *others)))


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
    role: Role = Role.MEMBER
    allowed_networks: tuple[Network, ...] = ()
    accounts: tuple[Account, ...] = ()
    """Who is counted for what it does: the key, its user, its team."""
    allowance: Allowance = NOT_LIMITED
    """What those accounts may, as far as requests and bytes go."""

    @classmethod
    def of(cls, holder: Holder) -> Principal:
        """The principal of a virtual key."""
        key = holder.key
        operations = matching(key.allowed_operations)
        if key.role is Role.VIEWER:
            operations = frozenset(operation for operation in operations if operation.method == "GET")
        return cls(
            key_id=key.key_id,
            owner=key.owner,
            is_master=False,
            allowed_operations=operations,
            alias=key.alias,
            user_id=key.user_id,
            team_id=key.team_id,
            tags=holder.tags,
            sees_all=key.container_scope is ContainerScope.ALL,
            identities=tuple(
                f"{kind}:{name}"
                for kind, name in (("team", key.team_id), ("user", key.user_id), ("key", key.key_id))
                if name is not None
            ),
            allowed_deployments=frozenset(key.allowed_deployments),
            role=key.role,
            allowed_networks=tuple(parse_network(network) for network in key.allowed_ips),
            accounts=holder.accounts,
            allowance=Allowance.of(holder.accounts),
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
    role=Role.ADMIN,
    accounts=(Account(kind=AccountKind.KEY, id=MASTER_KEY_ID, alias="master"),),
)
