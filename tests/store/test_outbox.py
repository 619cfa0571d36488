"""The outbox: what is written with results, and when it may be sent, on every store."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from ringback.model.audience import RecallType
from ringback.model.outcome import Outcome
from ringback.model.report import Event, Form
from ringback.model.task import Limits, NewCall, TaskSpec
from ringback.store import call_records, flows, nodes, provenance, settling, tasks, templates
from tests.store.reports import bodies, deliver_all, due, receiver, shown, told
from tests.store.rig import MINUTE_MS, Database, Rig, recall

FAILED = RecallType.FAILED
BUSY = (Outcome.BUSY, None)
ANSWERED = (Outcome.ANSWERED, None)


def calls(*ids: int) -> list[tuple[str, int]]:
    return [("call.ended", one) for one in ids]


async def node_ids(rig: Rig, task_id: int) -> list[int]:
    return [one.id for one in (await rig.flow_of(task_id)).nodes]


async def ids_of(rig: Rig, task_id: int) -> list[int]:
    return [row.id for row in await rig.rows("SELECT id FROM call WHERE task_id = :id ORDER BY id", id=task_id)]


def test_a_flow_from_its_first_call_to_its_end(database: Database) -> None:
    async def story(rig: Rig) -> None:
        to = await receiver(rig)
        task_id = await rig.new_task(2, flow=recall(FAILED, rounds=2))
        await rig.run_all(task_id, [BUSY, ANSWERED])
        round_id = await rig.start_next_node()
        assert round_id is not None
        await rig.run_all(round_id)
        assert await rig.start_next_node() is None
        first, second = await node_ids(rig, task_id)
        flow_id = (await rig.flow_of(task_id)).id
        one, two = await ids_of(rig, task_id)
        (three,) = await ids_of(rig, round_id)
        assert await deliver_all(rig, to) == [
            calls(one, two),
            [("task.finished", task_id)],
            [("node.started", first)],
            calls(three),
            [("task.finished", round_id)],
            [("node.completed", first)],
            [("node.completed", second)],
            [("flow.completed", flow_id)],
        ]

    database.run(story)


def test_what_the_events_tell(database: Database) -> None:
    async def story(rig: Rig) -> None:
        to = await receiver(rig)
        task_id = await rig.new_task(3, name="spring", flow=recall(FAILED))
        await rig.run_all(task_id, [BUSY, ANSWERED, BUSY])
        round_id = await rig.start_next_node()
        assert round_id is not None
        await rig.run_all(round_id)
        flow = await rig.flow_of(task_id)
        first, again = await bodies(rig, to, Event.TASK_FINISHED)
        assert (first["task_id"], first["name"], first["state"], first["flow_id"], first["round"]) == (
            task_id,
            "spring",
            "finished",
            None,
            0,
        )
        assert (first["total"], first["answered"], first["failed"], first["cost"]) == (3, 1, 2, "0")
        assert (again["task_id"], again["flow_id"], again["round"]) == (round_id, flow.id, 1)
        (started,) = await bodies(rig, to, Event.NODE_STARTED)
        assert (started["state"], started["task_id"], started["qualified"]) == ("in_progress", round_id, 2)
        assert (started["left_out"], started["round"], started["parent_task_id"]) == ({"answered": 1}, 1, task_id)
        (completed,) = await bodies(rig, to, Event.NODE_COMPLETED)
        assert (completed["node_id"], completed["state"]) == (flow.nodes[0].id, "completed")
        (over,) = await bodies(rig, to, Event.FLOW_COMPLETED)
        assert (over["flow_id"], over["state"], over["parent_task_id"]) == (flow.id, "completed", task_id)

    database.run(story)


def test_who_gets_what(database: Database) -> None:
    async def story(rig: Rig) -> None:
        other, other_app = await rig.new_account("other")
        mine = {form: await receiver(rig, form) for form in Form}
        ends = await receiver(rig, events=[Event.TASK_FINISHED, Event.TASK_CANCELLED])
        only_calls = await receiver(rig, events=[Event.CALL_ENDED])
        of_app = await receiver(rig, app=rig.app)
        strange = await receiver(rig, account=other)
        strange_app = await receiver(rig, account=other, app=other_app)
        task_id = await rig.new_task(2)
        await rig.run_all(task_id)
        one, two = await ids_of(rig, task_id)
        both, end = calls(one, two), [("task.finished", task_id)]
        assert await told(rig, mine[Form.EVENTS]) == [*both, *end]
        assert await told(rig, of_app) == [*both, *end]
        for form in (Form.AGENT, Form.SINGLE, Form.BATCH):
            assert await told(rig, mine[form]) == both
        assert await told(rig, mine[Form.SMS]) == []
        assert await told(rig, ends) == end
        assert await told(rig, only_calls) == both
        assert await told(rig, strange) == await told(rig, strange_app) == []

    database.run(story)


def test_without_receivers_nothing_is_written(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(3, flow=recall(FAILED))
        await rig.run_all(task_id, [BUSY])
        await rig.start_next_node()
        assert await rig.one("SELECT count(*) FROM report") == 0

    database.run(story)


def test_a_result_that_is_not_stored_is_not_reported(database: Database) -> None:
    async def story(rig: Rig) -> None:
        to = await receiver(rig)
        await rig.new_task(2)
        first, second = await rig.lease(2)
        await rig.end(first.call_id)
        await rig.end(first.call_id)  # again: it changes nothing
        await rig.run_sql("UPDATE worker SET fenced_at = 1 WHERE id = :id", id=rig.worker)
        await rig.end(second.call_id)
        assert await told(rig, to) == calls(first.call_id)

    database.run(story)


def test_ends_before_the_end(database: Database) -> None:
    """Cancelled by task, by flow and by node; refused at submission; a node that broke."""

    async def story(rig: Rig) -> None:
        to = await receiver(rig)
        by_task = await rig.new_task(2, flow=recall(FAILED, rounds=2))
        await rig.cancel(by_task)
        (flow_id, nodes_of) = ((await rig.flow_of(by_task)).id, await node_ids(rig, by_task))
        assert await told(rig, to) == [
            ("task.cancelled", by_task),
            *(("node.completed", one) for one in nodes_of),
            ("flow.completed", flow_id),
        ]
        assert [one["state"] for one in await bodies(rig, to, Event.NODE_COMPLETED)] == ["cancelled"] * 2
        assert (await bodies(rig, to, Event.FLOW_COMPLETED))[0]["reason"] == "its task was cancelled"

        to = await receiver(rig)
        by_flow = await rig.new_task(2, flow=recall(FAILED))
        await rig.cancel_flow(flows.CancelBy.PARENT_TASK, by_flow)
        flow = await rig.flow_of(by_flow)
        assert await told(rig, to) == [("node.completed", flow.nodes[0].id), ("flow.completed", flow.id)]
        await rig.run_all(by_flow)

        to = await receiver(rig)
        by_node = await rig.new_task(2, flow=recall(FAILED, rounds=2))
        await rig.run_all(by_node, [BUSY, BUSY])
        round_id = await rig.start_next_node()
        assert round_id is not None
        first, second = await node_ids(rig, by_node)
        await rig.cancel_flow(flows.CancelBy.NODE_ONWARD, second)
        await rig.run_all(round_id)
        happened = [one for one in await told(rig, to) if one[0] != "call.ended"]
        assert happened == [
            ("task.finished", by_node),
            ("node.started", first),
            ("node.completed", second),
            ("task.finished", round_id),
            ("node.completed", first),
            ("flow.completed", (await rig.flow_of(by_node)).id),
        ]
        states = [one["state"] for one in await bodies(rig, to, Event.NODE_COMPLETED)]
        assert states == ["cancelled", "completed"]

        to = await receiver(rig)
        retired = await rig.new_template()
        refused = await rig.new_task(2, template=retired, flow=recall(FAILED), send_in_ms=1000, started=False)
        async with rig.store.write() as tx:
            await templates.retire(tx, retired, rig.clock.ms)
        rig.clock.advance(1000)
        await rig.submit()
        flow = await rig.flow_of(refused)
        assert await told(rig, to) == [
            ("task.failed", refused),
            ("node.completed", flow.nodes[0].id),
            ("flow.completed", flow.id),
        ]
        assert "retired" in (await bodies(rig, to, Event.TASK_FAILED))[0]["reason"]
        assert (await bodies(rig, to, Event.FLOW_COMPLETED))[0]["state"] == "exception"

        to = await receiver(rig)
        broken = await rig.new_task(2, flow=recall(FAILED, rounds=2))
        await rig.run_all(broken, [BUSY, BUSY])
        flow = await rig.flow_of(broken)
        async with rig.store.write() as tx:
            await nodes.refuse(tx, flow.nodes[0].id, "a test", rig.clock.ms)
        assert [one for one in await told(rig, to) if one[0] != "call.ended"] == [
            ("task.finished", broken),
            *(("node.completed", one.id) for one in flow.nodes),
            ("flow.completed", flow.id),
        ]
        assert [one["state"] for one in await bodies(rig, to, Event.NODE_COMPLETED)] == ["exception"] * 2

    database.run(story)


def test_rounds_are_told_in_running_order_after_an_edit(database: Database) -> None:
    """The first round was cancelled and came back under a later id."""

    async def story(rig: Rig) -> None:
        to = await receiver(rig, events=[Event.NODE_COMPLETED])
        task_id = await rig.new_task(1, flow=recall(FAILED, rounds=3))
        flow = await rig.flow_of(task_id)
        await rig.run_sql("UPDATE node SET state = 'cancelled' WHERE id = :id", id=flow.nodes[0].id)
        await rig.edit(flow.id, recall(FAILED, rounds=3))
        await rig.cancel_flow(flows.CancelBy.FLOW, flow.id)
        positions = [one["round"] for one in await bodies(rig, to, Event.NODE_COMPLETED)]
        ids = [one["node_id"] for one in await bodies(rig, to, Event.NODE_COMPLETED)]
        assert positions == [1, 2, 3]
        assert ids != sorted(ids)

    database.run(story)


def test_what_was_snapshot_stays_as_it_was(database: Database) -> None:
    """A cancelled task's calls in the air end later; the report of the cancellation tells how it was then."""

    async def story(rig: Rig) -> None:
        to = await receiver(rig)
        task_id = await rig.new_task(3)
        (ringing,) = await rig.lease(1)
        await rig.cancel(task_id)
        await rig.end(ringing.call_id)
        (body,) = await bodies(rig, to, Event.TASK_CANCELLED)
        assert (body["active"], body["cancelled"], body["answered"]) == (1, 2, 0)
        assert await told(rig, to) == [("task.cancelled", task_id), *calls(ringing.call_id)]

    database.run(story)


