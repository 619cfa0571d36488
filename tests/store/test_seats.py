"""Phones taken for calls, and calls whose phone is called first, in the store."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringback.roles.leasing import REACH_US
from ringback.store import calls, phone_first, registrations, seats
from ringback.store.calls import Answer
from ringback.store.leases import Lease
from ringback.store.phone_first import NoSlotYet, NotNow
from ringback.store.registrations import Contact
from ringback.store.seats import NoPhone, TakenPhone
from tests.store.rig import GRACE_US, Database, Rig
from tests.store.test_phones import add, new

LONG_MS = 60_000


async def registered(rig: Rig, *logins: str, name: str = "sales") -> int:
    group = await add(rig, name, new(*logins))
    async with rig.store.write() as tx:
        for login in logins:
            await registrations.register(tx, login, Contact("me", "192.0.2.7", 5062), rig.clock.ms + 10 * LONG_MS)
    return group


async def take(rig: Rig, lease: Lease, **parts: Any) -> TakenPhone:
    async with rig.store.write() as tx:
        return await seats.take(
            tx,
            task_id=lease.task_id,
            call_id=lease.call_id,
            now_ms=rig.clock.ms,
            until_ms=rig.clock.ms + LONG_MS,
            **parts,
        )


def test_the_phone_that_has_been_idle_for_longest_is_taken(database: Database) -> None:
    async def story(rig: Rig) -> None:
        group = await registered(rig, "1001", "1002", "1003")
        await rig.new_task(6)
        leases = await rig.lease(6)
        found = []
        for lease in leases[:3]:
            rig.clock.advance(1)
            found.append((await take(rig, lease, group_id=group)).login)
        assert found == ["1001", "1002", "1003"]
        with pytest.raises(NoPhone, match=f"no phone of group {group} is free"):
            await take(rig, leases[3], group_id=group)
        async with rig.store.write() as tx:
            await seats.free(tx, leases[1].call_id, "1001")  # not its phone
            await seats.free(tx, leases[1].call_id, "1002")
            await seats.free(tx, leases[0].call_id, "1001")
        rig.clock.advance(1)
        again = [(await take(rig, lease, group_id=group)).login for lease in leases[3:5]]
        assert again == ["1001", "1002"]

    database.run(story)


def test_what_is_passed_or_not_registered_is_not_taken(database: Database) -> None:
    async def story(rig: Rig) -> None:
        group = await registered(rig, "1001", "1002")
        await rig.new_task(3)
        first, second, third = await rig.lease(3)
        taken = await take(rig, first, group_id=group, passed=["1001"])
        assert taken == TakenPhone("1002", Contact("me", "192.0.2.7", 5062))
        with pytest.raises(NoPhone, match="phone '1002' is busy"):
            await take(rig, second, login="1002")
        with pytest.raises(NoPhone, match="there is no phone '1009'"):
            await take(rig, second, login="1009")
        with pytest.raises(NoPhone, match="there is no group 99"):
            await take(rig, second, group_id=99)
        async with rig.store.write() as tx:
            await registrations.unregister(tx, "1001")
        with pytest.raises(NoPhone, match="phone '1001' is not registered"):
            await take(rig, second, login="1001")
        rig.clock.advance(11 * LONG_MS)
        with pytest.raises(NoPhone, match=f"no phone of group {group} is registered"):
            await take(rig, third, group_id=group)
        assert (await take(rig, third, login="1001", registered_only=False)).login == "1001"

    database.run(story)


def test_a_phone_is_free_when_its_call_is_over_or_has_lasted_too_long(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await registered(rig, "1001")
        await rig.new_task(3)
        first, second, third = await rig.lease(3)
        await take(rig, first, login="1001")
        async with rig.store.write() as tx:
            await calls.answered(tx, rig.worker, [Answer(first.call_id, first.lease_no, rig.clock.ms)])
        with pytest.raises(NoPhone):
            await take(rig, second, login="1001")
        await rig.end(first.call_id)
        await take(rig, second, login="1001")
        with pytest.raises(NoPhone):
            await take(rig, third, login="1001")
        rig.clock.advance(LONG_MS)
        await take(rig, third, login="1001")

    database.run(story)


def test_another_accounts_phones_are_none(database: Database) -> None:
    async def story(rig: Rig) -> None:
        group = await registered(rig, "1001")
        await rig.new_task(1, account=await rig.new_account("other"))
        (lease,) = await rig.lease(1)
        for wanted in ({"group_id": group}, {"login": "1001"}):
            with pytest.raises(NoPhone, match="there is no"):
                await take(rig, lease, **wanted)

    database.run(story)


def test_how_many_are_registered(database: Database) -> None:
    async def story(rig: Rig) -> None:
        group = await registered(rig, "1001", "1002")
        other, _ = await rig.new_account("other")
        async with rig.store.write() as tx:
            await registrations.unregister(tx, "1001")
            assert await seats.callable_in(tx, rig.account, group, rig.clock.ms) == 1
            assert await seats.callable_in(tx, rig.account, group, rig.clock.ms + 100 * LONG_MS) == 0
            assert await seats.callable_in(tx, other, group, rig.clock.ms) is None
            assert await seats.callable_in(tx, rig.account, group, rig.clock.ms, registered_only=False) == 2

    database.run(story)


@pytest.mark.enable_socket
def test_two_workers_never_take_the_same_phone(postgres_database: Database) -> None:
    async def story(rig: Rig) -> None:
        group = await registered(rig, *[str(number) for number in range(1001, 1009)])
        await rig.new_task(12)
        leases = await rig.lease(12)
        found = await asyncio.gather(*(take(rig, lease, group_id=group) for lease in leases), return_exceptions=True)
        logins = [one.login for one in found if isinstance(one, TakenPhone)]
        assert len(logins) == len(set(logins)) == 8
        assert sum(isinstance(one, NoPhone) for one in found) == 4

    postgres_database.run(story)


# --- the phone first ---


async def slot(rig: Rig, lease: Lease) -> tuple[int, int]:
    async with rig.store.write() as tx:
        return await phone_first.take_slot(
            tx, rig.worker, lease, now_us=rig.clock.us, grace_us=GRACE_US, reach_us=REACH_US
        )


def test_a_slot_is_the_trunks_next_and_a_stop_waits_for_it(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await rig.run_sql("UPDATE trunk SET calls_per_second = 2")
        task_id = await rig.new_task(2)
        first, second = await rig.lease(1), await _lease_later(rig)
        rig.clock.advance(10_000)
        now = rig.clock.us
        assert await slot(rig, first[0]) == (now, GRACE_US)
        assert await slot(rig, second) == (now + 500_000, GRACE_US), "half a second later"
        leaves_until = await rig.one("SELECT leaves_until FROM task WHERE id = :id", id=task_id)
        assert leaves_until >= (now + 500_000 + GRACE_US) // 1000

    database.run(story)


async def _lease_later(rig: Rig) -> Lease:
    rig.clock.advance(1_000)
    (lease,) = await rig.lease(1)
    return lease


def test_a_slow_trunk_gives_the_slot_that_was_not_used(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await rig.run_sql("UPDATE trunk SET calls_per_second = 0.01")
        await rig.new_task(1)
        (lease,) = await rig.lease(1)
        rig.clock.advance(5_000)
        assert (await slot(rig, lease))[0] == rig.clock.us
        with pytest.raises(NoSlotYet, match="no free slot"):
            await slot(rig, lease)
        rig.clock.advance(100_000 - REACH_US // 1000)
        assert (await slot(rig, lease))[0] == rig.clock.us + REACH_US

    database.run(story)


@pytest.mark.parametrize("what", ["cancelled", "suspended", "shut", "released", "held"])
def test_what_has_changed_while_it_rang_holds(database: Database, what: str) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(1)
        (lease,) = await rig.lease(1)
        why = {
            "cancelled": "its task is cancelled",
            "suspended": "its task is suspended",
            "shut": "trunk t1 is shut",
            "released": "not held any more",
            "held": "restored",
        }[what]
        match what:
            case "cancelled":
                await rig.cancel(task_id)
            case "suspended":
                await rig.suspend(task_id)
            case "shut":
                await rig.run_sql(
                    "UPDATE breaker SET opened_at = 1, retry_at = 1, cause = 'silent', strikes = 10, failures = 5, "
                    "tries = 1, openings = 1"
                )
            case "released":
                async with rig.store.write() as tx:
                    await calls.released(tx, rig.worker, [(lease.call_id, lease.lease_no)])
            case "held":
                await rig.run_sql("UPDATE provenance SET held_since = 1, held_reason = 'restored'")
        with pytest.raises(NotNow, match=why):
            await slot(rig, lease)

    database.run(story)


def test_a_skipped_call_is_counted_once_and_ends_its_task(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(2)
        first, second = await rig.lease(2)

        async def skip(lease: Lease) -> list[int]:
            async with rig.store.write() as tx:
                skips = [(lease.call_id, lease.lease_no, "nobody there")]
                return await phone_first.skipped(tx, rig.worker, skips, rig.clock.ms, minute_seconds=60)

        assert await skip(first) == []
        assert await skip(first) == [], "again changes nothing"
        task = await rig.task(task_id)
        assert (task.skipped, task.active, task.queued) == (1, 1, 0)
        assert await rig.one("SELECT busy FROM trunk") == 1
        assert await rig.one("SELECT reason FROM call WHERE id = :id", id=first.call_id) == "nobody there"
        assert await rig.one("SELECT sum(queued) FROM lane") == 0, "it is not queued"
        assert await skip(second) == [task_id]
        assert (await rig.task(task_id)).state == "finished"
        await rig.check_counters()

    database.run(story)


def test_a_skipped_call_of_a_cancelled_task_is_cancelled(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(1)
        (lease,) = await rig.lease(1)
        await rig.cancel(task_id)
        async with rig.store.write() as tx:
            skips = [(lease.call_id, lease.lease_no, "nobody there")]
            await phone_first.skipped(tx, rig.worker, skips, rig.clock.ms, minute_seconds=60)
        task = await rig.task(task_id)
        assert (task.state, task.cancelled, task.skipped, task.active) == ("cancelled", 1, 0, 0)
        await rig.check_counters()

    database.run(story)
