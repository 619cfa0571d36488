"""A finished task called again by hand, and a waiting one edited."""

from __future__ import annotations

import pytest

from ringback.model.audience import RecallType, audience_of
from ringback.model.outcome import Outcome
from ringback.model.states import TaskState
from ringback.model.task import Limits, NewCall, TaskKind, TaskSpec
from ringback.store import resending, submission, task_edits
from ringback.store.accounts import NameTaken
from ringback.store.recalled import in_audience
from ringback.store.resending import NotFinished, NothingLeft
from ringback.store.task_edits import NotWaiting
from ringback.store.tasks import TaskNotFound
from tests.store.rig import MINUTE_MS, Database, Rig, recall

ALL, FAILED = (in_audience(audience_of(kind)) for kind in (RecallType.ALL, RecallType.FAILED))
ENDS = [(end, None) for end in (Outcome.BUSY, Outcome.ANSWERED, Outcome.NO_ANSWER, Outcome.VOICEMAIL)]


def spec(rig: Rig, name: str, **changes: object) -> TaskSpec:
    return TaskSpec(name=name, template_id=rig.template, application_id=rig.app, **changes)  # type: ignore[arg-type]  # test data


async def submit(rig: Rig, task_id: int) -> None:
    async with rig.store.write() as tx:
        await submission.submit(tx, [task_id], rig.clock.ms, minute_seconds=60)


async def callees(rig: Rig, task_id: int) -> list[str]:
    return [row.callee for row in await rig.rows("SELECT callee FROM call WHERE task_id = :id ORDER BY id", id=task_id)]


def test_a_finished_task_is_called_again(database: Database) -> None:
    async def story(rig: Rig) -> None:
        first = await rig.new_task([f"49{one:08}" for one in range(4)])
        await rig.run_all(first, ENDS)
        async with rig.store.write() as tx:
            previous = await resending.finished(tx, rig.account, first)
            everybody = await resending.resend(tx, previous, ALL, spec(rig, "everybody"), now_ms=rig.clock.ms)
            failed = await resending.resend(
                tx, previous, FAILED, spec(rig, "failed", kind=TaskKind.VOICE), now_ms=rig.clock.ms
            )
        assert await callees(rig, everybody) == [f"49{one:08}" for one in range(4)]
        assert await callees(rig, failed) == ["4900000000", "4900000002"]
        again = await rig.task(failed)
        assert (again.state, again.total, again.queued, again.kind) == (TaskState.WAITING, 2, 2, TaskKind.VOICE)
        await submit(rig, failed)
        await rig.run_all(failed)
        async with rig.store.write() as tx:
            done = await resending.finished(tx, rig.account, failed)
            with pytest.raises(NothingLeft):
                await resending.resend(tx, done, FAILED, spec(rig, "nobody"), now_ms=rig.clock.ms)

    database.run(story)


def test_what_cannot_be_called_again(database: Database) -> None:
    async def story(rig: Rig) -> None:
        waiting = await rig.new_task(2, started=False, send_in_ms=MINUTE_MS)
        other, _ = await rig.new_account("other")
        async with rig.store.write() as tx:
            with pytest.raises(NotFinished, match="is waiting"):
                await resending.finished(tx, rig.account, waiting)
            with pytest.raises(TaskNotFound):
                await resending.finished(tx, other, waiting)

    database.run(story)


def test_a_waiting_task_is_edited_whole(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(3, name="before", started=False, send_in_ms=MINUTE_MS, flow=recall(rounds=2))
        newer = await rig.new_template()
        changed = TaskSpec(
            name="after",
            template_id=newer,
            application_id=rig.app,
            send_at=rig.clock.ms,
            limits=Limits(ring_seconds=30),
        )
        async with rig.store.write() as tx:
            await task_edits.edit(
                tx,
                rig.account,
                task_id,
                changed,
                numbers=[NewCall("4930000001", "Europe/Berlin", None)],
                now_ms=rig.clock.ms,
            )
        found = await rig.task(task_id)
        assert (found.name, found.template_id, found.total, found.queued) == ("after", newer, 1, 1)
        assert (found.limits.ring_seconds, found.send_at) == (30, rig.clock.ms)
        assert {node.template_id for node in (await rig.flow_of(task_id)).nodes} == {newer}
        await submit(rig, task_id)
        await rig.run_all(task_id)
        assert (await rig.task(task_id)).state is TaskState.FINISHED
        async with rig.store.write() as tx:
            with pytest.raises(NotWaiting, match="is finished"):
                await task_edits.edit(tx, rig.account, task_id, changed, numbers=None, now_ms=rig.clock.ms)

    database.run(story)


def test_an_edit_that_is_refused_changes_nothing(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(3, name="mine", started=False, send_in_ms=MINUTE_MS)
        await rig.new_task(1, name="taken", started=False, send_in_ms=MINUTE_MS)
        other, _ = await rig.new_account("other")
        before = await rig.task(task_id)
        for account, kind, name, refusal in (
            (rig.account, TaskKind.AGENT, "taken", NameTaken),
            (other, TaskKind.AGENT, "theirs", TaskNotFound),
            (rig.account, TaskKind.VOICE, "another", TaskNotFound),
        ):
            with pytest.raises(refusal):
                async with rig.store.write() as tx:
                    await task_edits.edit(
                        tx, account, task_id, spec(rig, name, kind=kind), numbers=None, now_ms=rig.clock.ms
                    )
        assert await rig.task(task_id) == before

    database.run(story)
