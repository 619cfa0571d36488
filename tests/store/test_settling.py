"""Settling: what the lost hours may have dialled ends as unknown, all else goes on, and every counter holds."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from ringback.model.audience import RecallType
from ringback.model.outcome import Outcome
from ringback.store import provenance, records, settling, templates, trunks
from ringback.store.records import CallRecord
from ringback.store.settling import NotHeld, NothingMatches, Settled
from tests.store.rig import MINUTE_MS, Database, Rig, node_states, recall

FAILED = RecallType.FAILED


async def lost(rig: Rig, minutes: float) -> None:
    """The database is as it was, so many minutes ago."""
    copied_at = rig.clock.ms
    rig.clock.advance(round(minutes * MINUTE_MS))
    async with rig.store.write() as tx:
        assert await provenance.hold(tx, "a test", rig.clock.ms)
        await tx.execute(text("UPDATE provenance SET copied_at = :at"), {"at": copied_at})
    # People need a while to find out what was dialled.
    rig.clock.advance(30 * MINUTE_MS)


async def settle(rig: Rig, dialled: set[str] | None) -> Settled:
    async with rig.store.write() as tx:
        done = await settling.settle(
            tx, None if dialled is None else frozenset(dialled), pid=1, now_ms=rig.clock.ms, minute_seconds=60
        )
    await rig.check_counters()
    return done


async def ends(rig: Rig, task_id: int) -> dict[str, str]:
    """How each number of the task stands."""
    return {one.callee: str(one.outcome or one.state) for one in await calls_of(rig, task_id)}


async def calls_of(rig: Rig, task_id: int) -> list[CallRecord]:
    async with rig.store.read() as tx:
        return await records.page(tx, task_id)


def number(index: int) -> str:
    return f"49{index:08}"


def test_a_database_that_is_not_held_is_not_settled(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await rig.new_task(3)
        with pytest.raises(NotHeld):
            await settle(rig, None)
        with pytest.raises(NotHeld):
            async with rig.store.write() as tx:
                await settling.nothing_lost(tx, rig.clock.ms)

    database.run(story)


def test_what_was_dialled_ends_and_what_was_not_goes_on(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(10)
        done, ringing, talking = await rig.lease(3)
        await rig.end(done.call_id)
        await rig.answer(talking.call_id)
        await lost(rig, 5)
        told = await settle(rig, {number(5), number(8), number(77), done.callee})
        assert (told.tasks, told.in_the_air, told.ended, told.left, told.rounds) == (1, 2, 2, 5, 0)
        assert told.strangers == 2, "one that had ended, and one that is in no task"
        stands = await ends(rig, task_id)
        assert {callee for callee, end in stands.items() if end == "unknown"} == {
            ringing.callee,
            talking.callee,
            number(5),
            number(8),
        }
        assert [callee for callee, end in stands.items() if end == "queued"] == [
            number(index) for index in (3, 4, 6, 7, 9)
        ]
        assert {one.callee: one.reason for one in await calls_of(rig, task_id)} | {
            number(5): "it was dialled after the restored copy of the database was made (2026-01-05 08:00:00 UTC)",
            talking.callee: "it was in the air when the restored copy of the database was made",
        } == {one.callee: one.reason for one in await calls_of(rig, task_id)}
        assert [one.trunk for one in await calls_of(rig, task_id) if one.callee == number(5)] == [None]
        assert {one.callee for one in await rig.lease(5)} == {
            callee for callee, end in stands.items() if end == "queued"
        }
        # Whoever held calls before is fenced off.
        assert await rig.end(ringing.call_id) == []

    database.run(story)


def test_when_nobody_knows_all_end_and_the_flow_goes_on(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(4, flow=recall(FAILED, rounds=2, interval=60))
        (answered,) = await rig.lease(1)
        await rig.end(answered.call_id)
        await lost(rig, 59)
        told = await settle(rig, None)
        assert (told.ended, told.left, told.rounds, told.strangers) == (3, 0, 0, 0)
        assert (await rig.task(task_id)).state == "finished"
        flow = await rig.flow_of(task_id)
        assert node_states(flow) == ["pending", "pending"]
        assert flow.nodes[0].due_at == rig.clock.ms + 60 * MINUTE_MS, "not early, whenever the task ended"
        round_id = await rig.start_next_node()
        assert round_id is not None
        assert await ends(rig, round_id) == {number(index): "queued" for index in (1, 2, 3)}

    database.run(story)


def test_rounds_for_which_there_was_time_may_have_run_too(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(4, flow=recall(FAILED, rounds=4, interval=10))
        await lost(rig, 25)
        told = await settle(rig, None)
        assert (told.tasks, told.ended, told.rounds) == (3, 12, 2)
        flow = await rig.flow_of(task_id)
        assert node_states(flow) == ["completed", "completed", "pending", "pending"]
        for node in flow.nodes[:2]:
            assert node.task_id is not None
            assert set((await ends(rig, node.task_id)).values()) == {"unknown"}
        assert flow.nodes[2].due_at == rig.clock.ms + 10 * MINUTE_MS

    database.run(story)


def test_a_number_that_was_not_dialled_says_that_the_next_round_had_not_begun(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(4, flow=recall(FAILED, rounds=4, interval=10))
        await lost(rig, 600)
        told = await settle(rig, {number(0), number(1), number(2)})
        assert (told.ended, told.left, told.rounds) == (3, 1, 0)
        assert node_states(await rig.flow_of(task_id)) == ["pending"] * 4
        await rig.run_all(task_id, [(Outcome.BUSY, None)])
        round_id = await rig.start_next_node()
        assert round_id is not None
        assert set(await ends(rig, round_id)) == {number(index) for index in range(4)}, "all of them failed"

    database.run(story)


def test_in_a_round_that_may_have_run_the_others_wait_the_whole_interval(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(4, flow=recall(FAILED, rounds=2, interval=10))
        busy = await rig.lease(2)
        await rig.end_each({one.call_id: (Outcome.BUSY, None) for one in busy})
        await lost(rig, 15)
        told = await settle(rig, {number(2), number(3)})
        assert (told.ended, told.left, told.rounds) == (4, 2, 1)
        round_id = (await rig.flow_of(task_id)).nodes[0].task_id
        assert round_id is not None
        assert await ends(rig, round_id) == {
            number(0): "queued",
            number(1): "queued",
            number(2): "unknown",
            number(3): "unknown",
        }
        assert await rig.submit() == []
        rig.clock.advance(10 * MINUTE_MS)
        assert await rig.submit() == [round_id]
        assert {one.callee for one in await rig.lease(2)} == {number(0), number(1)}

    database.run(story)


def test_a_round_that_was_due_is_started_and_settled(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(3, flow=recall(FAILED, rounds=2, interval=10))
        await rig.run_all(task_id, [(Outcome.BUSY, None)] * 3)
        rig.clock.advance(5 * MINUTE_MS)
        await lost(rig, 6)
        told = await settle(rig, {number(1)})
        assert (told.tasks, told.ended, told.left, told.rounds) == (1, 1, 2, 1)
        flow = await rig.flow_of(task_id)
        assert node_states(flow) == ["in_progress", "pending"]
        assert {one.callee for one in await rig.lease(2)} == {number(0), number(2)}

    database.run(story)


def test_a_round_that_was_not_due_by_then_is_left_alone(database: Database) -> None:
    """Half an hour passes until somebody settles: nothing was dialled in that time."""

    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(3, flow=recall(FAILED, rounds=2, interval=10))
        await rig.run_all(task_id, [(Outcome.BUSY, None)] * 3)
        await lost(rig, 9)
        told = await settle(rig, None)
        assert (told.tasks, told.ended, told.rounds) == (0, 0, 0)
        assert node_states(await rig.flow_of(task_id)) == ["pending", "pending"]
        round_id = await rig.start_next_node()
        assert round_id is not None
        assert len(await rig.lease(3)) == 3

    database.run(story)


def test_which_tasks_are_in_question(database: Database) -> None:
    async def story(rig: Rig) -> None:
        due = await rig.new_task(2, name="due", send_in_ms=5 * MINUTE_MS, started=False)
        later = await rig.new_task(2, name="later", send_in_ms=50 * MINUTE_MS, started=False)
        suspended = await rig.new_task(2, name="suspended")
        await rig.suspend(suspended)
        cancelled = await rig.new_task(2, name="cancelled")
        await rig.cancel(cancelled)
        retired = await rig.new_template()
        refused = await rig.new_task(2, name="refused", template=retired, send_in_ms=MINUTE_MS, started=False)
        async with rig.store.write() as tx:
            assert await templates.retire(tx, retired, rig.clock.ms)
        await lost(rig, 10)
        told = await settle(rig, None)
        assert (told.tasks, told.ended) == (2, 4)
        states = {task_id: (await rig.task(task_id)).state for task_id in (due, later, suspended, cancelled, refused)}
        assert states == {
            due: "finished",
            later: "waiting",
            suspended: "suspended",
            cancelled: "cancelled",
            refused: "submission_failed",
        }
        assert set((await ends(rig, later)).values()) == {"queued"}
        await rig.resume(suspended)
        assert (await rig.task(suspended)).state == "finished"

    database.run(story)


@pytest.mark.parametrize("listed", ["0900", "98765432109490900"])
def test_numbers_may_be_listed_as_a_trunk_writes_them(database: Database, listed: str) -> None:
    async def story(rig: Rig) -> None:
        async with rig.store.write() as tx:
            await trunks.change(tx, "t1", strip="49", prefix="0", now_ms=rig.clock.ms)
            more = {"engine": "sip", "host": "h", "calls_per_second": 1, "channels": 1, "now_ms": rig.clock.ms}
            await trunks.add(tx, name="t2", prefix="+98765432109", **more)
        task_id = await rig.new_task(["49900", "490900", "4930000001"])
        await lost(rig, 1)
        told = await settle(rig, {listed})
        assert (told.ended, told.strangers) == (1, 0)
        assert [callee for callee, end in (await ends(rig, task_id)).items() if end == "unknown"] == (
            ["49900"] if listed == "0900" else ["490900"]
        )

    database.run(story)


def test_a_list_without_any_of_our_numbers_changes_nothing(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await rig.new_task(3)
        await rig.lease(1)
        await lost(rig, 1)
        before = await everything(rig)
        with pytest.raises(NothingMatches):
            await settle(rig, {"0049000001"})
        assert await everything(rig) == before

    database.run(story)


async def everything(rig: Rig) -> list[object]:
    return [await rig.rows(f"SELECT * FROM {table}") for table in ("task", "call", "lane", "trunk", "provenance")]


@pytest.mark.parametrize("lossless", [True, False])
def test_no_id_of_the_lost_hours_is_given_a_second_time(database: Database, lossless: bool) -> None:
    async def story(rig: Rig) -> None:
        before = await rig.new_task(2)
        await lost(rig, 1)
        if lossless:
            async with rig.store.write() as tx:
                await settling.nothing_lost(tx, rig.clock.ms)
        else:
            await settle(rig, None)
        after = await rig.new_task(2)
        ids = [one.id for one in await calls_of(rig, after)]
        if lossless:
            assert (after, ids) == (before + 1, [3, 4])
        else:
            assert after > before + 9_000
            assert min(ids) > 99_000_000

    database.run(story)


def test_when_nothing_was_lost_everything_goes_on_where_it_stopped(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(3)
        (ringing,) = await rig.lease(1)
        await lost(rig, 600)
        async with rig.store.write() as tx:
            done = await settling.nothing_lost(tx, rig.clock.ms)
        assert done.leases == rig.clock.us
        assert await ends(rig, task_id) == {number(0): "dialling", number(1): "queued", number(2): "queued"}
        await rig.end(ringing.call_id)
        assert len(await rig.lease(2)) == 2

    database.run(story)


def test_many_numbers(file_database: Database) -> None:
    """More than a statement takes parameters."""

    async def story(rig: Rig) -> None:
        await rig.new_task(45_000)
        await lost(rig, 1)
        told = await settle(rig, {number(index) for index in range(0, 45_000, 2)} | {number(1)})
        assert (told.ended, told.left) == (22_501, 22_499)

    file_database.run(story)
