"""Workers: who lives, who is fenced off, and that a lease is nobody's but its worker's."""

from __future__ import annotations

import pytest

from ringback.store import calls, leases, outlook, workers
from ringback.store.workers import FORGOTTEN_AFTER_MS, Fenced, OtherWorker
from tests.store.rig import ENGINE, GRACE_US, HORIZON_US, Database, Rig


async def others(rig: Rig) -> list[OtherWorker]:
    async with rig.store.read() as tx:
        return await workers.others(tx, rig.worker)


async def beat(rig: Rig, worker: int, *, idle: bool = False) -> None:
    async with rig.store.write() as tx:
        await workers.beat(tx, worker, rig.clock.ms, idle=idle)


async def fence(rig: Rig, dead: OtherWorker, by: int | None = None) -> bool:
    async with rig.store.write() as tx:
        return await workers.fence(tx, dead, by or rig.worker, rig.clock.ms)


async def undo(rig: Rig, worker: int, lease_no: int) -> list[int]:
    async with rig.store.write() as tx:
        return await leases.undo(tx, worker, lease_no)


def test_a_beat_is_seen_by_the_others(database: Database) -> None:
    async def story(rig: Rig) -> None:
        other = await rig.new_worker()
        (before,) = await others(rig)
        assert (before.id, before.engine, before.idle, before.fenced_by) == (other, ENGINE, False, None)
        await beat(rig, other)
        (after,) = await others(rig)
        assert after.beats > before.beats
        await beat(rig, other, idle=True)
        assert (await others(rig))[0].idle
        async with rig.store.write() as tx:
            await workers.ended(tx, other, rig.clock.ms)
        assert await others(rig) == []

    database.run(story)


def test_whoever_holds_a_call_is_not_idle_whatever_it_says(database: Database) -> None:
    async def story(rig: Rig) -> None:
        other = await rig.new_worker()
        await rig.new_task(1)
        (lease,) = await rig.lease(worker=other)
        assert not (await others(rig))[0].idle
        await beat(rig, other, idle=True)
        assert not (await others(rig))[0].idle
        async with rig.store.write() as tx:
            await workers.ended(tx, other, rig.clock.ms)
        assert [one.id for one in await others(rig)] == [other], "its call would be nobody's"
        await rig.end(lease.call_id, worker=other)
        await beat(rig, other, idle=True)
        assert (await others(rig))[0].idle

    database.run(story)


def test_a_lease_is_a_beat(database: Database) -> None:
    async def story(rig: Rig) -> None:
        other = await rig.new_worker()
        await beat(rig, other, idle=True)
        (before,) = await others(rig)
        assert await rig.lease(worker=other) == []
        assert await others(rig) == [before], "a lease that gives out nothing changes nothing"
        await rig.new_task(1)
        await rig.lease(1, worker=other)
        (after,) = await others(rig)
        assert (after.beats > before.beats, after.idle) == (True, False)

    database.run(story)


def test_a_fenced_worker_leases_and_stores_nothing(database: Database) -> None:
    async def story(rig: Rig) -> None:
        other = await rig.new_worker()
        task_id = await rig.new_task(4)
        dialling, answered = [lease.call_id for lease in await rig.lease(2, worker=other)]
        await rig.answer(answered, worker=other)
        (dead,) = await others(rig)
        assert await fence(rig, dead)
        before = await rig.rows("SELECT * FROM call ORDER BY id")
        for refused in (rig.lease_batch(worker=other), beat(rig, other), undo(rig, other, 1)):
            with pytest.raises(Fenced):
                await refused
        await rig.answer(dialling, worker=other)
        await rig.release(dialling, worker=other)
        assert await rig.end(dialling, answered, worker=other) == []
        async with rig.store.write() as tx:
            await workers.ended(tx, other, rig.clock.ms)
        assert await rig.rows("SELECT * FROM call ORDER BY id") == before
        # What it held is still its, until whoever fenced it off has settled it.
        async with rig.store.read() as tx:
            assert [one.call_id for one in await calls.held_by(tx, other)] == [dialling, answered]
        assert [one.fenced_by for one in await others(rig)] == [rig.worker]
        assert len(await rig.lease(2)) == 2
        assert (await rig.task(task_id)).active == 4

    database.run(story)


def test_a_worker_that_beat_meanwhile_is_not_fenced(database: Database) -> None:
    async def story(rig: Rig) -> None:
        other = await rig.new_worker()
        (seen,) = await others(rig)
        await beat(rig, other)
        assert not await fence(rig, seen)
        await beat(rig, other)

    database.run(story)


