"""Tasks: stored with their numbers, listed, submitted, paused, resumed, cancelled."""

from __future__ import annotations

import pytest

from ringback.model.numbers import zone_key
from ringback.model.outcome import Outcome
from ringback.model.states import TaskEvent, TaskState
from ringback.model.task import Limits, NewCall, TaskSpec
from ringback.model.windows import Window
from ringback.store import nodes, records, submission, tasks, templates
from ringback.store.accounts import NameTaken
from ringback.store.tasks import TaskNotFound, TaskWrongState
from tests.store.rig import START_MS, Database, Rig, recall

ALL_DAY = (Window(0, 1440),)


def test_a_task_comes_back_as_it_was_stored(database: Database) -> None:
    async def story(rig: Rig) -> None:
        limits = Limits(ring_seconds=33, call_seconds=77, lines=4, windows=(Window(540, 1080), Window(1320, 60)))
        async with rig.store.write() as tx:
            spec = TaskSpec(
                name="ünïque 任务 😀",
                template_id=rig.template,
                application_id=rig.app,
                caller_id="4930123",
                send_at=START_MS + 5000,
                limits=limits,
            )
            new = [NewCall("4915100000001", "Europe/Berlin", '{"text1":"a"}'), NewCall("12025550123", "", None)]
            task_id = await tasks.create(tx, rig.account, spec, new, rig.clock.ms)
        task = await rig.task(task_id)
        assert (task.name, task.caller_id, task.limits, task.send_at) == (spec.name, "4930123", limits, START_MS + 5000)
        assert (task.account_id, task.app_id, task.template_id) == (rig.account, "default", rig.template)
        assert (task.state, task.total, task.queued, task.called) == (TaskState.WAITING, 2, 2, 0)
        assert (task.created_at, task.started_at, task.finished_at) == (START_MS, None, None)
        listed = await rig.rows("SELECT callee, zone, texts, state FROM call ORDER BY id")
        assert [tuple(row) for row in listed] == [
            ("4915100000001", "Europe/Berlin", '{"text1":"a"}', "queued"),
            ("12025550123", "", None, "queued"),
        ]

    database.run(story)


def test_a_name_is_taken_once_in_an_account(database: Database) -> None:
    async def story(rig: Rig) -> None:
        first = await rig.new_task(name="spring", started=False)
        with pytest.raises(NameTaken, match="'spring'"):
            await rig.new_task(name="spring", started=False)
        # Nothing of the refused one is left, and the account of somebody else has names of its own.
        assert await rig.one("SELECT count(*) FROM call") == 3
        other = await rig.new_account("other")
        assert await rig.new_task(name="spring", account=other, started=False) > first
        await rig.new_task(name="Spring", started=False)

    database.run(story)


