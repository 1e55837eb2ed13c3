"""What the key routes take and give. The names are those that LiteLLM made common."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.api.admin.fields import Duration, KeyAlias, KeyName, Metadata, Pattern, Tags, Text, Wish
from app.api.admin.limit_models import LimitFields, Standing
from app.domain.addresses import parse_network

Network = Annotated[Text, AfterValidator(lambda text: str(parse_network(text)))]


class KeyFields(LimitFields):
    """What can be set on a key. A field that is absent stays as it is; null brings the default back."""

    key_alias: KeyAlias | None = Field(None, description="A unique name")
    duration: Duration | None = Field(None, description="How long the key works from now on; null for ever")
    metadata: Metadata | None = Field(None, description="Whatever you want to remember about the key")
    tags: Tags | None = Field(None, description="For reports")
    allowed_operations: Annotated[list[Pattern], Field(max_length=100)] | None = Field(
        None, description="Operations or patterns, such as containers.files.*; null for all"
    )
    container_scope: Literal["own", "all"] | None = Field(
        None, description="Which containers it sees: its owner's and shared ones, or all; null for own"
    )
    allowed_deployments: Annotated[list[Text], Field(max_length=100)] | None = Field(
        None, description="Deployments it may choose with x-quaymaster-deployment, * for any; null for none"
    )
    user_id: Text | None = Field(None, description="Whose key it is; its containers belong to the user")
    team_id: Text | None = Field(None, description="The team that its containers belong to")
    blocked: bool | None = Field(None, description="Whether the key is refused; null leaves it as it is")
    role: Literal["member", "viewer", "admin"] | None = Field(
        None, description="member: containers. viewer: GETs, of admin routes too. admin: everything. null for member"
    )
    allowed_ips: Annotated[list[Network], Field(max_length=1000)] | None = Field(
        None, description="Addresses and networks it may be used from; null for everywhere"
    )


class GenerateKey(KeyFields):
    """POST /key/generate."""


class UpdateKey(KeyFields):
    """POST /key/update."""

    key: KeyName


class RegenerateKey(KeyFields):
    """POST /key/regenerate and /key/{key}/regenerate."""

    key: KeyName | None = None
    grace_period: Duration | None = Field(None, description="How long the secret until now goes on working")


class NamedKey(Wish):
    """POST /key/block and /key/unblock."""

    key: KeyName


class ShowKey(Wish):
    """GET /key/info."""

    key: KeyName | None = Field(None, description="The key, its id or its alias; absent, the key that asks")


class DeleteKeys(Wish):
    """POST /key/delete: by name, by alias, or both. Either all are deleted or none."""

    keys: list[KeyName] = Field([], max_length=100)
    key_aliases: list[Text] = Field([], max_length=100)


class ListKeys(BaseModel):
    """GET /key/list."""

    model_config = ConfigDict(extra="forbid")

    page: int = Field(1, ge=1, le=1_000_000)
    size: int = Field(10, ge=1, le=100)
    user_id: Text | None = None
    team_id: Text | None = None
    key_alias: Text | None = None
    return_full_object: bool = Field(True, description="LiteLLM's; keys are always shown whole")


class _KeyCard(BaseModel):
    """Which key it is, whose, and what it may do: the fields that come first in answers."""

    key_id: str
    key_name: str = Field(description="The key with its secret left out")
    key_alias: str | None
    expires: datetime | None
    created_at: datetime
    updated_at: datetime
    blocked: bool
    user_id: str | None
    team_id: str | None
    tags: list[str]
    metadata: dict[str, Any]
    allowed_operations: list[str]
    container_scope: Literal["own", "all"]
    allowed_deployments: list[str]
    role: Literal["member", "viewer", "admin"]
    allowed_ips: list[str]
    previous_expires: datetime | None = Field(description="Until when the secret before the last one works too")


class KeyView(Standing, _KeyCard):
    """A key without its secret, and how it stands."""


class _Secret(BaseModel):
    key: str


class GeneratedKey(KeyView, _Secret):
    """A new key, or a key's new secret: the only time it is shown."""


class KeyInfo(BaseModel):
    """A key id and what is known of the key."""

    key: str
    info: KeyView


class KeyPage(BaseModel):
    """One page of keys, newest first."""

    keys: list[KeyView]
    total_count: int
    current_page: int
    total_pages: int


class DeletedKeys(BaseModel):
    """The ids of the keys that are no more."""

    deleted_keys: list[str]
