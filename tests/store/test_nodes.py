"""What makes a flow run: due times, audiences, the tasks of the rounds, and every way in which a flow ends."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ringback.model.audience import RecallType
from ringback.model.flow import FlowSpec
from ringback.model.outcome import Outcome
from ringback.model.states import FlowState
from ringback.model.task import NewCall
from ringback.model.windows import Window
from ringback.store import nodes, templates
from ringback.store.flows import CancelBy
from tests.store.rig import MINUTE_MS, Database, Rig, node_states, recall

PENDING, IN_PROGRESS, COMPLETED, CANCELLED, EXCEPTION = FlowState

#: One call of every kind: how it ended and what the template said of it.
ENDS: list[tuple[Outcome, str | None]] = [
    (Outcome.ANSWERED, "101"),
    (Outcome.ANSWERED, "102"),
    (Outcome.ANSWERED, None),
    (Outcome.VOICEMAIL, "101"),
    (Outcome.VOICEMAIL, None),
    (Outcome.BUSY, None),
    (Outcome.NO_ANSWER, None),
    (Outcome.REJECTED, None),
    (Outcome.UNREACHABLE, None),
    (Outcome.INVALID_NUMBER, None),
    (Outcome.CONGESTION, None),
    (Outcome.FAILED, None),
    (Outcome.UNKNOWN, None),
]
NUMBERS = [f"49{number:08}" for number in range(len(ENDS))]
FAILED = NUMBERS[5:]


async def callees(rig: Rig, task_id: int) -> list[str]:
    return [row.callee for row in await rig.rows("SELECT callee FROM call WHERE task_id = :id ORDER BY id", id=task_id)]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (recall(RecallType.ALL), NUMBERS),
        (recall(RecallType.ALL, intents=["101"]), [NUMBERS[0], NUMBERS[3]]),
        (recall(RecallType.ALL, intents=["102", "101"]), [NUMBERS[0], NUMBERS[1], NUMBERS[3]]),
        (recall(RecallType.FAILED), FAILED),
        (recall(RecallType.FAILED, intents=["101"]), [NUMBERS[0], NUMBERS[3], *FAILED]),
        (recall(RecallType.FAILED, intents=["999"]), FAILED),
    ],
    ids=["all", "intent", "intents", "failed", "failed or intent", "failed or unheard of"],
)
def test_a_round_dials_its_audience(database: Database, spec: FlowSpec, expected: list[str]) -> None:
    async def story(rig: Rig) -> None:
        parent = await rig.new_task(NUMBERS, flow=spec)
        await rig.run_all(parent, ENDS)
        task_id = await rig.start_next_node()
        assert task_id is not None
        assert await callees(rig, task_id) == expected
        task = await rig.task(task_id)
        assert (task.total, task.queued, task.state) == (len(expected), len(expected), "calling")
        node = (await rig.flow_of(parent)).nodes[0]
        assert node.qualified == len(expected)
        # Every number that was not taken has its reason: nobody is missing from the explanation.
        assert node.left_out is not None
        assert sum(msgspec.json.decode(node.left_out).values()) == len(NUMBERS) - len(expected)
        assert {lease.callee for lease in await rig.lease()} == set(expected)

    database.run(story)


def test_those_left_out_are_counted_by_how_their_call_ended(database: Database) -> None:
    async def story(rig: Rig) -> None:
        parent = await rig.new_task(NUMBERS, flow=recall(RecallType.FAILED, intents=["101"]))
        await rig.run_all(parent, ENDS)
        await rig.start_next_node()
        left_out = (await rig.flow_of(parent)).nodes[0].left_out
        assert left_out is not None
        assert msgspec.json.decode(left_out) == {"answered": 2, "voicemail": 1}

    database.run(story)


def test_skipped_and_cancelled_numbers_are_never_recalled(database: Database) -> None:
    async def story(rig: Rig) -> None:
        numbers = [NewCall("4912345678", "Europe/Berlin", None), NewCall("999912345", "", None)]
        parent = await rig.new_task(numbers, flow=recall(RecallType.ALL), windows=(Window(0, 1440),))
        await rig.run_all(parent)
        task_id = await rig.start_next_node()
        assert task_id is not None
        assert await callees(rig, task_id) == ["4912345678"]

    database.run(story)


def test_each_round_chooses_from_the_round_before(database: Database) -> None:
    async def story(rig: Rig) -> None:
        parent = await rig.new_task(6, flow=recall(RecallType.FAILED, rounds=3))
        numbers = await callees(rig, parent)
        busy = (Outcome.BUSY, None)
        good = (Outcome.ANSWERED, None)
        await rig.run_all(parent, [busy, good, busy, busy, busy, good])
        first = await rig.start_next_node()
        assert first is not None
        assert await callees(rig, first) == [numbers[0], numbers[2], numbers[3], numbers[4]]
        await rig.run_all(first, [good, busy, good, busy])
        second = await rig.start_next_node()
        assert second is not None
        # Those who answered in the first round are left alone, though their call of the parent had failed.
        assert await callees(rig, second) == [numbers[2], numbers[4]]
        await rig.run_all(second, [good, busy])
        third = await rig.start_next_node()
        assert third is not None
        assert await callees(rig, third) == [numbers[4]]
        await rig.run_all(third, [busy])
        flow = await rig.flow_of(parent)
        assert (flow.state, node_states(flow)) == (COMPLETED, [COMPLETED] * 3)
        assert [node.task_id for node in flow.nodes] == [first, second, third]
        assert [node.qualified for node in flow.nodes] == [4, 2, 1]

    database.run(story)


def test_a_node_is_due_exactly_one_interval_after_the_end(database: Database) -> None:
    async def story(rig: Rig) -> None:
        parent = await rig.new_task(2, flow=recall(interval=7, rounds=2))
        one, two = await rig.lease()
        rig.clock.advance(1234)
        await rig.end(one.call_id)
        rig.clock.advance(999)
        assert (await rig.flow_of(parent)).nodes[0].due_at is None
        await rig.end(two.call_id)
        finished = rig.clock.ms
        flow = await rig.flow_of(parent)
        assert (flow.state, [node.due_at for node in flow.nodes]) == (PENDING, [finished + 7 * MINUTE_MS, None])
        node_id = flow.nodes[0].id

        rig.clock.advance(7 * MINUTE_MS - 1)
        assert await rig.due_nodes() == []
        assert await rig.start_node(node_id) is None
        assert (await rig.flow_of(parent)).state is PENDING
        rig.clock.advance(1)
        async with rig.store.read() as tx:
            assert await nodes.next_due_at(tx) == rig.clock.ms
        assert await rig.due_nodes() == [node_id]
        task_id = await rig.start_node(node_id)
        assert task_id is not None
        flow = await rig.flow_of(parent)
        assert (flow.state, node_states(flow)) == (IN_PROGRESS, [IN_PROGRESS, PENDING])
        assert flow.nodes[0].started_at == rig.clock.ms
        assert await rig.due_nodes() == []

        # The second interval starts when the first round's task has finished, however late that is.
        await rig.submit()
        rig.clock.advance(86_400_000)
        await rig.run_all(task_id)
        finished_at = (await rig.task(task_id)).finished_at
        assert finished_at is not None
        assert finished_at > finished + 86_400_000
        flow = await rig.flow_of(parent)
        assert flow.nodes[1].due_at == finished_at + 7 * MINUTE_MS
        assert flow.nodes[0].ended_at == finished_at

    database.run(story)


def test_a_node_starts_once(database: Database) -> None:
    async def story(rig: Rig) -> None:
        parent = await rig.new_task(2, flow=recall(rounds=2))
        await rig.run_all(parent)
        rig.clock.advance(6 * MINUTE_MS)
        (node_id,) = await rig.due_nodes()
        task_id = await rig.start_node(node_id)
        assert task_id is not None
        assert await rig.start_node(node_id) is None
        assert await rig.start_node(999) is None
        assert await rig.one("SELECT count(*) FROM task") == 2
        await rig.submit()
        await rig.run_all(task_id)
        assert await rig.start_node(node_id) is None

    database.run(story)


def test_the_longest_due_comes_first(database: Database) -> None:
    async def story(rig: Rig) -> None:
        slow = await rig.new_task(1, flow=recall(interval=9))
        await rig.run_all(slow)
        quick = await rig.new_task(1, flow=recall(interval=1))
        await rig.run_all(quick)
        rig.clock.advance(3_600_000)
        wanted = [(await rig.flow_of(task_id)).nodes[0].id for task_id in (quick, slow)]
        assert await rig.due_nodes() == wanted
        async with rig.store.read() as tx:
            assert await nodes.due(tx, rig.clock.ms, 1) == wanted[:1]

    database.run(story)


def test_a_round_is_like_its_parent(database: Database) -> None:
    async def story(rig: Rig) -> None:
        second = await rig.new_template()
        numbers = [
            NewCall("4912345678", "Europe/Berlin", '{"text1":"a"}'),
            NewCall("12125550123", "America/New_York", None),
        ]
        limits: dict[str, Any] = {"windows": (Window(0, 1440),), "ring_seconds": 44, "call_seconds": 99, "lines": 2}
        parent = await rig.new_task(
            numbers, name="spring", flow=recall(rounds=3, template_ids=[rig.template, second]), **limits
        )
        await rig.run_sql("UPDATE task SET caller_id = '4930111'")
        await rig.run_all(parent)
        for position in (1, 2, 3):
            task_id = await rig.start_next_node()
            assert task_id is not None
            task, like = await rig.task(task_id), await rig.task(parent)
            assert task.name == f"spring-recall-{position}"
            assert task.template_id == (rig.template if position == 1 else second)
            assert (task.account_id, task.application_id, task.caller_id) == (
                like.account_id,
                like.application_id,
                "4930111",
            )
            assert task.limits == like.limits
            assert task.send_at == task.created_at == rig.clock.ms
            copied = await rig.rows("SELECT callee, zone, texts FROM call WHERE task_id = :id ORDER BY id", id=task_id)
            assert [NewCall(*row) for row in copied] == numbers
            assert len(await rig.rows("SELECT zone FROM lane WHERE task_id = :id", id=task_id)) == 2
            await rig.run_all(task_id)

    database.run(story)


def test_the_name_of_a_round_is_free_and_fits(database: Database) -> None:
    async def story(rig: Rig) -> None:
        long = "%_" + "x" * 62
        await rig.new_task(1, name="spring-recall-1", started=False, send_in_ms=10**9)
        await rig.new_task(1, name="spring-recall-1-2", started=False, send_in_ms=10**9)
        await rig.new_task(1, name=long[:55] + "-recall-1", started=False, send_in_ms=10**9)
        other = await rig.new_account("other")
        await rig.new_task(1, name="spring-recall-1-3", account=other, started=False, send_in_ms=10**9)
        names = []
        for name in ("spring", long):
            parent = await rig.new_task(1, name=name, flow=recall())
            await rig.run_all(parent)
            task_id = await rig.start_next_node()
            assert task_id is not None
            names.append((await rig.task(task_id)).name)
            await rig.run_all(task_id)
        assert names == ["spring-recall-1-3", long[:53] + "-recall-1-2"]
        assert [len(name) for name in names] == [17, 64]

    database.run(story)


def test_nobody_qualifies_so_all_that_is_left_is_completed(database: Database) -> None:
    async def story(rig: Rig) -> None:
        parent = await rig.new_task(2, flow=recall(RecallType.FAILED, rounds=3))
        await rig.run_all(parent)
        assert await rig.start_next_node() is None
        flow = await rig.flow_of(parent)
        assert (flow.state, node_states(flow)) == (COMPLETED, [COMPLETED] * 3)
        assert [node.task_id for node in flow.nodes] == [None] * 3
        assert [node.reason for node in flow.nodes] == ["nobody was left to recall"] * 3
        assert (flow.nodes[0].qualified, flow.nodes[0].left_out) == (0, '{"answered":2}')
        assert await rig.one("SELECT count(*) FROM task") == 1
        assert await rig.due_nodes() == []

    database.run(story)


def test_nobody_qualifies_for_the_second_round(database: Database) -> None:
    async def story(rig: Rig) -> None:
        parent = await rig.new_task(2, flow=recall(RecallType.FAILED, rounds=3))
        await rig.run_all(parent, [(Outcome.BUSY, None)])
        first = await rig.start_next_node()
        assert first is not None
        await rig.run_all(first)
        assert (await rig.flow_of(parent)).state is IN_PROGRESS
        assert await rig.start_next_node() is None
        flow = await rig.flow_of(parent)
        assert (flow.state, node_states(flow)) == (COMPLETED, [COMPLETED] * 3)
        assert [node.task_id for node in flow.nodes] == [first, None, None]

    database.run(story)


def test_a_cancelled_parent_cancels_its_flow(database: Database) -> None:
    async def story(rig: Rig) -> None:
        parent = await rig.new_task(3, flow=recall(rounds=2))
        (lease,) = await rig.lease(1)
        await rig.cancel(parent)
        flow = await rig.flow_of(parent)
        assert (flow.state, node_states(flow)) == (CANCELLED, [CANCELLED] * 2)
        assert flow.reason
        # The last call in the air ends, and nothing comes of it.
        await rig.end(lease.call_id, outcome=Outcome.BUSY)
        rig.clock.advance(86_400_000)
        assert await rig.due_nodes() == []

    database.run(story)


def test_a_flow_that_its_owner_cancelled_stays_as_it_was(database: Database) -> None:
    async def story(rig: Rig) -> None:
        parent = await rig.new_task(3, flow=recall())
        await rig.cancel_flow(CancelBy.PARENT_TASK, parent)
        before = await rig.flow_of(parent)
        rig.clock.advance(1000)
        await rig.cancel(parent)
        assert await rig.flow_of(parent) == before

    database.run(story)


def test_a_parent_cancelled_before_it_started_cancels_its_flow(database: Database) -> None:
    async def story(rig: Rig) -> None:
        parent = await rig.new_task(3, flow=recall(), started=False, send_in_ms=1000)
        await rig.cancel(parent)
        assert (await rig.flow_of(parent)).state is CANCELLED
        rig.clock.advance(2000)
        assert await rig.submit() == []

    database.run(story)


def test_a_suspended_parent_lets_its_flow_wait(database: Database) -> None:
    async def story(rig: Rig) -> None:
        parent = await rig.new_task(2, flow=recall())
        await rig.suspend(parent)
        rig.clock.advance(86_400_000)
        assert await rig.due_nodes() == []
        assert (await rig.flow_of(parent)).state is PENDING
        await rig.resume(parent)
        await rig.run_all(parent)
        finished = (await rig.task(parent)).finished_at
        assert finished is not None
        assert (await rig.flow_of(parent)).nodes[0].due_at == finished + 5 * MINUTE_MS

    database.run(story)


@pytest.mark.parametrize("ran", [0, 1])
def test_a_cancelled_round_ends_the_flow(database: Database, ran: int) -> None:
    async def story(rig: Rig) -> None:
        parent = await rig.new_task(2, flow=recall(rounds=3))
        await rig.run_all(parent)
        for _ in range(ran):
            task_id = await rig.start_next_node()
            assert task_id is not None
            await rig.run_all(task_id)
        task_id = await rig.start_next_node()
        assert task_id is not None
        (lease,) = await rig.lease(1)
        await rig.cancel(task_id)
        flow = await rig.flow_of(parent)
        # Completed when an earlier round ran, else cancelled.
        assert flow.state is (COMPLETED if ran else CANCELLED)
        assert node_states(flow) == [COMPLETED] * ran + [CANCELLED] * (3 - ran)
        assert flow.nodes[ran].task_id == task_id
        await rig.end(lease.call_id)
        assert node_states(await rig.flow_of(parent)) == node_states(flow)

    database.run(story)


def test_a_cancelled_round_whose_successors_were_cancelled_before(database: Database) -> None:
    async def story(rig: Rig) -> None:
        parent = await rig.new_task(2, flow=recall(rounds=2))
        await rig.run_all(parent)
        task_id = await rig.start_next_node()
        assert task_id is not None
        await rig.cancel_flow(CancelBy.NODE_ONWARD, (await rig.flow_of(parent)).nodes[1].id)
        await rig.cancel(task_id)
        flow = await rig.flow_of(parent)
        assert (flow.state, node_states(flow)) == (CANCELLED, [CANCELLED, CANCELLED])

    database.run(story)


@pytest.mark.parametrize("ran", [0, 1])
def test_a_round_with_a_retired_template_is_an_exception(database: Database, ran: int) -> None:
    async def story(rig: Rig) -> None:
        old = await rig.new_template()
        parent = await rig.new_task(2, flow=recall(rounds=3, template_ids=[rig.template] * ran + [old]))
        await rig.run_all(parent)
        for _ in range(ran):
            task_id = await rig.start_next_node()
            assert task_id is not None
            await rig.run_all(task_id)
        async with rig.store.write() as tx:
            await templates.retire(tx, old, rig.clock.ms)
        task_id = await rig.start_next_node()
        assert task_id is not None
        assert (await rig.task(task_id)).state == "submission_failed"
        flow = await rig.flow_of(parent)
        assert flow.state is EXCEPTION
        assert f"template {old} has been retired" in flow.reason
        assert node_states(flow) == [COMPLETED] * ran + [EXCEPTION] * (3 - ran)
        assert {node.reason for node in flow.nodes[ran:]} == {flow.reason}
        assert await rig.lease() == []

    database.run(story)


def test_a_refused_parent_whose_flow_was_cancelled_changes_nothing(database: Database) -> None:
    async def story(rig: Rig) -> None:
        old = await rig.new_template()
        parent = await rig.new_task(2, flow=recall(), template=old, started=False, send_in_ms=1000)
        await rig.cancel_flow(CancelBy.PARENT_TASK, parent)
        async with rig.store.write() as tx:
            await templates.retire(tx, old, rig.clock.ms)
        rig.clock.advance(1000)
        await rig.submit()
        assert (await rig.task(parent)).state == "submission_failed"
        flow = await rig.flow_of(parent)
        assert (flow.state, node_states(flow)) == (CANCELLED, [CANCELLED])

    database.run(story)


def test_a_node_that_breaks_ends_its_flow_with_a_reason(database: Database) -> None:
    async def story(rig: Rig) -> None:
        parent = await rig.new_task(2, flow=recall(rounds=3))
        await rig.run_all(parent)
        rig.clock.advance(3_600_000)
        (node_id,) = await rig.due_nodes()
        for _ in range(2):
            async with rig.store.write() as tx:
                await nodes.refuse(tx, node_id, "internal error: KeyError", rig.clock.ms)
                await nodes.refuse(tx, 999, "internal error: KeyError", rig.clock.ms)
        flow = await rig.flow_of(parent)
        assert (flow.state, flow.reason) == (EXCEPTION, "internal error: KeyError")
        assert [(node.state, node.reason, node.due_at) for node in flow.nodes] == [(EXCEPTION, flow.reason, None)] * 3
        assert await rig.due_nodes() == []
        assert await rig.start_node(node_id) is None

    database.run(story)


def test_a_running_node_is_not_refused(database: Database) -> None:
    async def story(rig: Rig) -> None:
        parent = await rig.new_task(2, flow=recall(rounds=2))
        await rig.run_all(parent)
        await rig.start_next_node()
        before = await rig.flow_of(parent)
        async with rig.store.write() as tx:
            await nodes.refuse(tx, before.nodes[0].id, "internal error: KeyError", rig.clock.ms)
        assert await rig.flow_of(parent) == before

    database.run(story)


def test_twenty_thousand_numbers_are_recalled_in_one_go(file_database: Database) -> None:
    async def story(rig: Rig) -> None:
        parent = await rig.new_task(20_000, flow=recall(RecallType.FAILED))
        await rig.run_sql(
            "UPDATE call SET state = 'dialling', worker_id = :w, trunk_id = :t, lease_no = 0, started_at = 1",
            w=rig.worker,
            t=rig.trunk,
        )
        await rig.run_sql("UPDATE trunk SET channels = 20000, busy = 20000")
        await rig.run_sql("UPDATE lane SET queued = 0")
        await rig.run_sql("UPDATE task SET queued = 0, active = 20000")
        await rig.end(*range(1, 20_001), outcome=Outcome.BUSY)
        task_id = await rig.start_next_node()
        assert task_id is not None
        assert (await rig.task(task_id)).queued == 20_000
        assert await callees(rig, task_id) == await callees(rig, parent)
        await rig.cancel(task_id)

    file_database.run(story)
