"""Deleting containers: which ones, how, and what may come in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from app.config.registry import ReapSettings
from app.domain.containers import Access, Container, Ending
from app.domain.identity import MASTER_KEY_ID, Team
from app.domain.ports import StoreUnavailable
from app.domain.stores import Deed
from app.registry.condemned import Criteria
from app.registry.reap import AT_ONCE, MAX_FAILURES, Harvest, Outcome
from app.storage.audit import SqlAuditLog
from app.storage.groups import sql_teams
from tests.logs import captured_log
from tests.registry.harbour import HERE, THERE, Harbour
from tests.storage.containers import creation
from tests.storage.keys import DEED, NOON
from tests.storage.spending import order

SEA = Criteria(owner="team:sea")


def outcomes(harvest: Harvest) -> dict[str, str]:
    return {each.condemned.container.container_id: each.outcome.value for each in harvest.reaped}


def ids(harvest: Harvest) -> list[str]:
    return list(outcomes(harvest))


# Which.


async def test_a_dry_run_tells_and_touches_nothing(harbour: Harbour) -> None:
    await harbour.add("cntr_1")
    harvest = await harbour.reaper.reap(SEA)
    assert outcomes(harvest) == {"cntr_1": "would_delete"}
    assert harbour.here.asked == []
    assert await harbour.status("cntr_1") == "running"


async def test_each_deletion_is_written_down_before_it_is_done(harbour: Harbour) -> None:
    await harbour.add("cntr_1")
    await harbour.reaper.reap(SEA)
    log = SqlAuditLog(harbour.database)
    assert (await log.page(offset=0, limit=9))[1] == 0
    await harbour.reaper.reap(SEA, dry_run=False, deed=Deed("0123456789abcdef", "container.reap", "req_1"))
    (row,), _ = await log.page(offset=0, limit=9)
    assert (row.actor, row.action, row.subject, row.request_id) == (
        "0123456789abcdef",
        "container.reap",
        "container:cntr_1",
        "req_1",
    )
    assert row.before == {"owner": "team:sea", "deployment": "here", "name": "crate"}
    assert row.after == {"reason": "it is team:sea's"}


async def test_nothing_is_deleted_that_cannot_be_written_down(harbour: Harbour) -> None:
    await harbour.add("cntr_1")
    await harbour.database.write(lambda connection: connection.exec_driver_sql("DROP TABLE audit"))
    harvest = await harbour.reaper.reap(SEA, dry_run=False)
    assert outcomes(harvest) == {"cntr_1": "failed"}
    assert harbour.here.deletions == []


async def test_containers_of_a_key_whose_team_is_blocked(harbour: Harbour) -> None:
    key_id = await harbour.add_key(team_id="sea")
    await harbour.add("cntr_1", key_id=key_id)
    assert outcomes(await harbour.reaper.reap(Criteria(revoked_keys=True))) == {}
    team = Team(team_id="sea", created_at=NOON, updated_at=NOON, blocked=True)
    await sql_teams(harbour.database).add(team, DEED)
    harvest = await harbour.reaper.reap(Criteria(revoked_keys=True))
    assert [reaped.condemned.reason for reaped in harvest.reaped] == ["made by a key that is blocked"]


async def test_only_the_owners_running_containers_are_deleted(harbour: Harbour) -> None:
    await harbour.add("cntr_1", hours_old=1)
    await harbour.add("cntr_2", hours_old=2, deployment=THERE)
    await harbour.add("cntr_expired", status="expired")
    await harbour.add("cntr_deleted")
    await harbour.containers.end("cntr_deleted", Ending.DELETED, NOON)
    await harbour.add("cntr_shared", owner="team:lake")
    await harbour.containers.share("cntr_shared", "team:sea", Access.WRITE)
    await harbour.add("cntr_nobodys", owner=None)
    harvest = await harbour.reaper.reap(SEA, dry_run=False)
    assert outcomes(harvest) == {"cntr_1": "deleted", "cntr_2": "deleted"}
    assert (harbour.here.deletions, harbour.yards[THERE].deletions) == (["cntr_1"], ["cntr_2"])
    assert [await harbour.status(name) for name in ("cntr_1", "cntr_2", "cntr_shared")] == [
        "deleted",
        "deleted",
        "running",
    ]


@pytest.mark.parametrize(
    ("fields", "became"),
    [
        ({"blocked": True}, "is blocked"),
        ({"expires_at": NOON - timedelta(seconds=1)}, "has expired"),
        (None, "was deleted"),
    ],
)
async def test_containers_of_a_revoked_key(harbour: Harbour, fields: dict[str, Any] | None, became: str) -> None:
    revoked = "00000000deadbeef" if fields is None else await harbour.add_key(**fields)
    good = await harbour.add_key(expires_at=NOON + timedelta(seconds=1))
    for name, key_id in (("cntr_1", revoked), ("cntr_2", good), ("cntr_3", MASTER_KEY_ID), ("cntr_4", None)):
        await harbour.add(name, key_id=key_id)
    harvest = await harbour.reaper.reap(Criteria(revoked_keys=True))
    assert ids(harvest) == ["cntr_1"]
    assert harvest.reaped[0].condemned.reason == f"made by a key that {became}"


async def test_all_criteria_hold_together(harbour: Harbour) -> None:
    await harbour.add("cntr_old", hours_old=3)
    await harbour.add("cntr_new", hours_old=1)
    await harbour.add("cntr_lake", hours_old=3, owner="team:lake")
    await harbour.add("cntr_there", hours_old=3, deployment=THERE)
    wanted = Criteria(owner="team:sea", older_than=timedelta(hours=2), deployment=HERE)
    assert ids(await harbour.reaper.reap(wanted)) == ["cntr_old"]


@pytest.mark.parametrize("wanted", [Criteria(), Criteria(deployment=HERE), Criteria(unknown=True, owner="master")])
async def test_criteria_that_say_nothing_delete_nothing(harbour: Harbour, wanted: Criteria) -> None:
    await harbour.add("cntr_1")
    with pytest.raises(ValueError, match="criteria"):
        await harbour.reaper.reap(wanted, dry_run=False)
    assert harbour.here.asked == []


async def test_no_more_than_the_limit_the_newest_first(harbour: Harbour) -> None:
    for number in range(5):
        await harbour.add(f"cntr_{number}", hours_old=1 + number)
    harvest = await harbour.reaper.reap(SEA, dry_run=False, limit=3)
    assert ids(harvest) == ["cntr_0", "cntr_1", "cntr_2"]
    assert harvest.has_more
    harvest = await harbour.reaper.reap(SEA, dry_run=False, limit=2)
    assert ids(harvest) == ["cntr_3", "cntr_4"]
    assert not harvest.has_more


async def test_those_that_fit_are_found_behind_many_that_do_not(harbour: Harbour) -> None:
    good, bad = await harbour.add_key(), await harbour.add_key(blocked=True)
    await harbour.add("cntr_bad", hours_old=9, key_id=bad)
    for number in range(401):
        await harbour.add(f"cntr_{number}", key_id=good, listed=False)
    assert ids(await harbour.reaper.reap(Criteria(revoked_keys=True))) == ["cntr_bad"]


# Idle.


async def test_use_that_only_the_upstream_saw_keeps_a_container_alive(harbour: Harbour) -> None:
    await harbour.add("cntr_idle", hours_old=2)
    used = await harbour.add("cntr_used", hours_old=2)
    harbour.here.containers["cntr_used"]["last_active_at"] = int(NOON.timestamp()) - 60
    harvest = await harbour.reaper.reap(Criteria(idle_for=timedelta(hours=1)), dry_run=False)
    assert outcomes(harvest) == {"cntr_idle": "deleted"}
    assert harvest.reaped[0].condemned.reason == "idle for 2h"
    record = await harbour.containers.record(used.container_id)
    assert record
    assert record.container.last_active_at == NOON.replace(microsecond=0) - timedelta(seconds=60)
    assert "GET /v1/containers/cntr_used" not in harbour.here.asked


async def test_the_list_is_read_as_far_back_as_it_has_to_be(harbour: Harbour) -> None:
    await harbour.add("cntr_1", hours_old=2)
    await harbour.add("cntr_2", hours_old=3)
    for number in range(300):
        harbour.here.put(f"cntr_expired_{number}", created_at=NOON.timestamp() - 9000 - number, status="expired")
    assert ids(await harbour.reaper.reap(Criteria(idle_for=timedelta(hours=1)))) == ["cntr_1", "cntr_2"]
    assert len(harbour.here.asked) == 4
    await harbour.containers.end("cntr_2", Ending.DELETED, NOON)
    assert ids(await harbour.reaper.reap(Criteria(idle_for=timedelta(hours=1)))) == ["cntr_1"]
    assert len(harbour.here.asked) == 5


async def test_of_a_deployment_that_gives_no_list_nothing_counts_as_idle(harbour: Harbour) -> None:
    await harbour.add("cntr_1", hours_old=2)
    await harbour.add("cntr_2", hours_old=2, deployment=THERE)
    await harbour.add("cntr_3", hours_old=2, deployment="taken out")
    harbour.yards[THERE].list_status = 503
    harvest = await harbour.reaper.reap(Criteria(idle_for=timedelta(hours=1)))
    assert ids(harvest) == ["cntr_1"]
    assert harvest.unlisted == {THERE: "its list answered 503", "taken out": "it is not configured here"}


async def test_where_nothing_could_be_idle_no_list_is_asked_for(harbour: Harbour) -> None:
    await harbour.add("cntr_1", hours_old=1)
    assert ids(await harbour.reaper.reap(Criteria(idle_for=timedelta(hours=2)))) == []
    assert harbour.here.asked == []


# Unknown.


async def test_what_the_registry_never_heard_of_is_found_in_the_lists(harbour: Harbour) -> None:
    await harbour.add("cntr_known")
    await harbour.add("cntr_ended")
    await harbour.containers.end("cntr_ended", Ending.GONE, NOON)
    noon = NOON.timestamp()
    harbour.here.put("cntr_unknown", created_at=noon - 3600)
    harbour.here.put("cntr_dead", created_at=noon - 3600, status="expired")
    harbour.here.put("cntr_over", created_at=noon - 3600, expires_after={"anchor": "last_active_at", "minutes": 20})
    harbour.yards[THERE].put("cntr_there", created_at=noon - 60)
    harvest = await harbour.reaper.reap(Criteria(unknown=True), dry_run=False)
    assert outcomes(harvest) == {"cntr_there": "deleted", "cntr_unknown": "deleted"}
    assert [each.condemned.container.deployment for each in harvest.reaped] == [THERE, HERE]
    assert harbour.here.deletions == ["cntr_unknown"]
    assert await harbour.containers.registered(["cntr_unknown", "cntr_there"]) == set()


async def test_unknown_and_old_and_there(harbour: Harbour) -> None:
    noon = NOON.timestamp()
    for yard in harbour.yards.values():
        yard.put(f"cntr_old_{yard.origin[-5:]}", created_at=noon - 7201)
        yard.put(f"cntr_new_{yard.origin[-5:]}", created_at=noon - 7199)
    wanted = Criteria(unknown=True, older_than=timedelta(hours=2), deployment=HERE)
    assert ids(await harbour.reaper.reap(wanted)) == [f"cntr_old_{harbour.here.origin[-5:]}"]
    assert harbour.yards[THERE].asked == []


async def test_what_may_be_registered_any_moment_is_not_unknown(harbour: Harbour) -> None:
    noon = NOON.timestamp()
    await harbour.creations.begin(creation(started_at=NOON - timedelta(minutes=10)), order(), same_key_since=NOON)
    harbour.here.put("cntr_being_made", created_at=noon - 590)
    harbour.here.put("cntr_by_a_slow_clock", created_at=noon - 660)
    harbour.here.put("cntr_before", created_at=noon - 760)
    harbour.yards[THERE].put("cntr_elsewhere", created_at=noon - 590)
    harvest = await harbour.reaper.reap(Criteria(unknown=True))
    assert ids(harvest) == ["cntr_elsewhere", "cntr_before"]


async def test_what_is_registered_while_the_list_comes_is_not_unknown(harbour: Harbour) -> None:
    async def register(line: str) -> None:
        if line.startswith("GET"):
            await harbour.add("cntr_1", listed=False)

    harbour.here.put("cntr_1", created_at=NOON.timestamp() - 60)
    harbour.here.before_answer = register
    assert ids(await harbour.reaper.reap(Criteria(unknown=True))) == []


async def test_a_silent_deployment_does_not_hide_another(harbour: Harbour) -> None:
    harbour.here.list_status = 500
    harbour.yards[THERE].put("cntr_there", created_at=NOON.timestamp() - 60)
    harvest = await harbour.reaper.reap(Criteria(unknown=True))
    assert ids(harvest) == ["cntr_there"]
    assert harvest.unlisted == {HERE: "its list answered 500"}


# Deleting.


async def test_a_deletion_counts_at_once_in_this_process(harbour: Harbour) -> None:
    await harbour.add("cntr_1")
    assert await harbour.ownerships.any("cntr_1")
    await harbour.reaper.reap(SEA, dry_run=False)
    known = harbour.ownerships.cached("cntr_1")
    assert known
    assert known.deleted


async def test_one_that_the_upstream_does_not_know_is_gone(harbour: Harbour) -> None:
    await harbour.add("cntr_1", listed=False)
    harvest = await harbour.reaper.reap(SEA, dry_run=False)
    assert outcomes(harvest) == {"cntr_1": "gone"}
    assert await harbour.status("cntr_1") == "gone"


async def test_a_refusal_is_a_failure_and_the_container_stays(harbour: Harbour) -> None:
    for name in ("cntr_1", "cntr_2"):
        await harbour.add(name)
    harbour.here.statuses["cntr_1"] = 429
    harvest = await harbour.reaper.reap(SEA, dry_run=False)
    assert outcomes(harvest) == {"cntr_2": "deleted", "cntr_1": "failed"}
    assert [each.trouble for each in harvest.reaped] == [None, "its deployment answered 429"]
    assert await harbour.status("cntr_1") == "running"


async def test_a_deployment_that_fails_again_and_again_is_left_in_peace(harbour: Harbour) -> None:
    for number in range(MAX_FAILURES + AT_ONCE + 3):
        await harbour.add(f"cntr_{number}")
        harbour.here.statuses[f"cntr_{number}"] = 500
    await harbour.add("cntr_there", deployment=THERE, hours_old=9)
    harvest = await harbour.reaper.reap(SEA, dry_run=False)
    assert MAX_FAILURES <= len(harbour.here.deletions) < MAX_FAILURES + AT_ONCE
    assert harvest.count(Outcome.FAILED) == MAX_FAILURES + AT_ONCE + 3
    assert harbour.yards[THERE].deletions == ["cntr_there"]


async def test_one_whose_deployment_was_taken_out_cannot_be_deleted(harbour: Harbour) -> None:
    await harbour.add("cntr_1", deployment="taken out")
    (reaped,) = (await harbour.reaper.reap(SEA, dry_run=False)).reaped
    assert (reaped.outcome, reaped.trouble) == (Outcome.FAILED, "its deployment is not configured here")


async def test_no_more_than_a_few_deletions_at_a_time(harbour: Harbour) -> None:
    for number in range(AT_ONCE * 3):
        await harbour.add(f"cntr_{number}")
    under_way, most = 0, 0
    full = asyncio.Event()

    async def wait_for_the_others(line: str) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if under_way == AT_ONCE:
            full.set()
        await full.wait()
        await asyncio.sleep(0)
        under_way -= 1

    harbour.here.before_answer = wait_for_the_others
    async with asyncio.timeout(10):
        harvest = await harbour.reaper.reap(SEA, dry_run=False)
    assert harvest.count(Outcome.DELETED) == AT_ONCE * 3
    assert most == AT_ONCE


Change = Callable[[Harbour, Container], Awaitable[None]]


async def use(harbour: Harbour, container: Container) -> None:
    await harbour.containers.adopt(replace(container, last_active_at=NOON))


async def give_away(harbour: Harbour, container: Container) -> None:
    await harbour.containers.adopt(replace(container, owner="team:lake"))


async def end(harbour: Harbour, container: Container) -> None:
    await harbour.containers.end(container.container_id, Ending.DELETED, NOON)


@pytest.mark.parametrize("change", [use, give_away, end])
async def test_one_that_changes_before_its_turn_is_kept(harbour: Harbour, change: Change) -> None:
    """The others are being deleted when it changes."""
    added = [await harbour.add(f"cntr_{number}", hours_old=2 + number) for number in range(AT_ONCE + 1)]

    async def meddle(line: str) -> None:
        if line.startswith("DELETE"):
            await change(harbour, added[-1])

    harbour.here.before_answer = meddle
    wanted = Criteria(owner="team:sea", idle_for=timedelta(hours=1))
    harvest = await harbour.reaper.reap(wanted, dry_run=False)
    assert outcomes(harvest) == dict.fromkeys((each.container_id for each in added[:-1]), "deleted") | {
        added[-1].container_id: "kept"
    }
    assert added[-1].container_id not in harbour.here.deletions


async def test_an_unknown_one_that_is_adopted_before_its_turn_is_kept(harbour: Harbour) -> None:
    for number in range(AT_ONCE + 1):
        harbour.here.put(f"cntr_{number}", created_at=NOON.timestamp() - 60 - number)

    async def adopt(line: str) -> None:
        if line.startswith("DELETE"):
            await harbour.add(f"cntr_{AT_ONCE}", listed=False)

    harbour.here.before_answer = adopt
    harvest = await harbour.reaper.reap(Criteria(unknown=True), dry_run=False)
    assert (harvest.count(Outcome.DELETED), harvest.count(Outcome.KEPT)) == (AT_ONCE, 1)
    assert await harbour.status(f"cntr_{AT_ONCE}") == "running"


async def test_where_the_registry_falls_silent_no_more_is_deleted_and_what_was_is_written_later(
    harbour: Harbour,
) -> None:
    for number in range(AT_ONCE + 1):
        await harbour.add(f"cntr_{number}", hours_old=1 + number)
    silent = asyncio.Event()

    async def silence(line: str) -> None:
        if len(harbour.here.deletions) == AT_ONCE and not silent.is_set():
            await harbour.rename_table("containers", "elsewhere")
            silent.set()
        await silent.wait()

    harbour.here.before_answer = silence
    harvest = await harbour.reaper.reap(SEA, dry_run=False)
    expected = {f"cntr_{number}": "deleted" for number in range(AT_ONCE)} | {f"cntr_{AT_ONCE}": "failed"}
    assert outcomes(harvest) == expected
    assert harvest.reaped[-1].trouble == "not tried: the registry did not answer"
    await harbour.rename_table("elsewhere", "containers")
    await harbour.notes.flush()
    assert [await harbour.status(name) for name in expected] == ["deleted"] * AT_ONCE + ["running"]


async def test_without_the_registry_nothing_is_unknown(harbour: Harbour) -> None:
    harbour.here.put("cntr_1", created_at=NOON.timestamp() - 60)
    await harbour.rename_table("containers", "elsewhere")
    with pytest.raises(StoreUnavailable):
        await harbour.reaper.reap(Criteria(unknown=True), dry_run=False)
    assert harbour.here.deletions == []


# On a schedule.


async def test_each_criterion_of_the_schedule_condemns_by_itself(harbour: Harbour) -> None:
    blocked, good = await harbour.add_key(blocked=True), await harbour.add_key()
    await harbour.add("cntr_old", hours_old=48, key_id=good, last_active_at=NOON)
    await harbour.add("cntr_idle", hours_old=3, key_id=good)
    await harbour.add("cntr_revoked", hours_old=1, key_id=blocked)
    await harbour.add("cntr_good", hours_old=1, key_id=good)
    harbour.here.put("cntr_unknown", created_at=NOON.timestamp() - 60)
    schedule = ReapSettings(
        every_seconds=60, older_than_seconds=86_400, idle_seconds=7200, revoked_keys=True, unknown=True
    )
    with captured_log() as log:
        await harbour.reaper.scheduled(schedule)
    assert set(harbour.here.deletions) == {"cntr_old", "cntr_idle", "cntr_revoked", "cntr_unknown"}
    (event,) = log.events("containers_reaped")
    counts = {name: event[name] for name in ("dry_run", "deleted", "failed", "has_more", "unlisted")}
    assert counts == {"dry_run": False, "deleted": 4, "failed": 0, "has_more": False, "unlisted": []}
    told = {each["container_id"]: each["reason"] for each in log.events("container_reaped")}
    assert told["cntr_revoked"] == "made by a key that is blocked"
    assert told.keys() == set(harbour.here.deletions)


async def test_a_dry_schedule_only_logs(harbour: Harbour) -> None:
    await harbour.add("cntr_1", hours_old=2)
    with captured_log() as log:
        await harbour.reaper.scheduled(ReapSettings(every_seconds=60, older_than_seconds=3600, dry_run=True))
    assert harbour.here.asked == []
    assert [event["would_delete"] for event in log.events("containers_reaped")] == [1]
    assert [event["container_id"] for event in log.events("container_reaped")] == ["cntr_1"]


async def test_one_process_reaps_for_all(harbour: Harbour) -> None:
    schedule = ReapSettings(every_seconds=60, older_than_seconds=3600)
    await harbour.reaper.scheduled(schedule)
    await harbour.add("cntr_1", hours_old=2)
    await harbour.reaper.scheduled(schedule)
    assert harbour.here.asked == []


async def test_without_a_time_nothing_is_scheduled(harbour: Harbour) -> None:
    await harbour.add("cntr_1", hours_old=2)
    await harbour.reaper.scheduled(ReapSettings(older_than_seconds=3600))
    assert harbour.here.asked == []
