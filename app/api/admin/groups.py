"""The `/team` and `/user` routes: thin, and every refusal a GatewayError."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request

from app.api.admin.access import deed_of, require_admin
from app.api.admin.administration import KeyAdministration
from app.api.admin.described import takes_body, takes_query
from app.api.admin.group_administration import GroupAdministration
from app.api.admin.group_models import (
    ChangedTeam,
    ChangedUser,
    DeletedTeams,
    DeletedUsers,
    DeleteTeams,
    DeleteUsers,
    ListTeams,
    ListUsers,
    MadeUser,
    NamedTeam,
    NamedUser,
    NewTeam,
    NewUser,
    TeamInfo,
    TeamPage,
    TeamView,
    UpdateTeam,
    UpdateUser,
    UserInfo,
    UserPage,
    UserView,
)
from app.api.admin.litellm import from_litellm
from app.api.admin.models import GenerateKey, ListKeys
from app.api.admin.validation import from_json, from_query
from app.domain.identity import Team, User

_KEYS_SHOWN = 100


def team_routes(teams: GroupAdministration[Team], keys: KeyAdministration) -> APIRouter:
    """The routes that make, change, show and remove teams. Each needs `request.state.principal`."""
    router = APIRouter(tags=["teams"], dependencies=[Depends(require_admin)])
    _add_team_changes(router, teams)
    _add_team_views(router, teams, keys)
    return router


def _add_team_changes(router: APIRouter, teams: GroupAdministration[Team]) -> None:
    @router.post("/team/new", openapi_extra=takes_body(NewTeam), summary="Make a team")
    async def new(request: Request) -> TeamView:
        wanted = from_litellm(NewTeam, await request.body())
        return TeamView(**await teams.create(wanted.team_id, wanted, deed_of(request, "team.new")))

    @router.post("/team/update", openapi_extra=takes_body(UpdateTeam), summary="Change a team")
    async def update(request: Request) -> ChangedTeam:
        wanted = from_litellm(UpdateTeam, await request.body())
        view = TeamView(**await teams.update(wanted.team_id, wanted, deed_of(request, "team.update")))
        return ChangedTeam(team_id=view.team_id, data=view)

    @router.post("/team/block", openapi_extra=takes_body(NamedTeam), summary="Refuse a team's keys from now on")
    async def block(request: Request) -> TeamView:
        named = from_json(NamedTeam, await request.body())
        return TeamView(**await teams.set_blocked(named.team_id, True, deed_of(request, "team.block")))

    @router.post("/team/unblock", openapi_extra=takes_body(NamedTeam), summary="Take a blocked team's keys again")
    async def unblock(request: Request) -> TeamView:
        named = from_json(NamedTeam, await request.body())
        return TeamView(**await teams.set_blocked(named.team_id, False, deed_of(request, "team.unblock")))

    @router.post("/team/delete", openapi_extra=takes_body(DeleteTeams), summary="Remove teams and their keys")
    async def delete(request: Request) -> DeletedTeams:
        wanted = from_json(DeleteTeams, await request.body())
        return DeletedTeams(deleted_teams=await teams.delete(wanted.team_ids, deed_of(request, "team.delete")))


def _add_team_views(router: APIRouter, teams: GroupAdministration[Team], keys: KeyAdministration) -> None:
    @router.get("/team/info", openapi_extra=takes_query(NamedTeam), summary="Show a team and its keys")
    async def info(request: Request) -> TeamInfo:
        team_id = from_query(NamedTeam, request.query_params.multi_items()).team_id
        view = TeamView(**await teams.info(team_id))
        page = await keys.page(ListKeys(team_id=team_id, size=_KEYS_SHOWN))
        return TeamInfo(team_id=team_id, team_info=view, keys=page.keys, key_count=page.total_count)

    async def page_of(request: Request) -> TeamPage:
        asked = from_query(ListTeams, request.query_params.multi_items())
        found, total = await teams.page(asked.page, asked.page_size, asked.team_alias)
        return TeamPage(
            teams=[TeamView(**each) for each in found],
            total=total,
            page=asked.page,
            page_size=asked.page_size,
            total_pages=-(-total // asked.page_size),
        )

    @router.get("/team/list", openapi_extra=takes_query(ListTeams), summary="Show teams, newest first")
    async def all_teams(request: Request) -> list[TeamView]:
        return (await page_of(request)).teams

    @router.get("/v2/team/list", openapi_extra=takes_query(ListTeams), summary="Show teams and say how many there are")
    async def page(request: Request) -> TeamPage:
        return await page_of(request)


def user_routes(users: GroupAdministration[User], keys: KeyAdministration) -> APIRouter:
    """The routes that make, change, show and remove users. Each needs `request.state.principal`."""
    router = APIRouter(tags=["users"], dependencies=[Depends(require_admin)])
    _add_user_changes(router, users, keys)
    _add_user_views(router, users, keys)
    return router


def _add_user_changes(router: APIRouter, users: GroupAdministration[User], keys: KeyAdministration) -> None:
    @router.post("/user/new", openapi_extra=takes_body(NewUser), summary="Make a user, and a key for them")
    async def new(request: Request) -> MadeUser:
        wanted = from_litellm(NewUser, await request.body())
        await keys.check_alias(wanted.key_alias)
        fields = await users.create(wanted.user_id, wanted, deed_of(request, "user.new"))
        if not wanted.auto_create_key:
            return MadeUser(**fields, key=None, key_id=None, expires=None)
        key = GenerateKey.model_construct(
            {"key_alias", "duration", "team_id", "user_id"},
            key_alias=wanted.key_alias,
            duration=wanted.duration,
            team_id=wanted.team_id,
            user_id=fields["user_id"],
        )
        made = await keys.generate(key, deed_of(request, "key.generate"))
        return MadeUser(**fields, key=made.key, key_id=made.key_id, expires=made.expires)

    @router.post("/user/update", openapi_extra=takes_body(UpdateUser), summary="Change a user")
    async def update(request: Request) -> ChangedUser:
        wanted = from_litellm(UpdateUser, await request.body())
        view = UserView(**await users.update(wanted.user_id, wanted, deed_of(request, "user.update")))
        return ChangedUser(user_id=view.user_id, data=view)

    @router.post("/user/block", openapi_extra=takes_body(NamedUser), summary="Refuse a user's keys from now on")
    async def block(request: Request) -> UserView:
        named = from_json(NamedUser, await request.body())
        return UserView(**await users.set_blocked(named.user_id, True, deed_of(request, "user.block")))

    @router.post("/user/unblock", openapi_extra=takes_body(NamedUser), summary="Take a blocked user's keys again")
    async def unblock(request: Request) -> UserView:
        named = from_json(NamedUser, await request.body())
        return UserView(**await users.set_blocked(named.user_id, False, deed_of(request, "user.unblock")))

    @router.post("/user/delete", openapi_extra=takes_body(DeleteUsers), summary="Remove users and their keys")
    async def delete(request: Request) -> DeletedUsers:
        wanted = from_json(DeleteUsers, await request.body())
        return DeletedUsers(deleted_users=await users.delete(wanted.user_ids, deed_of(request, "user.delete")))


def _add_user_views(router: APIRouter, users: GroupAdministration[User], keys: KeyAdministration) -> None:
    @router.get("/user/info", openapi_extra=takes_query(NamedUser), summary="Show a user and their keys")
    async def info(request: Request) -> UserInfo:
        user_id = from_query(NamedUser, request.query_params.multi_items()).user_id
        view = UserView(**await users.info(user_id))
        page = await keys.page(ListKeys(user_id=user_id, size=_KEYS_SHOWN))
        return UserInfo(
            user_id=user_id,
            user_info=view,
            keys=page.keys,
            key_count=page.total_count,
            teams=sorted({key.team_id for key in page.keys if key.team_id is not None}),
        )

    @router.get("/user/list", openapi_extra=takes_query(ListUsers), summary="Show users, newest first")
    async def page(request: Request) -> UserPage:
        asked = from_query(ListUsers, request.query_params.multi_items())
        found, total = await users.page(asked.page, asked.page_size, asked.user_alias)
        return UserPage(
            users=[UserView(**each) for each in found],
            total=total,
            page=asked.page,
            page_size=asked.page_size,
            total_pages=-(-total // asked.page_size),
        )
