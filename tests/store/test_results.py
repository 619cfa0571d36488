"""What came of calls: counted once, fenced by the worker that holds them, given back where nothing was sent."""

from __future__ import annotations

import sqlite3

import pytest

from ringback.model.outcome import ANSWERED_OUTCOMES, Outcome
from ringback.model.task import NewCall
from ringback.store import calls, records
from ringback.store.calls import CallResult
from tests.store.rig import Database, Rig, recall


def test_a_result_is_stored_in_full(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(1)
        (lease,) = await rig.lease()
        result = CallResult(
            call_id=lease.call_id,
            lease_no=lease.lease_no,
            outcome=Outcome.VOICEMAIL,
            ended_at=rig.clock.ms + 9000,
            answered_at=rig.clock.ms + 2000,
            sip_code=200,
            q850_cause=16,
            ring_ms=2000,
            talk_ms=7000,
            hung_up_by="callee",
            keys="1#",
            intent="101",
            reason="beep",
            recording="1/1.wav",
        )
        async with rig.store.write() as tx:
            assert await calls.ended(tx, rig.worker, [result], rig.clock.ms, minute_seconds=60) == [task_id]
        async with rig.store.read() as tx:
            (record,) = [record async for record in records.listed(tx, task_id)]
            assert await records.count_by_end(tx, task_id) == {"voicemail": 1}
        for name in ("outcome", "ended_at", "sip_code", "q850_cause", "ring_ms", "talk_ms", "hung_up_by", "keys"):
            assert getattr(record, name) == getattr(result, name), name
        assert record.recording == "1/1.wav"
        assert (record.intent, record.reason, record.trunk, record.started_at) == ("101", "beep", "t1", rig.clock.ms)
        task = await rig.task(task_id)
        assert (task.answered, task.failed, task.talk_ms) == (1, 0, 7000)

    database.run(story)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_is_counted_as_answered_or_failed(file_database: Database, outcome: Outcome) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(1)
        await rig.run_all(task_id, [(outcome, None)])
        task = await rig.task(task_id)
        assert (task.answered, task.failed) == ((1, 0) if outcome in ANSWERED_OUTCOMES else (0, 1))

    file_database.run(story)


def test_one_commit_for_calls_of_several_tasks_and_trunks(database: Database) -> None:
    async def story(rig: Rig) -> None:
        other_account = await rig.new_account("other")
        other_trunk = await rig.new_trunk("t2", channels=9)
        await rig.run_sql("UPDATE application SET trunk_id = :t WHERE id = :id", t=other_trunk, id=other_account[1])
        first, second = await rig.new_task(3), await rig.new_task(2)
        third = await rig.new_task(4, account=other_account)
        leased = await rig.lease()
        assert len(leased) == 9
        assert {lease.trunk_id for lease in leased if lease.task_id == third} == {other_trunk}
        kept = next(lease for lease in leased if lease.task_id == second)
        done = [lease.call_id for lease in leased if lease is not kept]
        assert sorted(await rig.end(*done[:4], outcome=Outcome.BUSY)) == []
        assert sorted(await rig.end(*done[4:])) == [first, third]
        await rig.check_counters()
        assert (await rig.task(first)).failed + (await rig.task(second)).failed + (await rig.task(third)).failed == 4
        assert dict(await rig.rows("SELECT name, busy FROM trunk")) == {"t1": 1, "t2": 0}
        assert await rig.end(kept.call_id) == [second]

    database.run(story)


def test_a_result_counts_once(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(2)
        one, two = await rig.lease()
        # Twice in one commit, then in commits of their own.
        twice = [
            CallResult(call_id=one.call_id, lease_no=one.lease_no, outcome=Outcome.BUSY, ended_at=rig.clock.ms)
        ] * 2
        async with rig.store.write() as tx:
            assert await calls.ended(tx, rig.worker, twice, rig.clock.ms, minute_seconds=60) == []
        assert await rig.end(one.call_id, outcome=Outcome.ANSWERED) == []
        await rig.answer(one.call_id)
        await rig.release(one.call_id)
        await rig.check_counters()
        task = await rig.task(task_id)
        assert (task.failed, task.answered, task.active) == (1, 0, 1)
        assert await rig.one("SELECT outcome FROM call WHERE id = :id", id=one.call_id) == "busy"
        assert await rig.end(two.call_id) == [task_id]
        assert await rig.end(two.call_id) == []

    database.run(story)


def test_another_workers_word_changes_nothing(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await rig.new_task(3)
        dialling, answered, _queued = [lease.call_id for lease in await rig.lease(2)] + [3]
        await rig.answer(answered)
        stranger = await rig.new_worker()
        before = await rig.rows("SELECT * FROM call ORDER BY id")
        for call_id in (1, 2, 3, 99):
            await rig.answer(call_id, worker=stranger)
            await rig.release(call_id, worker=stranger)
            assert await rig.end(call_id, worker=stranger) == []
        assert await rig.rows("SELECT * FROM call ORDER BY id") == before
        # And the worker itself cannot end what it does not hold, nor give back what was answered.
        assert await rig.end(3) == []
        await rig.release(answered)
        await rig.answer(3)
        assert await rig.rows("SELECT * FROM call ORDER BY id") == before
        await rig.check_counters()
        async with rig.store.read() as tx:
            assert await calls.held_by(tx, stranger) == []
            held = await calls.held_by(tx, rig.worker)
        assert {one.call_id: one.state for one in held} == {dialling: "dialling", answered: "in_progress"}

    database.run(story)


def test_results_of_the_dead_can_be_stored_in_their_name(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(2)
        leased = await rig.lease()
        await rig.new_worker()
        # After a restart: the new worker settles what the old one held, under the old one's id.
        assert await rig.end(*(one.call_id for one in leased), outcome=Outcome.UNKNOWN, worker=rig.worker) == [task_id]
        assert (await rig.task(task_id)).failed == 2

    database.run(story)


def test_what_is_given_back_is_leased_again_in_its_old_place(database: Database) -> None:
    async def story(rig: Rig) -> None:
        numbers = [NewCall(f"49{n:08}", "Europe/Berlin" if n % 3 else "Asia/Tokyo", None) for n in range(12)]
        await rig.new_task(numbers)
        leased = await rig.lease(9)
        back = leased[1:8:3]
        await rig.release(*(lease.call_id for lease in back))
        await rig.check_counters()
        for lease in back:
            row = (await rig.rows("SELECT * FROM call WHERE id = :id", id=lease.call_id))[0]
            assert (row.state, row.worker_id, row.trunk_id, row.started_at) == ("queued", None, None, None)
        again = await rig.lease(6)
        assert {lease.callee for lease in leased} - {lease.callee for lease in back} | {
            lease.callee for lease in again
        } == {one.callee for one in numbers}
        # Within its zone, a number that was given back comes before those that had not been leased yet.
        zone_of = {one.callee: one.zone for one in numbers}
        for zone in ("Europe/Berlin", "Asia/Tokyo"):
            ids = [lease.call_id for lease in again if zone_of[lease.callee] == zone]
            assert ids == sorted(ids)

    database.run(story)


def test_what_is_given_back_bit_by_bit_is_all_leased_again(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await rig.new_task(6)
        leased = await rig.lease(5)
        # An early one, then a later one: the second must not hide the first.
        for number in (1, 3, 0, 4):
            await rig.release(leased[number].call_id)
            await rig.check_counters()
        again = [lease.call_id for lease in await rig.lease(5)]
        assert again == [leased[number].call_id for number in (0, 1, 3, 4)] + [leased[4].call_id + 1]

    database.run(story)


def test_what_is_given_back_while_paused_waits(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(3)
        leased = await rig.lease(2)
        await rig.suspend(task_id)
        await rig.release(*(lease.call_id for lease in leased))
        task = await rig.task(task_id)
        assert (task.state, task.queued, task.active) == ("suspended", 3, 0)
        assert await rig.lease() == []
        await rig.resume(task_id)
        assert len(await rig.lease()) == 3

    database.run(story)


def test_what_is_given_back_after_a_cancellation_is_cancelled(database: Database) -> None:
    async def story(rig: Rig) -> None:
        cancelled, living = await rig.new_task(3), await rig.new_task(3)
        leased = await rig.lease()
        await rig.cancel(cancelled)
        await rig.release(*(lease.call_id for lease in leased))
        await rig.check_counters()
        task = await rig.task(cancelled)
        assert (task.state, task.queued, task.active, task.cancelled) == ("cancelled", 0, 0, 3)
        assert [await rig.state_of(lease.call_id) for lease in leased if lease.task_id == cancelled] == [
            "cancelled"
        ] * 3
        assert {lease.task_id for lease in await rig.lease()} == {living}

    database.run(story)


def test_giving_back_the_last_call_does_not_finish_the_task(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(2, flow=recall())
        one, two = await rig.lease()
        assert await rig.end(one.call_id) == []
        await rig.release(two.call_id)
        assert (await rig.task(task_id)).state == "calling"
        assert (await rig.flow_of(task_id)).nodes[0].due_at is None
        (two,) = await rig.lease()
        assert await rig.end(two.call_id) == [task_id]

    database.run(story)


def test_a_flood_of_results_fits_in_one_commit(file_database: Database) -> None:
    """After an outage of the database everything that ended meanwhile is stored together."""

    async def story(rig: Rig) -> None:
        async with rig.store.write() as tx:
            raw = await tx.get_raw_connection()
            assert raw.driver_connection is not None
            # As SQLite is built by default; the one under test may take more.
            raw.driver_connection._conn.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 32_766)
        count = 33_000
        task_id = await rig.new_task(count)
        await rig.run_sql(
            "UPDATE call SET state = 'dialling', worker_id = :w, trunk_id = :t, lease_no = 0, started_at = 1",
            w=rig.worker,
            t=rig.trunk,
        )
        await rig.run_sql("UPDATE lane SET queued = 0")
        await rig.run_sql("UPDATE task SET queued = 0, active = :n", n=count)
        await rig.run_sql("UPDATE trunk SET channels = :n, busy = :n", n=count)
        ids = [row.id for row in await rig.rows("SELECT id FROM call")]
        await rig.release(*ids[:100])
        assert await rig.end(*ids) == []
        assert (await rig.task(task_id)).queued == 100
        assert (await rig.task(task_id)).answered == count - 100
        await rig.cancel(task_id)

    file_database.run(story)