def test_what_is_settled_is_reported(database: Database) -> None:
    """Calls of a dead worker, and numbers that lost hours may have dialled: they end unknown, and have no trunk."""

    async def story(rig: Rig) -> None:
        to = await receiver(rig)
        task_id = await rig.new_task(3)
        await rig.lease(1)
        copied_at = rig.clock.ms
        rig.clock.advance(MINUTE_MS)
        async with rig.store.write() as tx:
            await provenance.hold(tx, "a test", rig.clock.ms)
            await tx.execute(text("UPDATE provenance SET copied_at = :at"), {"at": copied_at})
        async with rig.store.write() as tx:
            await settling.settle(tx, None, pid=1, now_ms=rig.clock.ms, minute_seconds=60)
        ids = await ids_of(rig, task_id)
        assert await told(rig, to) == [*calls(*ids), ("task.finished", task_id)]
        async with rig.store.read() as tx:
            found = await call_records.by_ids(tx, ids)
        assert sorted(found) == ids
        assert {one.outcome for one in found.values()} == {Outcome.UNKNOWN}
        assert [found[one].trunk for one in ids] == ["t1", "", ""]

    database.run(story)


# Tasks of which only the last result of a number is told.


async def last_only(rig: Rig, numbers: int, rounds: int = 2) -> int:
    new = [NewCall(f"4930{number:06}", "Europe/Berlin", None) for number in range(numbers)]
    async with rig.store.write() as tx:
        spec = TaskSpec(
            name="code", template_id=rig.template, application_id=rig.app, limits=Limits(), report_last=True
        )
        task_id = await tasks.create(tx, rig.account, spec, new, rig.clock.ms)
        flow = recall(FAILED, rounds=rounds)
        await flows.create(tx, rig.account, task_id, flow, parent_template_id=rig.template, now_ms=rig.clock.ms)
    await rig.submit()
    return task_id


