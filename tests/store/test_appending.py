"""Numbers that join a task later."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import update

from ringback.model.numbers import zone_key
from ringback.model.outcome import Outcome
from ringback.model.states import CallState, TaskState
from ringback.model.task import NewCall
from ringback.store import appending, routes, tasks
from ringback.store.appending import Appended, TaskClosed, TaskFull
from ringback.store.schema import task as task_table
from ringback.store.tasks import TaskNotFound
from tests.store.rig import MINUTE_MS, Database, Rig


def numbers(*callees: str) -> list[NewCall]:
    return [NewCall(callee, zone_key(callee), None) for callee in callees]


async def append(rig: Rig, task_id: int, *callees: str, account: int | None = None) -> Appended:
    async with rig.store.write() as tx:
        return await appending.append(
            tx, account or rig.account, task_id, numbers(*callees), rig.clock.ms, minute_seconds=60
        )


async def keep_open(rig: Rig, task_id: int) -> None:
    async with rig.store.write() as tx:
        await tx.execute(update(task_table).where(task_table.c.id == task_id).values(takes_more=True))


async def dialled(rig: Rig, count: int) -> list[str]:
    return [lease.callee for lease in await rig.lease(count)]


def test_what_joins_is_dialled_once_and_after_what_was_there(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(["4930000001", "4930000002"])
        assert await append(rig, task_id, "4930000003", "4930000001", "4930000003", "12125550100") == Appended(
            2, ["4930000001", "4930000003"]
        )
        assert (await rig.task(task_id)).total == 4
        assert sorted(await dialled(rig, 4)) == ["12125550100", "4930000001", "4930000002", "4930000003"]
        assert (await rig.lease_batch()).leases == []
        assert await append(rig, task_id, "4930000002") == Appended(0, ["4930000002"])

    database.run(story)


def test_a_task_that_takes_more_does_not_finish(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(1)
        await keep_open(rig, task_id)
        await rig.run_all(task_id)
        assert (await rig.task(task_id)).state is TaskState.CALLING
        await append(rig, task_id, "4930000009")
        assert await dialled(rig, 1) == ["4930000009"]
        async with rig.store.write() as tx:
            await appending.close(tx, rig.account, task_id, rig.clock.ms, minute_seconds=60)
        assert (await rig.task(task_id)).state is TaskState.CALLING
        (row,) = await rig.rows("SELECT id FROM call WHERE state = 'dialling'")
        assert await rig.end(row.id) == [task_id]
        with pytest.raises(TaskClosed, match="is finished and takes no more"):
            await append(rig, task_id, "4930000010")

    database.run(story)


def test_closing_a_task_that_has_nothing_left_finishes_it(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(1)
        await keep_open(rig, task_id)
        await rig.run_all(task_id)
        async with rig.store.write() as tx:
            await appending.close(tx, rig.account, task_id, rig.clock.ms, minute_seconds=60)
        assert (await rig.task(task_id)).state is TaskState.FINISHED

    database.run(story)


def test_what_can_never_be_called_is_skipped_as_at_the_start(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(1)
        await append(rig, task_id, "881612345678", "4930000001")
        (row,) = await rig.rows("SELECT state, reason FROM call WHERE callee = '881612345678'")
        assert row.state == CallState.SKIPPED
        assert "881" in row.reason
        found = await rig.task(task_id)
        assert (found.queued, found.skipped, found.total) == (2, 1, 3)
        waiting = await rig.new_task(["4930000001"], name="waits", started=False, send_in_ms=MINUTE_MS)
        await append(rig, waiting, "881612345678")
        assert (await rig.task(waiting)).skipped == 0, "that is looked at when it is submitted"

    database.run(story)


def test_what_joins_follows_the_routes_of_today(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(["4930000001"])
        async with rig.store.write() as tx:
            await routes.add(tx, account_id=None, prefix="49", trunk_id=rig.trunk, priority=0, weight=1)
        await append(rig, task_id, "4930000002")
        assert sorted(await dialled(rig, 2)) == ["4930000001", "4930000002"]

    database.run(story)


def test_refused_appends_change_nothing(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appending, "MAX_NUMBERS", 1)

    async def story(rig: Rig) -> None:
        other, _ = await rig.new_account("other")
        task_id = await rig.new_task(1)
        gone = await rig.new_task(1, name="gone")
        async with rig.store.write() as tx:
            await tasks.cancel(tx, gone, rig.clock.ms)
            await tx.execute(
                update(task_table).where(task_table.c.id == task_id).values(total=MAX_NUMBERS, answered=MAX_NUMBERS - 1)
            )
        before = await rig.rows("SELECT * FROM call ORDER BY id")
        for of, account, refusal in (
            (task_id, other, TaskNotFound),
            (4711, rig.account, TaskNotFound),
            (gone, rig.account, TaskClosed),
            (task_id, rig.account, TaskFull),
        ):
            with pytest.raises(refusal):
                await append(rig, of, "4930000077", account=account)
        assert await rig.rows("SELECT * FROM call ORDER BY id") == before

    database.run(story)


def test_the_last_result_and_new_numbers_at_the_same_time(database: Database) -> None:
    """Either the task finished first, and the numbers are refused; or they are in it, and it has not finished."""

    async def story(rig: Rig) -> None:
        for turn in range(10):
            task_id = await rig.new_task([f"49300001{turn:02}"], name=f"task {turn}")
            (lease,) = await rig.lease(1)
            done = await asyncio.gather(
                rig.end(lease.call_id, outcome=Outcome.BUSY),
                append(rig, task_id, f"49300002{turn:02}"),
                return_exceptions=True,
            )
            found = await rig.task(task_id)
            if isinstance(done[1], TaskClosed):
                assert (found.state, found.total) == (TaskState.FINISHED, 1)
            else:
                assert done[1] == Appended(1, [])
                assert (found.state, found.total, found.queued) == (TaskState.CALLING, 2, 1)
                await rig.run_all(task_id)
                assert (await rig.task(task_id)).state is TaskState.FINISHED

    database.run(story)
