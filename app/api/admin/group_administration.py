"""What an operator does with teams and users, which differ in their names only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Generic, cast
from uuid import uuid4

from app.api.admin.group_models import GroupFields
from app.api.admin.limit_models import limits_with, standing_of
from app.api.admin.outages import store_answers
from app.api.admin.standings import Standings
from app.domain.errors import ErrorCode, GatewayError
from app.domain.identity import Team, User
from app.domain.spending import Balance
from app.domain.stores import AliasTaken, Deed, Group, GroupStore, NameTaken


@dataclass(frozen=True, slots=True)
class Kind(Generic[Group]):
    """A kind of group: what it is called, and its own fields, as a request and as the store names them."""

    noun: str
    make: Callable[..., Group]
    own: dict[str, str]

    @property
    def id(self) -> str:
        """The field that names one."""
        return f"{self.noun}_id"


TEAM: Final = Kind("team", Team, {"team_alias": "alias"})
USER: Final = Kind("user", User, {"user_alias": "alias", "user_email": "email"})


class GroupAdministration(Generic[Group]):
    """Makes, changes, shows and removes teams, or users.

    `forget` is called with the id of one that may have changed or gone, so that whoever remembers its keys asks again.
    Every method may raise GatewayError GROUP_NOT_FOUND, INVALID_VALUE (the id or the alias is taken) and
    STORE_UNAVAILABLE. What is shown is a dict of the fields that its view has.
    """

    def __init__(
        self, kind: Kind[Group], store: GroupStore[Group], forget: Callable[[str], None], standings: Standings
    ) -> None:
        self._kind: Kind[Group] = kind
        self._store: GroupStore[Group] = store
        self._forget = forget
        self._standings = standings

    async def create(self, group_id: str | None, wanted: GroupFields, deed: Deed) -> dict[str, Any]:
        """Make one."""
        name, now = group_id or str(uuid4()), self._standings.now()
        bare = self._kind.make(**{self._kind.id: name}, created_at=now, updated_at=now)
        group = self._with(bare, wanted, now)
        try:
            with self._answers():
                await self._store.add(group, deed)
        finally:
            self._forget(name)
        return await self._windowed(group, wanted, deed)

    async def update(self, group_id: str, wanted: GroupFields, deed: Deed) -> dict[str, Any]:
        """Set the fields that were given."""
        now = self._standings.now()
        group = await self._change(group_id, lambda group: self._with(group, wanted, now), deed)
        return await self._windowed(group, wanted, deed)

    async def set_blocked(self, group_id: str, blocked: bool, deed: Deed) -> dict[str, Any]:
        """Refuse all its keys from now on, or take them again."""
        now = self._standings.now()
        group = await self._change(group_id, lambda group: replace(group, blocked=blocked, updated_at=now), deed)
        return (await self._shown([group]))[0]

    async def info(self, group_id: str) -> dict[str, Any]:
        """Show one."""
        with self._answers():
            group = await self._store.get(group_id)
        if group is None:
            raise self._not_found(self._kind.id)
        return (await self._shown([group]))[0]

    async def page(self, page: int, size: int, alias: str | None) -> tuple[list[dict[str, Any]], int]:
        """Show one page, newest first, and say how many there are in all."""
        with self._answers():
            groups, total = await self._store.page(offset=(page - 1) * size, limit=size, alias=alias)
        return await self._shown(groups), total

    async def delete(self, group_ids: Sequence[str], deed: Deed) -> list[str]:
        """Remove some with their keys: all, or none where one is unknown. What they spent stays on the books."""
        names = list(dict.fromkeys(group_ids))
        with self._answers():
            for place, name in enumerate(names):
                if await self._store.get(name) is None:
                    raise self._not_found(f"{self._kind.id}s.{place}")
        try:
            with self._answers():
                deleted = set(await self._store.delete(names, deed))
        finally:
            for name in names:
                self._forget(name)
        return [name for name in names if name in deleted]

    async def _change(self, group_id: str, edit: Callable[[Group], Group], deed: Deed) -> Group:
        try:
            with self._answers():
                group = await self._store.change(group_id, edit, deed)
        finally:
            self._forget(group_id)
        if group is None:
            raise self._not_found(self._kind.id)
        return group

    async def _windowed(self, group: Group, wanted: GroupFields, deed: Deed) -> dict[str, Any]:
        with self._answers():
            balance = await self._standings.begin_window(self._account(group), group.limits, wanted, deed)
        return self._fields(group, balance)

    async def _shown(self, groups: Sequence[Group]) -> list[dict[str, Any]]:
        with self._answers():
            balances = await self._standings.of_all([self._account(group) for group in groups])
        return [self._fields(group, balances[self._account(group)]) for group in groups]

    def _with(self, group: Group, wanted: GroupFields, now: datetime) -> Group:
        """The group with the given fields set; a null brings a field's default back."""
        values: dict[str, Any] = {
            "metadata": ("metadata", wanted.metadata or {}),
            "tags": ("tags", tuple(wanted.tags or ())),
            "blocked": ("blocked", group.blocked if wanted.blocked is None else wanted.blocked),
            **{asked: (kept, getattr(wanted, asked)) for asked, kept in self._kind.own.items()},
        }
        given = dict(values[name] for name in values if name in wanted.model_fields_set)
        return replace(group, updated_at=now, limits=limits_with(group.limits, wanted), **given)

    def _fields(self, group: Group, balance: Balance) -> dict[str, Any]:
        return {
            self._kind.id: self._id_of(group),
            **{asked: getattr(group, kept) for asked, kept in self._kind.own.items()},
            "created_at": group.created_at,
            "updated_at": group.updated_at,
            "blocked": group.blocked,
            "tags": list(group.tags),
            "metadata": group.metadata,
            **standing_of(group.limits, balance),
        }

    def _account(self, group: Group) -> str:
        return f"{self._kind.noun}:{self._id_of(group)}"

    def _id_of(self, group: Group) -> str:
        return cast(str, getattr(group, self._kind.id))

    def _not_found(self, param: str) -> GatewayError:
        noun = self._kind.noun
        return GatewayError(
            ErrorCode.GROUP_NOT_FOUND, f"There is no {noun} of this id. /{noun}/new makes one.", param=param
        )

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """What the store raises, as the client will see it."""
        noun = self._kind.noun
        with store_answers(f"The database of {noun}s"):
            try:
                yield
            except NameTaken:
                raise GatewayError(
                    ErrorCode.INVALID_VALUE,
                    f"There is a {noun} of this id. /{noun}/update changes it.",
                    param=f"{noun}_id",
                ) from None
            except AliasTaken:
                raise GatewayError(
                    ErrorCode.INVALID_VALUE, f"Another {noun} has this alias.", param=f"{noun}_alias"
                ) from None
