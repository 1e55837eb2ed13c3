"""What every `GroupStore` does, over each of them: teams and users, in SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from app.domain.accounts import Limits
from app.domain.identity import Holder, Team, User
from app.domain.stores import AliasTaken, Deed, NameTaken
from app.storage.audit import SqlAuditLog
from app.storage.engine import Database
from app.storage.groups import SqlGroupStore, sql_teams, sql_users
from app.storage.keys import SqlKeyStore
from tests.storage.keys import DEED, NOON, virtual_key

LIMITS = Limits(
    max_budget_nanousd=10**18,
    soft_budget_nanousd=0,
    budget_duration="month",
    budget_timezone="Europe/Berlin",
    allowed_memory_limits=("1g", "4g"),
    max_file_bytes=2**53,
    shadow=True,
)


@dataclass
class Groups:
    """One of the two kinds, with the stores around it."""

    noun: str
    store: SqlGroupStore[Any]
    keys: SqlKeyStore
    audit: SqlAuditLog

    def new(self, name: str, **fields: Any) -> Any:
        make = {"team": Team, "user": User}[self.noun]
        return make(**{f"{self.noun}_id": name}, **({"created_at": NOON, "updated_at": NOON} | fields))

    async def add(self, name: str, **fields: Any) -> Any:
        group = self.new(name, **fields)
        await self.store.add(group, DEED)
        return group

    async def add_key(self, name: str | None) -> str:
        key = virtual_key(**{f"{self.noun}_id": name})
        await self.keys.add(key, DEED)
        return key.key_id

    async def holder(self, key_id: str) -> Holder | None:
        return await self.keys.holder(key_id)


@pytest.fixture(params=["team", "user"])
async def groups(request: pytest.FixtureRequest, database: Database) -> Groups:
    await database.migrate()
    store = sql_teams(database) if request.param == "team" else sql_users(database)
    return Groups(request.param, store, SqlKeyStore(database), SqlAuditLog(database))


async def test_one_comes_back_as_it_went_in(groups: Groups) -> None:
    bare = await groups.add("bare")
    full = await groups.add(
        "Zoë's 🗝", alias="The Sea", blocked=True, tags=("a", "b"), metadata={"z": [1.5, None]}, limits=LIMITS
    )
    assert await groups.store.get("bare") == bare
    assert await groups.store.get("Zoë's 🗝") == full
    assert await groups.store.get("nobody") is None


async def test_ids_and_aliases_belong_to_one(groups: Groups) -> None:
    first = await groups.add("alias-1", alias="sea")
    await groups.add("lake")
    with pytest.raises(NameTaken):
        await groups.add("alias-1")
    with pytest.raises(AliasTaken):
        await groups.add("pond", alias="sea")
    with pytest.raises(AliasTaken):
        await groups.store.change("lake", lambda group: replace(group, alias="sea"), DEED)
    assert await groups.store.get("alias-1") == first
    assert (await groups.audit.page(offset=0, limit=1))[1] == 2


async def test_a_change_is_one_step(groups: Groups) -> None:
    await groups.add("sea")

    def tagging(tag: str) -> Any:
        return groups.store.change("sea", lambda old: replace(old, tags=tuple(sorted((*old.tags, tag)))), DEED)

    await asyncio.gather(*(tagging(f"{number:02}") for number in range(20)))
    found = await groups.store.get("sea")
    assert found is not None
    assert found.tags == tuple(f"{number:02}" for number in range(20))
    assert await groups.store.change("nobody", lambda group: group, DEED) is None


async def test_a_change_that_fails_writes_nothing(groups: Groups) -> None:
    sea = await groups.add("sea")

    def fail(_: Any) -> Any:
        raise LookupError("on purpose")

    with pytest.raises(LookupError):
        await groups.store.change("sea", fail, DEED)
    assert await groups.store.get("sea") == sea
    assert (await groups.audit.page(offset=0, limit=1))[1] == 1


async def test_pages_go_from_the_newest_to_the_oldest(groups: Groups) -> None:
    made = [await groups.add(f"n{number}", created_at=NOON + timedelta(seconds=number // 2)) for number in range(5)]
    pages = [await groups.store.page(offset=offset, limit=2) for offset in (0, 2, 4)]
    assert [group for page, _ in pages for group in page] == made[::-1]
    assert [total for _, total in pages] == [5, 5, 5]
    named = await groups.add("named", alias="sea")
    assert await groups.store.page(offset=0, limit=2, alias="sea") == ([named], 1)


async def test_a_key_is_read_with_what_it_belongs_to(groups: Groups) -> None:
    key_id, lonely, orphan = (await groups.add_key("sea"), await groups.add_key(None), await groups.add_key("nobody"))
    sea = await groups.add("sea", limits=LIMITS, tags=("x",), blocked=True)
    holder = await groups.holder(key_id)
    assert holder is not None
    assert getattr(holder, groups.noun) == sea
    assert getattr(holder, "user" if groups.noun == "team" else "team") is None
    assert holder.key == await groups.keys.get(key_id)
    assert (holder.is_blocked, holder.tags, holder.accounts[1].limits) == (True, ("x",), LIMITS)
    for other in (lonely, orphan):
        found = await groups.holder(other)
        assert found is not None
        assert (found.user, found.team, found.is_blocked) == (None, None, False)
    assert await groups.holder("0" * 16) is None


async def test_a_key_may_have_both(database: Database) -> None:
    await database.migrate()
    keys, teams, users = SqlKeyStore(database), sql_teams(database), sql_users(database)
    key = virtual_key(user_id="same", team_id="same")
    team = Team(team_id="same", created_at=NOON, updated_at=NOON, alias="t", metadata={"of": "team"})
    user = User(user_id="same", created_at=NOON, updated_at=NOON, alias="u", email="u@x.test", metadata={"of": "user"})
    await keys.add(key, DEED)
    await teams.add(team, DEED)
    await users.add(user, DEED)
    assert await keys.holder(key.key_id) == Holder(key=key, user=user, team=team)


async def test_deleting_takes_the_keys_along_and_writes_each_down(groups: Groups) -> None:
    theirs, other = await groups.add_key("sea"), await groups.add_key("lake")
    await groups.add("sea")
    await groups.add("lake")
    deed = Deed("0123456789abcdef", f"{groups.noun}.delete", "req_7")
    assert await groups.store.delete(["sea", "nobody"], deed) == ["sea"]
    assert await groups.store.delete([], deed) == []
    assert await groups.store.get("sea") is None
    assert await groups.keys.get(theirs) is None
    assert await groups.keys.get(other) is not None
    rows, _ = await groups.audit.page(offset=0, limit=2)
    assert [(row.actor, row.action, row.subject, row.after, row.request_id) for row in rows[::-1]] == [
        (deed.actor, deed.action, f"key:{theirs}", None, "req_7"),
        (deed.actor, deed.action, f"{groups.noun}:sea", None, "req_7"),
    ]


async def test_deleting_a_group_that_was_never_made_leaves_its_keys(groups: Groups) -> None:
    key_id = await groups.add_key("sea")
    assert await groups.store.delete(["sea"], DEED) == []
    assert await groups.keys.get(key_id) is not None
