from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.domain.accounts import Limits
from app.domain.errors import ErrorCode, GatewayError
from app.domain.identity import MASTER, Team, User, VirtualKey
from app.domain.keys import mint
from app.gateway.authenticate import Authenticator
from app.storage.engine import Database
from app.storage.keys import SqlKeyStore
from tests.gateway.gate import MASTER_KEY, Clock, Gate, WatchedStore
from tests.storage.keys import NOON


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[WatchedStore]:
    database = Database.open(f"sqlite:///{tmp_path}/q.db")
    await database.migrate()
    yield WatchedStore(SqlKeyStore(database), database)
    await database.close()


@asynccontextmanager
async def opened(store: WatchedStore, **options: Any) -> AsyncIterator[Gate]:
    gate = Gate(store, **options)
    try:
        yield gate
    finally:
        await gate.authenticator.aclose()


@pytest.fixture
async def gate(store: WatchedStore) -> AsyncIterator[Gate]:
    async with opened(store) as gate:
        yield gate


async def test_the_master_key_needs_no_database(gate: Gate) -> None:
    assert gate.cached(MASTER_KEY) is MASTER
    assert await gate.ask(MASTER_KEY) is MASTER
    assert gate.store.reads == []


async def test_a_master_key_that_looks_like_a_virtual_key_is_the_master_key(store: WatchedStore) -> None:
    lookalike = mint()
    authenticator = Authenticator(store, lookalike.key, Clock())
    assert await authenticator.authenticate(lookalike.key.encode()) is MASTER


def test_an_empty_master_key_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        Authenticator(None, "")  # type: ignore[arg-type]


async def test_the_first_request_reads_the_database_and_the_next_do_not(gate: Gate) -> None:
    minted = await gate.new_key(alias="prod", team_id="sea", tags=("a",), allowed_operations=("containers.list",))
    assert gate.cached(minted.key) is None
    principal = await gate.ask(minted.key)
    assert (principal.key_id, principal.owner, principal.alias) == (minted.key_id, "team:sea", "prod")
    assert [operation.name for operation in principal.allowed_operations] == ["containers.list"]
    assert not principal.is_master
    assert gate.cached(minted.key) is principal
    assert await gate.ask(minted.key) is principal
    assert gate.store.reads == [minted.key_id]


async def test_requests_at_the_same_time_share_one_read(gate: Gate) -> None:
    minted = await gate.new_key()
    principals = await asyncio.gather(*(gate.ask(minted.key) for _ in range(50)))
    assert len({id(principal) for principal in principals}) == 1
    assert gate.store.reads == [minted.key_id]


async def test_a_client_that_goes_away_takes_no_other_request_with_it(gate: Gate) -> None:
    minted = await gate.new_key()
    gate.store.hold()
    leaving, staying = (asyncio.create_task(gate.ask(minted.key)) for _ in range(2))
    await gate.store.made.wait()
    leaving.cancel()
    gate.store.released.set()
    assert (await staying).key_id == minted.key_id
    assert leaving.cancelled()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda key: key[:-1],
        lambda key: key + "A",
        lambda key: key + "\n",
        lambda key: " " + key,
        lambda key: key.upper(),
        lambda key: "sk-qn-" + key[6:],
        lambda key: key[:22] + "_" + key[23:],
        lambda key: key[:30] + "é" + key[31:],
        lambda key: key[:30] + "\x00" + key[31:],
        lambda _: "",
        lambda _: "sk-qm-",
        lambda _: "sk-qm-" + "0" * 16 + "-",
        lambda _: "x" * 100_000,
    ],
)
async def test_malformed_keys_never_reach_the_database(gate: Gate, spoil: Callable[[str], str]) -> None:
    minted = await gate.new_key()
    await gate.ask(minted.key)
    gate.store.reads.clear()
    assert (await gate.refusal(spoil(minted.key))).code is ErrorCode.INVALID_API_KEY
    assert gate.store.reads == []


async def test_bytes_that_are_no_text_are_refused(gate: Gate) -> None:
    assert (await gate.refusal(b"sk-qm-\xff\xfe")).code is ErrorCode.INVALID_API_KEY


async def test_a_wrong_secret_is_refused_without_another_read(gate: Gate) -> None:
    minted = await gate.new_key(blocked=True, expires_at=NOON)
    wrong = mint(minted.key_id).key
    for _ in range(3):
        assert (await gate.refusal(wrong)).code is ErrorCode.INVALID_API_KEY
    assert gate.store.reads == [minted.key_id]