def test_two_that_take_over_at_once(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await rig.new_worker()
        third = await rig.new_worker()
        dead = (await others(rig))[0]
        assert await fence(rig, dead)
        assert not await fence(rig, dead, third)
        # Whoever fenced it off died too: the next one takes it from there.
        (dead, _) = await others(rig)
        assert dead.fenced_by == rig.worker
        assert await fence(rig, dead, third)
        async with rig.store.write() as tx:
            await workers.settled(tx, dead.id, rig.clock.ms)
        assert [one.id for one in await others(rig)] == [third]
        assert not await fence(rig, dead)

    database.run(story)


def test_a_lease_that_was_never_confirmed_is_undone(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(5)
        first = await rig.lease(2)
        batch = await rig.lease_batch(free_lines=2)
        doubtful = [lease.call_id for lease in batch.leases]
        number = batch.leases[0].lease_no
        assert await undo(rig, rig.worker, number + 1) == [], "it was never committed"
        assert await undo(rig, rig.worker, number) == doubtful
        assert await undo(rig, rig.worker, number) == []
        assert (await rig.task(task_id)).active == len(first) == 2
        await rig.check_counters()
        again = {lease.call_id for lease in await rig.lease(3)}
        assert again == {1, 2, 3, 4, 5} - {one.call_id for one in first}

    database.run(story)


def test_what_comes_of_an_earlier_lease_changes_nothing(database: Database) -> None:
    """A release was committed though its connection broke: tried again, it must not give back the next lease."""

    async def story(rig: Rig) -> None:
        await rig.new_task(1)
        (first,) = await rig.lease()
        await rig.release(first.call_id)
        rig.clock.advance(1000)
        (second,) = await rig.lease()
        assert second.call_id == first.call_id
        assert second.lease_no > first.lease_no
        for late in (rig.release, rig.answer):
            rig.lease_nos[first.call_id] = first.lease_no
            await late(first.call_id)
            assert await rig.state_of(first.call_id) == "dialling"
        assert await rig.end(first.call_id) == []
        rig.lease_nos[first.call_id] = second.lease_no
        assert len(await rig.end(first.call_id)) == 1

    database.run(story)


def test_idle_workers_that_are_long_gone_are_forgotten(database: Database) -> None:
    async def story(rig: Rig) -> None:
        gone, silent = [await rig.new_worker() for _ in range(2)]
        await beat(rig, gone, idle=True)
        await rig.new_task(1)
        await rig.lease(1, worker=silent)
        rig.clock.advance(FORGOTTEN_AFTER_MS + 1)
        newest = await rig.new_worker()
        assert [one.id for one in await others(rig)] == [silent, newest]
        with pytest.raises(Fenced):
            await beat(rig, gone)

    database.run(story)


def test_a_worker_of_another_engine_is_no_dialler_of_this_one(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(1)

        async def reasons() -> dict[int, str]:
            async with rig.store.read() as tx:
                return await outlook.waiting_reasons(tx, engine=ENGINE, now_us=rig.clock.us)

        assert await reasons() == {}
        rig.clock.advance(60_000)
        await rig.new_worker(engine="sip")
        assert await reasons() == {task_id: "no dialler runs"}
        await beat(rig, rig.worker)
        assert await reasons() == {}

    database.run(story)


def test_a_lease_reaches_as_far_as_any_worker_may(database: Database) -> None:
    """A worker whose database is slow plans further ahead; another must not take the same slots, nor its deadline."""

    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(400)
        reach_us = 2_000_000 + HORIZON_US
        ahead = []
        for number, delay_us in ((1001, 2_000_000), (1002, 0)):
            async with rig.store.write() as tx:
                batch = await leases.lease(
                    tx,
                    worker_id=rig.worker,
                    lease_no=number,
                    engine=ENGINE,
                    now_us=rig.clock.us + delay_us,
                    horizon_us=HORIZON_US,
                    grace_us=GRACE_US,
                    reach_us=reach_us,
                    free_lines=1000,
                )
            ahead.append([lease.slot_us for lease in batch.leases])
        assert ahead[0]
        assert ahead[1] == [], "the trunk's slots are given out as far as that worker planned"
        leaves_until = await rig.one("SELECT leaves_until FROM task WHERE id = :id", id=task_id)
        assert leaves_until * 1000 >= max(ahead[0]) + GRACE_US

    database.run(story, rate=200.0)