async def told_calls(rig: Rig, to: int) -> list[int]:
    """Calls of reports that may be sent, or were."""
    waves = await deliver_all(rig, to)
    return [subject for wave in waves for event, subject in wave if event == "call.ended"]


@pytest.mark.parametrize("form", [Form.SINGLE, Form.EVENTS])
def test_only_the_last_result_of_each_number_is_told(database: Database, form: Form) -> None:
    async def story(rig: Rig) -> None:
        to = await receiver(rig, form)
        task_id = await last_only(rig, 4)
        await rig.run_all(task_id, [ANSWERED, BUSY, BUSY, BUSY])
        zero = await ids_of(rig, task_id)
        assert await told_calls(rig, to) == [zero[0]]
        first = await rig.start_next_node()
        assert first is not None
        await rig.run_all(first, [ANSWERED, BUSY, BUSY])
        one = await ids_of(rig, first)
        assert await told_calls(rig, to) == [one[0]]
        second = await rig.start_next_node()
        assert second is not None
        (leased, _) = await rig.lease(2)
        await rig.end(leased.call_id, outcome=Outcome.BUSY)
        assert await told_calls(rig, to) == [leased.call_id], "no later round calls it"
        rest = [call_id for call_id in await ids_of(rig, second) if call_id != leased.call_id]
        await rig.end(*rest)
        assert await told_calls(rig, to) == rest
        assert await rig.one("SELECT count(*) FROM report WHERE state = 'pending'") == 0
        if form is Form.EVENTS:
            assert (await told(rig, to))[-1][0] == "flow.completed"

    database.run(story)


