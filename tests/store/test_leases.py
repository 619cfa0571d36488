"""Leases: every limit at once, in order, fairly, and no call to two workers."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise

import pytest

from ringback.model.task import NewCall
from ringback.model.windows import Window
from ringback.store import outlook, trunks, workers
from tests.store.rig import GRACE_US, HORIZON_US, START_MS, Database, Rig, SetClock


def test_a_lease_says_all_that_placing_the_call_needs(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await rig.run_sql("UPDATE application SET caller_id = '4930999'")
        new = NewCall("4915100000001", "Europe/Berlin", '{"text1":"a"}')
        task_id = await rig.new_task([new], ring_seconds=33)
        batch = await rig.lease_batch()
        (lease,) = batch.leases
        assert (lease.task_id, lease.trunk_id, lease.template_id) == (task_id, rig.trunk, rig.template)
        assert (lease.callee, lease.texts, lease.caller_id) == ("4915100000001", '{"text1":"a"}', "4930999")
        assert lease.limits.ring_seconds == 33
        assert lease.slot_us == rig.clock.us
        assert batch.routes[rig.trunk].name == "t1"
        assert batch.waiting == {}
        row = (await rig.rows("SELECT * FROM call"))[0]
        assert (row.state, row.worker_id, row.trunk_id, row.started_at) == (
            "dialling",
            rig.worker,
            rig.trunk,
            rig.clock.ms,
        )

    database.run(story)


def test_a_task_has_its_own_caller_id_before_that_of_its_application(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await rig.run_sql("UPDATE application SET caller_id = '4930999'")
        await rig.new_task(1)
        await rig.run_sql("UPDATE task SET caller_id = '4930111'")
        assert [lease.caller_id for lease in await rig.lease()] == ["4930111"]

    database.run(story)


def test_numbers_leave_in_the_order_in_which_they_were_given(database: Database) -> None:
    async def story(rig: Rig) -> None:
        numbers = [f"49{(number * 7919) % 100_000:08}" for number in range(40)]
        await rig.new_task(numbers)
        assert [lease.callee for lease in await rig.lease(40)] == numbers

    database.run(story, rate=50.0)


@pytest.mark.parametrize("rate", [3.0, 30.0, 250.0])
def test_the_rate_of_the_trunk_holds(file_database: Database, rate: float) -> None:
    async def story(rig: Rig) -> None:
        await rig.new_task(200)
        slots: list[int] = []
        for tick in (5, 20, 50, 1, 99, 400, 0, 30) * 4:
            batch = await rig.lease_batch()
            slots += [lease.slot_us for lease in batch.leases]
            rig.clock.advance(tick)
        assert slots
        assert all(later - earlier >= 1_000_000 / rate for earlier, later in pairwise(slots))

    file_database.run(story, rate=rate)


def test_the_channels_of_the_trunk_hold(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(20)
        other = await rig.new_task(20)
        batch = await rig.lease_batch()
        assert len(batch.leases) == 5
        rig.clock.advance(1000)
        batch = await rig.lease_batch()
        assert batch.leases == []
        assert batch.waiting == dict.fromkeys((task_id, other), "all lines of trunk t1 are busy")
        assert batch.wake_us is None
        held = await rig.rows("SELECT id FROM call WHERE state = 'dialling'")
        await rig.answer(held[0].id)
        assert (await rig.lease_batch()).leases == []
        await rig.end(held[0].id, held[1].id)
        assert len((await rig.lease_batch()).leases) == 2

    database.run(story, channels=5)


def test_the_lines_of_the_task_hold(database: Database) -> None:
    async def story(rig: Rig) -> None:
        narrow = await rig.new_task(20, lines=2)
        wide = await rig.new_task(4)
        leased = await rig.lease()
        assert Counter(lease.task_id for lease in leased) == {narrow: 2, wide: 4}
        rig.clock.advance(1000)
        batch = await rig.lease_batch()
        assert batch.leases == []
        assert batch.waiting == {narrow: "all 2 lines of the task are in use"}
        await rig.end(next(lease.call_id for lease in leased if lease.task_id == narrow))
        assert [lease.task_id for lease in await rig.lease()] == [narrow]

    database.run(story)


def test_the_lines_of_the_worker_hold(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(20)
        assert len((await rig.lease_batch(free_lines=3)).leases) == 3
        batch = await rig.lease_batch(free_lines=0)
        assert batch.leases == []
        assert batch.waiting == {task_id: "all lines of the telephony engine are busy"}

    database.run(story)


def test_the_calling_windows_hold_in_the_callees_own_zone(database: Database) -> None:
    async def story(rig: Rig) -> None:
        # It is 08:00 UTC: 09:00 in Berlin, 03:00 in New York, 17:00 in Tokyo.
        numbers = [
            NewCall("493000000001", "Europe/Berlin", None),
            NewCall("12120000001", "America/New_York", None),
            NewCall("81300000001", "Asia/Tokyo", None),
            NewCall("4412000000", "America/New_York,Europe/Berlin", None),
        ]
        task_id = await rig.new_task(numbers, windows=(Window(9 * 60, 18 * 60),))
        batch = await rig.lease_batch()
        assert [lease.callee for lease in batch.leases] == ["81300000001", "493000000001"]
        assert batch.waiting == {}
        # New York opens at 14:00 UTC.
        assert batch.wake_us == (START_MS + 6 * 3_600_000) * 1000
        batch = await rig.lease_batch()
        assert batch.waiting == {task_id: "outside the calling windows of its numbers"}
        rig.clock.advance(6 * 3_600_000 - 1)
        assert await rig.lease() == []
        rig.clock.advance(1)
        assert {lease.callee for lease in await rig.lease()} == {"12120000001", "4412000000"}

    database.run(story)


def test_a_call_that_might_leave_after_the_window_closes_is_not_leased(database: Database) -> None:
    async def story(rig: Rig) -> None:
        # Open until 09:01 in Berlin, which is one minute from now.
        await rig.new_task(2, windows=(Window(8 * 60, 9 * 60 + 1),))
        rig.clock.us += 60_000_000 - HORIZON_US - GRACE_US
        assert await rig.lease() == []
        rig.clock.us -= 1000
        assert len(await rig.lease()) == 2

    database.run(story)


def test_a_trunk_of_another_engine_is_no_trunk(database: Database) -> None:
    async def story(rig: Rig) -> None:
        sip = await rig.new_trunk("carrier", engine="sip")
        await rig.run_sql("UPDATE application SET trunk_id = :id", id=sip)
        task_id = await rig.new_task(2)
        batch = await rig.lease_batch()
        assert (batch.leases, batch.waiting) == ([], {task_id: "there is no trunk to dial through"})
        async with rig.store.read() as tx:
            assert await outlook.waiting_reasons(tx, engine="sandbox", now_us=rig.clock.us) == batch.waiting
            assert await outlook.waiting_reasons(tx, engine="sip", now_us=rig.clock.us) == {task_id: "no dialler runs"}
        await rig.new_worker(engine="sip")
        async with rig.store.read() as tx:
            assert await outlook.waiting_reasons(tx, engine="sip", now_us=rig.clock.us) == {}

    database.run(story)


def test_small_and_huge_tasks_share_a_trunk(database: Database) -> None:
    async def story(rig: Rig) -> None:
        huge = await rig.new_task(500)
        small = await rig.new_task(20)
        got: Counter[int] = Counter()
        while got[small] < 20:
            for lease in await rig.lease():
                got[lease.task_id] += 1
                await rig.end(lease.call_id)
            rig.clock.advance(50)
        assert got[huge] <= 21
        assert (await rig.task(small)).state == "finished"

    database.run(story, rate=30.0, channels=4)


def test_a_task_that_came_later_does_not_wait_for_the_first(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await rig.new_task(500)
        for _ in range(20):
            await rig.lease()
            rig.clock.advance(100)
        late = await rig.new_task(1)
        assert late in {lease.task_id for lease in await rig.lease()}

    database.run(story, rate=10.0)


def test_a_lease_takes_nothing_of_tasks_that_do_not_call(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await rig.new_task(2, send_in_ms=1000)
        suspended, cancelled = await rig.new_task(2), await rig.new_task(2)
        await rig.suspend(suspended)
        await rig.cancel(cancelled)
        batch = await rig.lease_batch()
        assert (batch.leases, batch.waiting, batch.wake_us) == ([], {}, None)

    database.run(story)


def test_waiting_reasons_change_nothing(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await rig.new_task(4)
        async with rig.store.read() as tx:
            # Between two slots of a slow trunk is no reason; a full trunk is one.
            assert await outlook.waiting_reasons(tx, engine="sandbox", now_us=rig.clock.us) == {}
        assert len(await rig.lease()) == 1
        async with rig.store.read() as tx:
            assert await outlook.waiting_reasons(tx, engine="sandbox", now_us=rig.clock.us) == {}
        rig.clock.advance(1000)
        assert len(await rig.lease()) == 1
        async with rig.store.read() as tx:
            reasons = await outlook.waiting_reasons(tx, engine="sandbox", now_us=rig.clock.us)
        assert list(reasons.values()) == ["all lines of trunk t1 are busy"]

    database.run(story, rate=1.0, channels=2)


def test_two_workers_never_get_the_same_call(file_database: Database) -> None:
    """Two programs on one file, asking at the same time."""

    async def main() -> None:
        clock = SetClock()
        async with file_database.opened(clock) as rig, file_database.opened(clock) as twin:
            await rig.furnish(rate=1000.0, channels=300)
            await rig.new_task(150)
            await rig.new_task(150)
            second = await twin.new_worker()
            first = await rig.new_worker()
            taken: list[tuple[int, int]] = []

            async def work(mine: Rig, worker: int) -> None:
                for _ in range(40):
                    for lease in (await mine.lease_batch(worker=worker, free_lines=7)).leases:
                        taken.append((lease.call_id, worker))
                        await mine.end(lease.call_id, worker=worker)
                    clock.advance(7)

            await asyncio.gather(work(rig, first), work(twin, second))
            assert len(taken) == len({call_id for call_id, _ in taken}) == 300
            assert {worker for _, worker in taken} == {first, second}
            assert await rig.one("SELECT count(*) FROM task WHERE state = 'finished'") == 2
            await rig.check_counters()

    asyncio.run(main())


def test_a_worker_id_is_never_used_again(database: Database) -> None:
    async def story(rig: Rig) -> None:
        ids = [await rig.new_worker() for _ in range(3)]
        async with rig.store.write() as tx:
            await workers.ended(tx, ids[-1], rig.clock.ms)
        await rig.run_sql("DELETE FROM worker")
        assert await rig.new_worker() > ids[-1]

    database.run(story)


def test_a_trunk_that_carried_calls_stays(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await rig.new_task(1)
        spare = await rig.new_trunk("spare")
        await rig.lease()
        async with rig.store.write() as tx:
            with pytest.raises(trunks.TrunkInUse):
                await trunks.remove(tx, "t1")
            assert await trunks.remove(tx, "spare")
            assert not await trunks.remove(tx, "spare")
            assert [one.id for one in await trunks.everyone(tx)] == [rig.trunk]
            assert [one.busy for one in await trunks.of_engine(tx, "sandbox")] == [1]
        assert await rig.new_trunk("spare") > spare

    database.run(story)