async def test_an_unknown_key_is_asked_for_once_in_a_while(gate: Gate) -> None:
    nobody = mint()
    for _ in range(3):
        assert (await gate.refusal(nobody.key)).code is ErrorCode.INVALID_API_KEY
    assert gate.store.reads == [nobody.key_id]
    gate.clock.now += 5
    await gate.refusal(nobody.key)
    assert gate.store.reads == [nobody.key_id] * 2


async def test_a_key_that_was_unknown_works_as_soon_as_it_is_made(gate: Gate) -> None:
    minted = mint()
    await gate.refusal(minted.key)
    await gate.store.add(
        VirtualKey(key_id=minted.key_id, secret_hash=minted.secret_hash, created_at=NOON, updated_at=NOON)
    )
    gate.authenticator.forget(minted.key_id)
    assert (await gate.ask(minted.key)).key_id == minted.key_id


async def test_no_message_holds_the_key(gate: Gate) -> None:
    good = await gate.new_key(blocked=True)
    expired = await gate.new_key(expires_at=NOON)
    for key in (good.key, expired.key, mint(good.key_id).key, mint().key, "sk-something"):
        error = await gate.refusal(key)
        assert error.message
        assert key[6:22] not in error.message
        assert key[-20:] not in error.message


async def test_a_blocked_key_says_so_to_who_has_it(gate: Gate) -> None:
    minted = await gate.new_key(blocked=True)
    assert (await gate.refusal(minted.key)).code is ErrorCode.BLOCKED_API_KEY
    assert (await gate.refusal(minted.key)).code is ErrorCode.BLOCKED_API_KEY
    assert gate.store.reads == [minted.key_id]


async def test_a_key_ends_at_its_instant_although_it_is_cached(gate: Gate) -> None:
    minted = await gate.new_key(expires_at=NOON + timedelta(seconds=1))
    await gate.ask(minted.key)
    gate.clock.now = NOON.timestamp() + 0.999
    assert gate.cached(minted.key)
    gate.clock.now = NOON.timestamp() + 1
    assert (await gate.refusal(minted.key)).code is ErrorCode.EXPIRED_API_KEY
    assert gate.store.reads == [minted.key_id]


async def test_the_secret_before_works_until_its_grace_period_ends(gate: Gate) -> None:
    minted = await gate.new_key()
    newer = mint(minted.key_id)
    await gate.change(
        minted.key_id,
        secret_hash=newer.secret_hash,
        previous_secret_hash=minted.secret_hash,
        previous_expires_at=NOON + timedelta(seconds=1),
    )
    assert await gate.ask(newer.key) is await gate.ask(minted.key)
    gate.clock.now += 1
    assert (await gate.refusal(minted.key)).code is ErrorCode.EXPIRED_API_KEY
    assert gate.cached(newer.key)
    assert gate.store.reads == [minted.key_id]


async def test_blocking_holds_for_the_secret_before_too(gate: Gate) -> None:
    minted = await gate.new_key()
    await gate.change(
        minted.key_id,
        blocked=True,
        secret_hash=mint().secret_hash,
        previous_secret_hash=minted.secret_hash,
        previous_expires_at=NOON + timedelta(days=1),
    )
    assert (await gate.refusal(minted.key)).code is ErrorCode.BLOCKED_API_KEY


@pytest.mark.parametrize(("kind", "owner"), [(Team, "team"), (User, "user")])
async def test_a_blocked_team_or_user_blocks_its_keys(gate: Gate, kind: Any, owner: str) -> None:
    theirs, other = await gate.new_key(**{f"{owner}_id": "sea"}), await gate.new_key(**{f"{owner}_id": "lake"})
    await gate.ask(theirs.key)
    await gate.ask(other.key)
    await gate.add_group(kind, owner, "sea", blocked=True)
    gate.clock.now += 2
    assert gate.cached(theirs.key)  # another process blocked it: seen once this one has looked
    await gate.settle()
    refused = await gate.refusal(theirs.key)
    assert (refused.code, refused.message) == (ErrorCode.BLOCKED_API_KEY, f"This API key's {owner} is blocked.")
    assert (await gate.refusal(mint(theirs.key_id).key)).code is ErrorCode.INVALID_API_KEY
    assert gate.cached(other.key)