@pytest.mark.parametrize("how", ["flow", "node", "round", "broken", "nobody"])
def test_an_early_end_lets_go_what_waited(database: Database, how: str) -> None:
    """Also of numbers that the round took over and never dialled."""

    async def story(rig: Rig) -> None:
        to = await receiver(rig)
        task_id = await last_only(rig, 3)
        await rig.run_all(task_id, [BUSY, BUSY, BUSY])
        zero = await ids_of(rig, task_id)
        assert await told_calls(rig, to) == []
        flow = await rig.flow_of(task_id)
        expected = zero
        if how == "flow":
            await rig.cancel_flow(flows.CancelBy.FLOW, flow.id)
        elif how == "node":
            await rig.cancel_flow(flows.CancelBy.NODE_ONWARD, flow.nodes[0].id)
        elif how == "broken":
            async with rig.store.write() as tx:
                await nodes.refuse(tx, flow.nodes[0].id, "a test", rig.clock.ms)
        elif how == "round":
            round_id = await rig.start_next_node()
            assert round_id is not None
            (leased,) = await rig.lease(1)
            await rig.end(leased.call_id, outcome=Outcome.BUSY)
            await rig.cancel(round_id)
            expected = [leased.call_id, *zero[1:]]
        else:
            round_id = await rig.start_next_node()
            assert round_id is not None
            # All of them are on the list of numbers that are not called by now.
            await rig.run_sql("UPDATE call SET state = 'skipped', reason = 'denied' WHERE task_id = :id", id=round_id)
            await rig.run_sql("UPDATE lane SET queued = 0 WHERE task_id = :id", id=round_id)
            await rig.run_sql("UPDATE task SET queued = 0, skipped = 3 WHERE id = :id", id=round_id)
            async with rig.store.write() as tx:
                await tasks.finish_done(tx, [round_id], rig.clock.ms, minute_seconds=60)
            assert await rig.start_next_node() is None
        assert sorted(await told_calls(rig, to)) == sorted(expected)
        assert (await told(rig, to))[-1] == ("flow.completed", flow.id)
        assert await rig.one("SELECT count(*) FROM report WHERE state = 'pending'") == 0

    database.run(story)


def test_what_waits_for_its_last_result_holds_up_nothing(database: Database) -> None:
    async def story(rig: Rig) -> None:
        to = await receiver(rig)
        task_id = await last_only(rig, 2)
        await rig.run_all(task_id, [BUSY, BUSY])
        assert await shown(rig, to) == [("task.finished", task_id)]
        assert [one.event for one in await due(rig, to)] == [Event.TASK_FINISHED]

    database.run(story)
