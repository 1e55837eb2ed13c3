"""What the container routes take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.api.admin.fields import Duration, KeyName, Text, Wish
from app.registry.reap import LIMIT

OWNER_FORMS = "team:…, user:…, key:… or master"


def _owner(text: str) -> str:
    kind, colon, name = text.partition(":")
    if text != "master" and not (colon and name and kind in {"team", "user", "key"}):
        raise ValueError(f"an owner is {OWNER_FORMS}")
    return text


OwnerName = Annotated[Text, AfterValidator(_owner), Field(description=f"An owner: {OWNER_FORMS}")]


class ListContainers(BaseModel):
    """GET /container/list."""

    model_config = ConfigDict(extra="forbid")

    page: int = Field(1, ge=1, le=1_000_000)
    size: int = Field(10, ge=1, le=100)
    owner: OwnerName | None = None
    unowned: bool = Field(False, description="Only those that are nobody's")
    deployment: Text | None = None
    status: Text | None = Field(None, description="Such as running, expired, deleted or gone")
    key: KeyName | None = Field(None, description="Made by this key: the key, its id or its alias")


class NamedContainer(Wish):
    """GET /container/info."""

    container_id: Text


class Party(Wish):
    """A container and whom it is about: exactly one of a team, a user and a key."""

    container_id: Text
    team_id: Text | None = None
    user_id: Text | None = None
    key: KeyName | None = None


class AdoptContainer(Party):
    """POST /container/adopt."""

    deployment: Text | None = Field(None, description="Where it lives; null looks in every deployment's list")


class UnshareContainer(Party):
    """POST /container/unshare."""


class ShareContainer(Party):
    """POST /container/share."""

    access: Literal["read", "write"] = "read"


class ReapContainers(Wish):
    """POST /container/reap: which running containers are deleted. Each has to fit everything that is given."""

    dry_run: bool = Field(True, description="Only say which; nothing is deleted until this is false")
    owner: OwnerName | None = None
    team_id: Text | None = Field(None, description="Short for the owner team:…")
    user_id: Text | None = Field(None, description="Short for the owner user:…")
    key: KeyName | None = Field(None, description="Made by this key, whoever owns them")
    revoked_keys: bool = Field(False, description="Made by a key that is deleted, blocked or expired")
    older_than: Duration | None = Field(None, description="Made longer ago")
    idle_for: Duration | None = Field(None, description="Not used for longer")
    unknown: bool = Field(False, description="Running at a deployment, and the registry never heard of it")
    deployment: Text | None = Field(None, description="Only there; by itself no criterion")
    limit: Annotated[int, Field(ge=1, le=LIMIT)] = LIMIT


class ContainerView(BaseModel):
    """Everything the registry knows of a container."""

    id: str
    owner: str | None = Field(description=f"{OWNER_FORMS}; null is nobody's")
    key_id: str | None = Field(description="The key that made it; null where it was adopted")
    deployment: str
    name: str
    status: str
    memory_limit: str | None
    created_at: datetime
    last_active_at: datetime | None
    expires_at: datetime | None
    last_seen: datetime = Field(description="When its upstream last spoke of it")
    ended_at: datetime | None
    shares: dict[str, Literal["read", "write"]]
    files: int = Field(description="As far as they were seen")
    bytes: int = Field(description="Their sizes together, where the upstream said them")


class ContainerPage(BaseModel):
    """One page of containers, newest first."""

    containers: list[ContainerView]
    total_count: int
    current_page: int
    total_pages: int


class ReapedContainer(BaseModel):
    """A container that fitted, and what became of it."""

    id: str
    owner: str | None
    key_id: str | None
    deployment: str
    name: str
    created_at: datetime
    last_active_at: datetime | None
    reason: str = Field(description="How it fitted")
    outcome: Literal["would_delete", "deleted", "gone", "kept", "failed"]
    error: str | None


class ReapAnswer(BaseModel):
    """What was deleted, or would be."""

    dry_run: bool
    matched: int = Field(description="How many containers follow")
    deleted: int
    gone: int = Field(description="Their upstream did not know them any more")
    kept: int = Field(description="They changed meanwhile: used, adopted, or deleted by somebody else")
    failed: int
    has_more: bool = Field(description="Whether more fit than `limit`")
    containers: list[ReapedContainer]
    unlisted: dict[str, str] = Field(description="Deployments whose list did not answer, and why")