@pytest.mark.parametrize(("kind", "owner"), [(Team, "team"), (User, "user")])
async def test_forgetting_a_team_or_user_forgets_its_keys_and_no_other(gate: Gate, kind: Any, owner: str) -> None:
    theirs = [await gate.new_key(**{f"{owner}_id": "sea"}) for _ in range(2)]
    others = [await gate.new_key(**{f"{owner}_id": "lake"}), await gate.new_key()]
    for minted in (*theirs, *others):
        await gate.ask(minted.key)
    await gate.add_group(kind, owner, "sea", limits=Limits(rpm_limit=3))
    getattr(gate.authenticator, f"forget_{owner}")("sea")
    assert all(gate.cached(minted.key) for minted in others)
    for minted in theirs:
        assert gate.cached(minted.key) is None
        assert [account.limits.rpm_limit for account in (await gate.ask(minted.key)).accounts] == [None, 3]


@pytest.mark.parametrize(("kind", "owner"), [(Team, "team"), (User, "user")])
async def test_a_read_under_way_when_its_team_or_user_changes_does_not_count(gate: Gate, kind: Any, owner: str) -> None:
    minted = await gate.new_key(**{f"{owner}_id": "sea"})
    gate.store.hold()
    request = asyncio.create_task(gate.ask(minted.key))
    await gate.store.made.wait()
    await gate.add_group(kind, owner, "sea", blocked=True)
    getattr(gate.authenticator, f"forget_{owner}")("sea")
    gate.store.released.set()
    with pytest.raises(GatewayError) as refused:
        await request
    assert refused.value.code is ErrorCode.BLOCKED_API_KEY


async def test_a_forgotten_key_is_read_again(gate: Gate) -> None:
    minted = await gate.new_key()
    await gate.ask(minted.key)
    await gate.store.delete([minted.key_id])
    assert gate.cached(minted.key)
    gate.authenticator.forget(minted.key_id)
    assert (await gate.refusal(minted.key)).code is ErrorCode.INVALID_API_KEY


async def test_a_read_under_way_when_the_key_changes_does_not_count(gate: Gate) -> None:
    minted = await gate.new_key()
    gate.store.hold()
    early = asyncio.create_task(gate.ask(minted.key))
    await gate.store.made.wait()  # the row was read while the key was good
    await gate.change(minted.key_id, blocked=True)
    gate.authenticator.forget(minted.key_id)
    late = asyncio.create_task(gate.ask(minted.key))
    gate.store.released.set()
    results = await asyncio.gather(early, late, return_exceptions=True)
    assert [getattr(result, "code", None) for result in results] == [ErrorCode.BLOCKED_API_KEY] * 2
    await gate.settle()
    assert (await gate.refusal(minted.key)).code is ErrorCode.BLOCKED_API_KEY


async def test_a_read_that_has_just_ended_when_the_key_changes_does_not_count(gate: Gate) -> None:
    minted = await gate.new_key()
    gate.store.hold()
    request = asyncio.create_task(gate.ask(minted.key))
    await gate.store.made.wait()
    (load,) = gate.authenticator._tasks
    await gate.change(minted.key_id, blocked=True)
    load.add_done_callback(lambda _: gate.authenticator.forget(minted.key_id))
    gate.store.released.set()
    with pytest.raises(GatewayError) as refused:
        await request
    assert refused.value.code is ErrorCode.BLOCKED_API_KEY


async def test_a_refresh_under_way_when_the_key_changes_does_not_count(gate: Gate) -> None:
    minted = await gate.new_key()
    await gate.ask(minted.key)
    gate.clock.now += 2
    gate.store.hold()
    assert gate.cached(minted.key)
    await gate.store.made.wait()
    await gate.change(minted.key_id, blocked=True)
    gate.authenticator.forget(minted.key_id)
    gate.store.released.set()
    await gate.settle()
    assert (await gate.refusal(minted.key)).code is ErrorCode.BLOCKED_API_KEY


async def test_changes_made_elsewhere_are_seen_in_the_background(gate: Gate) -> None:
    minted = await gate.new_key()
    await gate.ask(minted.key)
    await gate.change(minted.key_id, blocked=True)
    gate.clock.now += 1.999
    assert gate.cached(minted.key)
    assert gate.store.reads == [minted.key_id]
    gate.clock.now += 0.001
    assert gate.cached(minted.key)  # this request does not wait
    assert gate.cached(minted.key)  # and the next one starts no second read
    await gate.settle()
    assert gate.store.reads == [minted.key_id] * 2
    assert (await gate.refusal(minted.key)).code is ErrorCode.BLOCKED_API_KEY


