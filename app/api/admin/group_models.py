"""What the team and user routes take and give. The names are those that LiteLLM made common."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.api.admin.fields import Duration, KeyAlias, Metadata, Tags, Text, Wish
from app.api.admin.limit_models import LimitFields, Standing
from app.api.admin.models import KeyView


class GroupFields(LimitFields):
    """What can be set on a team and a user. A field that is absent stays as it is; null brings the default back."""

    metadata: Metadata | None = Field(None, description="Whatever you want to remember about it")
    tags: Tags | None = Field(None, description="For the reports of all its keys")
    blocked: bool | None = Field(None, description="Whether all its keys are refused; null leaves it as it is")


class TeamFields(GroupFields):
    """What can be set on a team."""

    team_alias: Text | None = Field(None, description="A unique name")


class NewTeam(TeamFields):
    """POST /team/new."""

    team_id: Text | None = Field(None, description="What keys name it by; made up where absent")


class UpdateTeam(TeamFields):
    """POST /team/update."""

    team_id: Text


class NamedTeam(Wish):
    """POST /team/block and /team/unblock; GET /team/info."""

    team_id: Text


class DeleteTeams(Wish):
    """POST /team/delete. Either all are deleted or none, each with its keys."""

    team_ids: list[Text] = Field(min_length=1, max_length=100)


class UserFields(GroupFields):
    """What can be set on a user."""

    user_alias: Text | None = Field(None, description="A unique name")
    user_email: Text | None = None


class NewUser(UserFields):
    """POST /user/new."""

    user_id: Text | None = Field(None, description="What keys name the user by; made up where absent")
    auto_create_key: bool = Field(True, description="Whether a key is made for the user, too")
    key_alias: KeyAlias | None = Field(None, description="The key's")
    duration: Duration | None = Field(None, description="How long the key works")
    team_id: Text | None = Field(None, description="The key's team")


class UpdateUser(UserFields):
    """POST /user/update."""

    user_id: Text


class NamedUser(Wish):
    """POST /user/block and /user/unblock; GET /user/info."""

    user_id: Text


class DeleteUsers(Wish):
    """POST /user/delete. Either all are deleted or none, each with their keys."""

    user_ids: list[Text] = Field(min_length=1, max_length=100)


class _Page(BaseModel):
    model_config = ConfigDict(extra="forbid")

    page: int = Field(1, ge=1, le=1_000_000)


class ListTeams(_Page):
    """GET /team/list and /v2/team/list."""

    page_size: int = Field(100, ge=1, le=1000)
    team_alias: Text | None = None


class ListUsers(_Page):
    """GET /user/list."""

    page_size: int = Field(25, ge=1, le=1000)
    user_alias: Text | None = None


class _GroupCard(BaseModel):
    created_at: datetime
    updated_at: datetime
    blocked: bool
    tags: list[str]
    metadata: dict[str, Any]


class _TeamName(BaseModel):
    team_id: str
    team_alias: str | None


class TeamView(Standing, _GroupCard, _TeamName):
    """A team and how it stands. Fields of the last base come first in answers."""


class ChangedTeam(BaseModel):
    """A team as it is now."""

    team_id: str
    data: TeamView


class TeamInfo(BaseModel):
    """A team and its keys, the newest hundred."""

    team_id: str
    team_info: TeamView
    keys: list[KeyView]
    key_count: int


class TeamPage(BaseModel):
    """One page of teams, newest first."""

    teams: list[TeamView]
    total: int
    page: int
    page_size: int
    total_pages: int


class DeletedTeams(BaseModel):
    """The ids of the teams that are no more."""

    deleted_teams: list[str]


class _UserName(BaseModel):
    user_id: str
    user_alias: str | None
    user_email: str | None


class UserView(Standing, _GroupCard, _UserName):
    """A user and how they stand. Fields of the last base come first in answers."""


class MadeUser(UserView):
    """A new user, and the key that was made for them: the only time it is shown."""

    key: str | None
    key_id: str | None
    expires: datetime | None


class ChangedUser(BaseModel):
    """A user as they are now."""

    user_id: str
    data: UserView


class UserInfo(BaseModel):
    """A user, their keys, the newest hundred, and the teams of these."""

    user_id: str
    user_info: UserView
    keys: list[KeyView]
    key_count: int
    teams: list[str]


class UserPage(BaseModel):
    """One page of users, newest first."""

    users: list[UserView]
    total: int
    page: int
    page_size: int
    total_pages: int


class DeletedUsers(BaseModel):
    """The ids of the users that are no more."""

    deleted_users: list[str]