def test_a_refused_name_leaves_the_transaction_usable(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await rig.new_task(name="spring", started=False)
        async with rig.store.write() as tx:
            spec = TaskSpec(name="spring", template_id=rig.template, application_id=rig.app)
            with pytest.raises(NameTaken):
                await tasks.create(tx, rig.account, spec, [NewCall("123456", "", None)], rig.clock.ms)
            other = TaskSpec(name="summer", template_id=rig.template, application_id=rig.app)
            await tasks.create(tx, rig.account, other, [NewCall("123456", "", None)], rig.clock.ms)
        assert await rig.one("SELECT count(*) FROM task") == 2

    database.run(story)


def test_twenty_thousand_numbers_in_one_go(file_database: Database) -> None:
    async def story(rig: Rig) -> None:
        numbers = [f"49{number:09}" if number % 2 else f"1212{number:07}" for number in range(20_000)]
        task_id = await rig.new_task([NewCall(one, zone_key(one), None) for one in numbers])
        task = await rig.task(task_id)
        assert (task.total, task.queued) == (20_000, 20_000)
        assert [row.queued for row in await rig.rows("SELECT queued FROM lane ORDER BY zone")] == [10_000, 10_000]
        async with rig.store.read() as tx:
            listed = [record.callee async for record in records.listed(tx, task_id)]
        assert listed == numbers
        assert len(await rig.lease()) == 101
        await rig.cancel(task_id)

    file_database.run(story)


def test_a_number_cannot_be_stored_twice_in_a_task(database: Database) -> None:
    async def story(rig: Rig) -> None:
        with pytest.raises(Exception, match=r"UNIQUE|unique"):
            await rig.new_task(["4912345678", "4912345678"], started=False)
        assert await rig.one("SELECT count(*) FROM task") == 0
        await rig.new_task(["4912345678"], started=False)
        await rig.new_task(["4912345678"], started=False)

    database.run(story)


def test_pages_are_newest_first_and_filtered(database: Database) -> None:
    async def story(rig: Rig) -> None:
        made = []
        for number in range(7):
            name = "100%_sure" if number == 3 else f"plain {number}"
            made.append(await rig.new_task(1, name=name, started=number == 5))
            rig.clock.advance(1000)
        other = await rig.new_account("other")
        await rig.new_task(1, name="plain of another", account=other, started=False)

        async def page(**wanted: object) -> tuple[int, list[int]]:
            chosen = {"created_from": 0, "created_to": 1 << 60, "limit": 100, "offset": 0, **wanted}
            async with rig.store.read() as tx:
                total, found = await tasks.page(tx, rig.account, **chosen)  # type: ignore[arg-type]  # test data
            return total, [task.id for task in found]

        assert await page() == (7, made[::-1])
        assert await page(limit=2, offset=3) == (7, [made[3], made[2]])
        assert await page(limit=5, offset=7) == (7, [])
        # Both ends of the period are part of it.
        assert await page(created_from=START_MS + 1000, created_to=START_MS + 3000) == (3, made[3:0:-1])
        assert await page(states=frozenset({TaskState.WAITING})) == (1, [made[6]])
        assert await page(states=frozenset({TaskState.WAITING, TaskState.CALLING})) == (7, made[::-1])
        assert await page(application_id=other[1]) == (0, [])
        assert await page(name_part="%_s") == (1, [made[3]])
        assert await page(name_part="SURE") == (1, [made[3]])
        assert await page(name_part="%") == (1, [made[3]])
        assert await page(name_part="") == (7, made[::-1])
        assert await page(name_part="nothing like it") == (0, [])

    database.run(story)


def test_a_task_starts_when_its_send_time_has_come(database: Database) -> None:
    async def story(rig: Rig) -> None:
        later = await rig.new_task(send_in_ms=60_000, started=False)
        sooner = await rig.new_task(send_in_ms=59_999, started=False)
        async with rig.store.read() as tx:
            assert await submission.next_send_at(tx) == START_MS + 59_999
        rig.clock.advance(59_998)
        assert await rig.submit() == []
        assert await rig.lease() == []
        rig.clock.advance(1)
        assert await rig.submit() == [sooner]
        rig.clock.advance(1)
        assert await rig.submit() == [later]
        assert await rig.submit() == []
        task = await rig.task(later)
        assert (task.state, task.started_at, task.modified_at) == (TaskState.CALLING, rig.clock.ms, rig.clock.ms)
        async with rig.store.read() as tx:
            assert await submission.next_send_at(tx) is None
            assert [task.id for task in await tasks.running(tx)] == [later, sooner]

    database.run(story)


def test_numbers_of_no_known_zone_are_skipped_when_there_are_windows(database: Database) -> None:
    async def story(rig: Rig) -> None:
        numbers = [NewCall("4912345678", "Europe/Berlin", None), NewCall("999912345", "", None)]
        limited = await rig.new_task(numbers, windows=ALL_DAY)
        free = await rig.new_task(numbers)
        assert ((await rig.task(limited)).skipped, (await rig.task(free)).skipped) == (1, 0)
        async with rig.store.read() as tx:
            assert await records.skipped_by_reason(tx, limited) == {"unknown_zone": 1}
            assert await records.skipped_by_reason(tx, free) == {}
        dialled = {(lease.task_id, lease.callee) for lease in await rig.lease()}
        assert dialled == {(limited, "4912345678"), (free, "4912345678"), (free, "999912345")}

    database.run(story)


def test_a_task_whose_numbers_are_all_skipped_is_finished_at_once(database: Database) -> None:
    async def story(rig: Rig) -> None:
        numbers = [NewCall("999912345", "", None), NewCall("999912346", "", None)]
        task_id = await rig.new_task(numbers, windows=ALL_DAY, flow=recall())
        task = await rig.task(task_id)
        assert (task.state, task.skipped, task.finished_at) == (TaskState.FINISHED, 2, START_MS)
        # The flow goes on, and nobody is left to recall: skipped numbers are in no audience.
        assert await rig.start_next_node() is None
        flow = await rig.flow_of(task_id)
        assert flow.state == "completed"
        assert flow.nodes[0].left_out == '{"skipped":2}'

    database.run(story)


def test_numbers_whose_windows_are_never_open_together_are_skipped(database: Database) -> None:
    async def story(rig: Rig) -> None:
        numbers = [
            NewCall("4912345678", "Asia/Tokyo,Europe/Berlin", None),
            NewCall("4912345679", "Europe/Berlin", None),
            NewCall("4912345680", "Mars/Phobos", None),
        ]
        task_id = await rig.new_task(numbers, windows=(Window(540, 600),))
        async with rig.store.read() as tx:
            assert await records.skipped_by_reason(tx, task_id) == {"no_common_window": 2}
        assert (await rig.task(task_id)).queued == 1
        # A window that is only closed now is waited for.
        rig.clock.advance(3 * 3_600_000)
        assert await rig.lease() == []
        rig.clock.advance(21 * 3_600_000)
        assert [lease.callee for lease in await rig.lease()] == ["4912345679"]

    database.run(story)


def test_a_task_that_breaks_fails_with_a_reason(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(2, started=False, flow=recall(rounds=2))
        async with rig.store.write() as tx:
            await submission.refuse(tx, task_id, "internal error: KeyError", rig.clock.ms)
        task = await rig.task(task_id)
        assert (task.state, task.reason) == (TaskState.SUBMISSION_FAILED, "internal error: KeyError")
        flow = await rig.flow_of(task_id)
        assert (flow.state, flow.reason) == ("exception", task.reason)
        async with rig.store.write() as tx:
            # Submitted by somebody else meanwhile: nothing to do.
            await submission.submit(tx, [task_id], rig.clock.ms, minute_seconds=60)
            with pytest.raises(TaskWrongState):
                await submission.refuse(tx, task_id, "again", rig.clock.ms)
        assert (await rig.task(task_id)).reason == "internal error: KeyError"

    database.run(story)


def test_a_retired_template_fails_the_submission(database: Database) -> None:
    async def story(rig: Rig) -> None:
        old = await rig.new_template()
        task_id = await rig.new_task(template=old, started=False, flow=recall(rounds=2))
        async with rig.store.write() as tx:
            assert await templates.retire(tx, old, rig.clock.ms)
        assert await rig.submit() == [task_id]
        task = await rig.task(task_id)
        assert task.state is TaskState.SUBMISSION_FAILED
        assert f"template {old} has been retired" in task.reason
        flow = await rig.flow_of(task_id)
        assert (flow.state, flow.reason) == ("exception", task.reason)
        assert [(node.state, node.reason, node.task_id) for node in flow.nodes] == [
            ("exception", task.reason, None),
            ("exception", task.reason, None),
        ]
        assert await rig.lease() == []
        async with rig.store.read() as tx:
            assert await nodes.next_due_at(tx) is None

    database.run(story)


def test_a_paused_task_leases_nothing_and_goes_on_where_it_was(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(10)
        (first,) = await rig.lease(1)
        assert await rig.suspend(task_id) >= first.slot_us // 1000
        assert await rig.lease() == []
        rig.clock.advance(60_000)
        assert await rig.lease() == []
        # A call in the air answers and ends as ever.
        await rig.answer(first.call_id)
        assert await rig.end(first.call_id) == []
        assert (await rig.task(task_id)).state is TaskState.SUSPENDED
        await rig.resume(task_id)
        rest = await rig.lease(9)
        assert len({lease.callee for lease in [first, *rest]}) == 10
        assert await rig.end(*(lease.call_id for lease in rest)) == [task_id]

    database.run(story)


def test_a_paused_task_finishes_when_it_is_resumed(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(1, flow=recall())
        (lease,) = await rig.lease()
        await rig.suspend(task_id)
        rig.clock.advance(5000)
        assert await rig.end(lease.call_id, outcome=Outcome.BUSY) == []
        task = await rig.task(task_id)
        assert (task.state, task.queued, task.active) == (TaskState.SUSPENDED, 0, 0)
        assert (await rig.flow_of(task_id)).nodes[0].due_at is None
        rig.clock.advance(3_600_000)
        await rig.resume(task_id)
        task = await rig.task(task_id)
        assert (task.state, task.finished_at) == (TaskState.FINISHED, rig.clock.ms)
        assert (await rig.flow_of(task_id)).nodes[0].due_at == rig.clock.ms + 5 * 60_000

    database.run(story)


def test_a_stop_knows_how_long_leased_calls_may_still_leave(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(50)
        leases = (await rig.lease_batch()).leases
        last = max(lease.slot_us for lease in leases)
        rig.clock.advance(1)
        # One more lease, nearer than the first one's last slot: the later instant stays.
        other = await rig.new_trunk("t2", rate=10)
        await rig.run_sql("UPDATE application SET trunk_id = :id", id=other)
        (one,) = (await rig.lease_batch(free_lines=1)).leases
        assert one.slot_us < last
        until = await rig.suspend(task_id)
        assert (last + 250_000) / 1000 <= until <= (last + 250_000) / 1000 + 1
        await rig.resume(task_id)
        assert await rig.cancel(task_id) == until

    database.run(story, rate=100.0)


def test_a_clock_set_back_does_not_make_a_stop_wait_for_hours(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(50)
        await rig.lease()
        rig.clock.advance(-3_600_000)
        # The trunk is drawn in, so that it dials again within a moment.
        for _ in range(4):
            if await rig.lease():
                break
            rig.clock.advance(100)
        else:
            pytest.fail("the trunk stands still")
        assert await rig.suspend(task_id) <= rig.clock.ms + 351
        await rig.check_counters()

    database.run(story, rate=100.0)


def test_a_stop_of_an_unserved_task_waits_for_nothing(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(5)
        assert await rig.suspend(task_id) == 0
        assert await rig.cancel(task_id) == 0

    database.run(story)


def test_cancelling_drops_the_queue_and_lets_calls_end(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(5)
        dialling, answered = await rig.lease(2)
        await rig.answer(answered.call_id)
        await rig.cancel(task_id)
        task = await rig.task(task_id)
        assert (task.state, task.queued, task.active, task.cancelled) == (TaskState.CANCELLED, 0, 2, 3)
        assert await rig.lease() == []
        assert await rig.end(dialling.call_id, outcome=Outcome.BUSY) == []
        assert await rig.end(answered.call_id) == []
        task = await rig.task(task_id)
        assert (task.state, task.answered, task.failed, task.cancelled) == (TaskState.CANCELLED, 1, 1, 3)
        assert task.finished_at is None

    database.run(story)


@pytest.mark.parametrize("before", list(TaskState))
@pytest.mark.parametrize("event", [TaskEvent.SUSPENDED, TaskEvent.RESUMED, TaskEvent.CANCELLED])
def test_changes_of_state_are_those_of_the_table(file_database: Database, before: TaskState, event: TaskEvent) -> None:
    allowed = {
        TaskEvent.SUSPENDED: {"calling"},
        TaskEvent.RESUMED: {"suspended"},
        TaskEvent.CANCELLED: {"waiting", "submitting", "calling", "suspended"},
    }

    async def story(rig: Rig) -> None:
        task_id = await in_state(rig, before)
        change = {
            TaskEvent.SUSPENDED: rig.suspend,
            TaskEvent.RESUMED: rig.resume,
            TaskEvent.CANCELLED: rig.cancel,
        }[event]
        if before in allowed[event]:
            await change(task_id)
            after = {"suspended": "suspended", "resumed": "calling", "cancelled": "cancelled"}[event]
            assert (await rig.task(task_id)).state == after
        else:
            with pytest.raises(TaskWrongState, match=f"task {task_id} is {before} and cannot be {event}") as refused:
                await change(task_id)
            assert refused.value.state is before
            assert (await rig.task(task_id)).state is before

    file_database.run(story)


async def in_state(rig: Rig, state: TaskState) -> int:
    """A task that has come to this state as tasks do; only *submitting* is never seen from outside."""
    task_id = await rig.new_task(2, started=False)
    if state in (TaskState.SUBMITTING, TaskState.SUBMISSION_FAILED):
        await rig.run_sql("UPDATE task SET state = 'submitting'")
    elif state is not TaskState.WAITING:
        await rig.submit()
    match state:
        case TaskState.SUSPENDED:
            await rig.suspend(task_id)
        case TaskState.FINISHED:
            await rig.run_all(task_id)
        case TaskState.CANCELLED:
            await rig.cancel(task_id)
        case TaskState.SUBMISSION_FAILED:
            await rig.run_sql("UPDATE task SET state = 'submission_failed'")
    assert (await rig.task(task_id)).state is state
    return task_id


def test_the_tasks_of_others_do_not_exist(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task()
        other, _ = await rig.new_account("other")
        async with rig.store.read() as tx:
            assert await tasks.get(tx, task_id, account_id=other) is None
            assert await tasks.get(tx, task_id, account_id=rig.account) is not None
            assert await tasks.get(tx, task_id + 99) is None
            assert (await tasks.page(tx, other, created_from=0, created_to=1 << 60, limit=9, offset=0)) == (0, [])
        for change in (rig.suspend, rig.resume, rig.cancel):
            for account in (other, None):
                with pytest.raises(TaskNotFound, match="there is no task"):
                    await change(task_id if account else task_id + 99, account=account)
        assert (await rig.task(task_id)).state is TaskState.CALLING
        await rig.suspend(task_id, account=rig.account)
        await rig.resume(task_id, account=rig.account)
        await rig.cancel(task_id, account=rig.account)

    database.run(story)


def test_cancelling_several_in_one_transaction_is_all_or_none(database: Database) -> None:
    async def story(rig: Rig) -> None:
        first = await rig.new_task(2)
        over = await rig.new_task(2)
        await rig.cancel(over)

        async def cancel_both() -> None:
            async with rig.store.write() as tx:
                for task_id in (first, over):
                    await tasks.cancel(tx, task_id, rig.clock.ms)

        with pytest.raises(TaskWrongState):
            await cancel_both()
        task = await rig.task(first)
        assert (task.state, task.queued, task.cancelled) == (TaskState.CALLING, 2, 0)

    database.run(story)