@pytest.mark.parametrize("made", ["deleted", "unblocked"])
async def test_the_slow_path_refreshes_too(gate: Gate, made: str) -> None:
    minted = await gate.new_key(blocked=True)
    await gate.refusal(minted.key)
    if made == "deleted":
        await gate.store.delete([minted.key_id])
    else:
        await gate.change(minted.key_id, blocked=False)
    gate.clock.now += 2
    assert (await gate.refusal(minted.key)).code is ErrorCode.BLOCKED_API_KEY
    await gate.settle()
    if made == "deleted":
        assert (await gate.refusal(minted.key)).code is ErrorCode.INVALID_API_KEY
    else:
        assert gate.cached(minted.key)


async def test_what_is_too_old_is_never_used(gate: Gate) -> None:
    minted = await gate.new_key()
    await gate.ask(minted.key)
    await gate.change(minted.key_id, blocked=True)
    gate.clock.now += 60
    assert (await gate.refusal(minted.key)).code is ErrorCode.BLOCKED_API_KEY


async def test_a_clock_that_jumps_back_makes_nothing_last_longer(gate: Gate) -> None:
    minted = await gate.new_key()
    await gate.ask(minted.key)
    await gate.change(minted.key_id, blocked=True)
    gate.clock.now -= 3600
    assert (await gate.refusal(minted.key)).code is ErrorCode.BLOCKED_API_KEY


async def test_a_silent_database_is_forgiven_for_a_while(gate: Gate) -> None:
    minted = await gate.new_key()
    await gate.ask(minted.key)
    gate.store.down = True
    for _ in range(3):
        gate.clock.now += 19
        assert gate.cached(minted.key)
        await gate.settle()
    gate.clock.now += 3
    error = await gate.refusal(minted.key)
    assert (error.code, error.retry_after_seconds) == (ErrorCode.STORE_UNAVAILABLE, 1)
    gate.store.down = False
    assert await gate.ask(minted.key)


async def test_a_refresh_that_failed_is_not_tried_again_before_its_turn(gate: Gate) -> None:
    minted = await gate.new_key()
    await gate.ask(minted.key)
    gate.store.down = True
    gate.clock.now += 2
    for _ in range(3):
        assert gate.cached(minted.key)
        await gate.settle()
    assert gate.store.reads == [minted.key_id] * 2


async def test_a_slow_refresh_is_waited_for_before_the_next(gate: Gate) -> None:
    minted = await gate.new_key()
    await gate.ask(minted.key)
    gate.store.hold()
    for _ in range(3):
        gate.clock.now += 2
        assert gate.cached(minted.key)
        await gate.store.made.wait()
    assert len(gate.authenticator._tasks) == 1


async def test_an_outage_is_not_remembered_as_an_unknown_key(gate: Gate) -> None:
    minted = await gate.new_key()
    gate.store.down = True
    assert (await gate.refusal(minted.key)).code is ErrorCode.STORE_UNAVAILABLE
    gate.store.down = False
    assert await gate.ask(minted.key)


async def test_the_least_recently_used_keys_are_dropped(store: WatchedStore) -> None:
    async with opened(store, capacity=2) as gate:
        first, second, third = [await gate.new_key() for _ in range(3)]
        await gate.ask(first.key)
        await gate.ask(second.key)
        assert gate.cached(first.key)
        await gate.ask(third.key)
        assert [bool(gate.cached(key.key)) for key in (first, second, third)] == [True, False, True]


async def test_unknown_keys_are_bounded_and_drop_no_good_ones(store: WatchedStore) -> None:
    async with opened(store, capacity=2) as gate:
        minted = await gate.new_key()
        await gate.ask(minted.key)
        for _ in range(10):
            await gate.refusal(mint().key)
        assert len(gate.authenticator._unknown) == 2
        assert gate.cached(minted.key)


async def test_closing_stops_what_goes_on_in_the_background(store: WatchedStore) -> None:
    gate = Gate(store)
    minted = await gate.new_key()
    await gate.ask(minted.key)
    gate.clock.now += 2
    store.hold()
    gate.cached(minted.key)
    await store.made.wait()
    await gate.authenticator.aclose()
    assert not gate.authenticator._tasks


async def test_no_secret_stays_in_memory(gate: Gate) -> None:
    minted = await gate.new_key()
    await gate.ask(minted.key)
    assert gate.cached(minted.key)
    remembered = gate.authenticator._known
    secret = minted.key[23:].encode()
    assert all(secret not in key_id for key_id in remembered)
    texts = [str(getattr(known, name)) for known in remembered.values() for name in known.__slots__]
    assert not [text for text in texts if minted.key[23:] in text]
