"""Recall flows as their owner sees and changes them: recall rules 2, 3, 9 and 10."""

from __future__ import annotations

import asyncio

import pytest

from ringback.model.audience import RecallType
from ringback.model.flow import FlowSpec
from ringback.model.states import FlowState
from ringback.store import flow_pages, flows, nodes
from ringback.store.flows import CancelBy, FlowNotFound, FlowWrongState
from tests.store.rig import Database, Rig, SetClock, node_states, recall

PENDING, IN_PROGRESS, COMPLETED, CANCELLED, EXCEPTION = FlowState


async def pending_flow(rig: Rig, spec: FlowSpec) -> int:
    """The flow of a task that is still calling."""
    return (await rig.flow_of(await rig.new_task(2, flow=spec))).id


async def waiting_flow(rig: Rig, spec: FlowSpec) -> int:
    """The flow of a task that has finished: it waits for its first node to be due."""
    task_id = await rig.new_task(2, flow=spec)
    await rig.run_all(task_id)
    return (await rig.flow_of(task_id)).id


async def running_flow(rig: Rig, spec: FlowSpec) -> int:
    """A flow whose first node has started."""
    flow_id = await waiting_flow(rig, spec)
    assert await rig.start_next_node() is not None
    return flow_id


def test_nodes_are_there_from_the_start(database: Database) -> None:
    async def story(rig: Rig) -> None:
        other = await rig.new_template()
        task_id = await rig.new_task(
            2, flow=recall(RecallType.FAILED, rounds=3, interval=7, intents=["101", "102"], template_ids=[other])
        )
        flow = await rig.flow_of(task_id)
        assert (flow.state, flow.parent_task_id, flow.account_id) == (PENDING, task_id, rig.account)
        assert (flow.recall_type, flow.recall_intents) == (RecallType.FAILED, ["101", "102"])
        assert (flow.interval_minutes, flow.rounds, flow.created_at) == (7, 3, rig.clock.ms)
        assert [node.position for node in flow.nodes] == [1, 2, 3]
        assert [node.template_id for node in flow.nodes] == [other] * 3
        assert {(node.state, node.task_id, node.due_at, node.reason) for node in flow.nodes} == {
            (PENDING, None, None, "")
        }
        assert len({node.id for node in flow.nodes}) == 3

    database.run(story)


def test_without_templates_the_nodes_run_the_parents(database: Database) -> None:
    async def story(rig: Rig) -> None:
        own = await rig.new_template()
        task_id = await rig.new_task(2, flow=recall(rounds=2), template=own)
        assert [node.template_id for node in (await rig.flow_of(task_id)).nodes] == [own, own]

    database.run(story)


def test_a_task_has_one_flow(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(2, flow=recall())
        async with rig.store.write() as tx:
            with pytest.raises(Exception, match=r"UNIQUE|unique"):
                await flows.create(
                    tx, rig.account, task_id, recall(), parent_template_id=rig.template, now_ms=rig.clock.ms
                )

    database.run(story)


def test_pages_are_newest_first_and_filtered(database: Database) -> None:
    async def story(rig: Rig) -> None:
        made = []
        for number in range(5):
            task_id = await rig.new_task(1, name=f"100%_{number}", flow=recall(rounds=2), started=False)
            made.append(((await rig.flow_of(task_id)).id, task_id))
            rig.clock.advance(1000)
        await rig.new_task(1, name="no flow", started=False)
        first_ms = rig.clock.ms - 5000
        keys = [flow_id for flow_id, _ in reversed(made)]

        async def page(**wanted: object) -> tuple[int, list[int]]:
            chosen = {"created_from": 0, "created_to": 1 << 60, "limit": 100, "offset": 0, **wanted}
            async with rig.store.read() as tx:
                total, found = await flow_pages.page(tx, rig.account, **chosen)  # type: ignore[arg-type]  # test data
            return total, [row.id for row in found]

        assert await page() == (5, keys)
        assert await page(limit=2, offset=1) == (5, keys[1:3])
        assert await page(created_from=first_ms + 1000, created_to=first_ms + 2000) == (2, keys[2:4])
        assert await page(parent="%_3") == (1, [made[3][0]])
        assert await page(parent="0%_") == (5, keys)
        assert await page(parent="nothing") == (0, [])
        # A number is a part of the name or the task's id.
        assert made[1][0] in (await page(parent=str(made[1][1])))[1]
        assert await page(parent="٣") == (0, [])
        assert await page(parent="9" * 30) == (0, [])
        async with rig.store.read() as tx:
            _, rows = await flow_pages.page(tx, rig.account, created_from=0, created_to=1 << 60, limit=1, offset=0)
        assert (rows[0].task_name, rows[0].rounds, rows[0].finished, rows[0].state) == ("100%_4", 2, 0, PENDING)

    database.run(story)


def test_a_list_counts_the_rounds_that_are_completed(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await running_flow(rig, recall(rounds=3))
        for finished in (0, 1, 2, 3):
            async with rig.store.read() as tx:
                _, (row,) = await flow_pages.page(
                    tx, rig.account, created_from=0, created_to=1 << 60, limit=9, offset=0
                )
            assert row.finished == finished
            running = [row.id for row in await rig.rows("SELECT id FROM task WHERE state = 'calling'")]
            for task_id in running:
                await rig.run_all(task_id)
            if finished in (0, 1):
                await rig.start_next_node()
        assert row.state is COMPLETED

    database.run(story)


def test_an_edit_keeps_the_key_of_every_position_that_stays(database: Database) -> None:
    async def story(rig: Rig) -> None:
        one, two = await rig.new_template(), await rig.new_template()
        flow_id = await pending_flow(rig, recall(rounds=3, template_ids=[one]))
        keys = [node.id for node in (await rig.flow(flow_id)).nodes]

        await rig.edit(flow_id, recall(RecallType.FAILED, rounds=5, interval=9, intents=["7"], template_ids=[two, one]))
        flow = await rig.flow(flow_id)
        assert (flow.state, flow.recall_type, flow.recall_intents) == (PENDING, RecallType.FAILED, ["7"])
        assert (flow.interval_minutes, flow.rounds) == (9, 5)
        assert [node.position for node in flow.nodes] == [1, 2, 3, 4, 5]
        assert [node.id for node in flow.nodes[:3]] == keys
        assert len({node.id for node in flow.nodes}) == 5
        assert [node.template_id for node in flow.nodes] == [two, one, one, one, one]

        grown = [node.id for node in flow.nodes]
        await rig.edit(flow_id, recall(rounds=2))
        flow = await rig.flow(flow_id)
        assert [node.id for node in flow.nodes] == keys[:2]
        assert [node.template_id for node in flow.nodes] == [rig.template] * 2
        # A key that was dropped never comes back for something else.
        await rig.edit(flow_id, recall(rounds=4))
        flow = await rig.flow(flow_id)
        assert [node.id for node in flow.nodes[:2]] == keys[:2]
        assert not {node.id for node in flow.nodes[2:]} & set(grown)

    database.run(story)


def test_an_edit_while_the_first_node_waits_moves_its_due_time(database: Database) -> None:
    async def story(rig: Rig) -> None:
        flow_id = await waiting_flow(rig, recall(interval=10, rounds=2))
        finished = rig.clock.ms - 100
        flow = await rig.flow(flow_id)
        parent = await rig.task(flow.parent_task_id)
        assert parent.finished_at is not None
        finished = parent.finished_at
        assert flow.nodes[0].due_at == finished + 600_000
        rig.clock.advance(60_000)
        await rig.edit(flow_id, recall(interval=20, rounds=3))
        flow = await rig.flow(flow_id)
        # It counts from the end of the task, not from the edit; the nodes behind it are not due at all.
        assert [node.due_at for node in flow.nodes] == [finished + 1_200_000, None, None]
        await rig.edit(flow_id, recall(interval=1, rounds=1))
        assert await rig.due_nodes() == [flow.nodes[0].id]

    database.run(story)


def test_an_edit_of_a_flow_whose_parent_calls_makes_nothing_due(database: Database) -> None:
    async def story(rig: Rig) -> None:
        flow_id = await pending_flow(rig, recall())
        await rig.edit(flow_id, recall(rounds=2, interval=1))
        assert [node.due_at for node in (await rig.flow(flow_id)).nodes] == [None, None]
        parent = (await rig.flow(flow_id)).parent_task_id
        await rig.run_all(parent)
        finished = (await rig.task(parent)).finished_at
        assert finished is not None
        assert (await rig.flow(flow_id)).nodes[0].due_at == finished + 60_000

    database.run(story)


def test_only_a_pending_flow_is_edited(database: Database) -> None:
    async def story(rig: Rig) -> None:
        running = await running_flow(rig, recall(rounds=2))
        before = await rig.flow(running)
        with pytest.raises(FlowWrongState, match=f"recall flow {running} is in progress; only a pending one"):
            await rig.edit(running, recall(rounds=5))
        assert await rig.flow(running) == before
        gone = await pending_flow(rig, recall())
        await rig.cancel_flow(CancelBy.FLOW, gone)
        with pytest.raises(FlowWrongState, match="is cancelled"):
            await rig.edit(gone, recall())
        with pytest.raises(FlowNotFound, match="there is no recall flow 999"):
            await rig.edit(999, recall())

    database.run(story)


def test_an_edit_of_a_flow_with_cancelled_rounds_leaves_no_gap(database: Database) -> None:
    """A cancelled node stays cancelled for good; a new one takes its place when the edit wants the round again."""

    async def story(rig: Rig) -> None:
        flow_id = await pending_flow(rig, recall(rounds=4))
        keys = [node.id for node in (await rig.flow(flow_id)).nodes]
        await rig.cancel_flow(CancelBy.NODE_ONWARD, keys[1])
        assert node_states(await rig.flow(flow_id)) == [PENDING, CANCELLED, CANCELLED, CANCELLED]
        await rig.edit(flow_id, recall(rounds=5))
        flow = await rig.flow(flow_id)
        assert node_states(flow) == [PENDING] * 5
        assert flow.nodes[0].id == keys[0]
        assert not {node.id for node in flow.nodes} & set(keys[1:])
        # And it runs to its end, round after round.
        await rig.run_all(flow.parent_task_id)
        for _ in range(5):
            task_id = await rig.start_next_node()
            assert task_id is not None
            await rig.run_all(task_id)
        assert node_states(await rig.flow(flow_id)) == [COMPLETED] * 5
        assert (await rig.flow(flow_id)).state is COMPLETED

    database.run(story)


@pytest.mark.parametrize("by", [CancelBy.FLOW, CancelBy.PARENT_TASK])
@pytest.mark.parametrize("make", [pending_flow, waiting_flow])
def test_cancelling_a_pending_flow_cancels_all_of_it(database: Database, by: CancelBy, make: object) -> None:
    async def story(rig: Rig) -> None:
        flow_id = await make(rig, recall(rounds=3))  # type: ignore[operator]  # one of the functions above
        flow = await rig.flow(flow_id)
        await rig.cancel_flow(by, flow_id if by is CancelBy.FLOW else flow.parent_task_id)
        flow = await rig.flow(flow_id)
        assert (flow.state, node_states(flow)) == (CANCELLED, [CANCELLED] * 3)
        assert [node.due_at for node in flow.nodes] == [None] * 3
        async with rig.store.read() as tx:
            assert await nodes.next_due_at(tx) is None
        rig.clock.advance(86_400_000)
        assert await rig.due_nodes() == []
        assert await rig.start_node(flow.nodes[0].id) is None
        with pytest.raises(FlowWrongState, match="is cancelled"):
            await rig.cancel_flow(by, flow_id if by is CancelBy.FLOW else flow.parent_task_id)

    database.run(story)


def test_the_parent_of_a_cancelled_flow_calls_on(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(2, flow=recall())
        await rig.cancel_flow(CancelBy.PARENT_TASK, task_id)
        await rig.run_all(task_id)
        assert (await rig.task(task_id)).state == "finished"
        flow = await rig.flow_of(task_id)
        assert (flow.state, flow.nodes[0].due_at) == (CANCELLED, None)

    database.run(story)


@pytest.mark.parametrize("by", [CancelBy.FLOW, CancelBy.PARENT_TASK])
def test_a_flow_in_progress_is_not_cancelled(database: Database, by: CancelBy) -> None:
    async def story(rig: Rig) -> None:
        flow_id = await running_flow(rig, recall(rounds=2))
        flow = await rig.flow(flow_id)
        with pytest.raises(FlowWrongState, match=f"recall flow {flow_id} is in progress"):
            await rig.cancel_flow(by, flow_id if by is CancelBy.FLOW else flow.parent_task_id)
        assert await rig.flow(flow_id) == flow

    database.run(story)


def test_what_there_is_not_cannot_be_cancelled(database: Database) -> None:
    async def story(rig: Rig) -> None:
        bare = await rig.new_task(1)
        for by, what in (
            (CancelBy.FLOW, "recall flow"),
            (CancelBy.PARENT_TASK, "task"),
            (CancelBy.NODE_ONWARD, "node"),
        ):
            with pytest.raises(FlowNotFound, match=f"there is no .*{what} 999"):
                await rig.cancel_flow(by, 999)
        with pytest.raises(FlowNotFound):
            await rig.cancel_flow(CancelBy.PARENT_TASK, bare)

    database.run(story)


def test_cancelling_the_first_node_of_a_pending_flow_cancels_the_flow(database: Database) -> None:
    async def story(rig: Rig) -> None:
        flow_id = await waiting_flow(rig, recall(rounds=3))
        await rig.cancel_flow(CancelBy.NODE_ONWARD, (await rig.flow(flow_id)).nodes[0].id)
        flow = await rig.flow(flow_id)
        assert (flow.state, node_states(flow)) == (CANCELLED, [CANCELLED] * 3)

    database.run(story)


def test_cancelling_a_later_node_of_a_pending_flow_shortens_it(database: Database) -> None:
    async def story(rig: Rig) -> None:
        flow_id = await pending_flow(rig, recall(rounds=3))
        await rig.cancel_flow(CancelBy.NODE_ONWARD, (await rig.flow(flow_id)).nodes[1].id)
        flow = await rig.flow(flow_id)
        assert (flow.state, node_states(flow)) == (PENDING, [PENDING, CANCELLED, CANCELLED])
        await rig.run_all(flow.parent_task_id)
        task_id = await rig.start_next_node()
        assert task_id is not None
        await rig.run_all(task_id)
        flow = await rig.flow(flow_id)
        assert (flow.state, node_states(flow)) == (COMPLETED, [COMPLETED, CANCELLED, CANCELLED])

    database.run(story)


def test_cancelling_behind_a_running_node_lets_it_end(database: Database) -> None:
    async def story(rig: Rig) -> None:
        flow_id = await running_flow(rig, recall(rounds=3))
        flow = await rig.flow(flow_id)
        with pytest.raises(FlowWrongState, match=f"node {flow.nodes[0].id} is in progress; only a pending node"):
            await rig.cancel_flow(CancelBy.NODE_ONWARD, flow.nodes[0].id)
        await rig.cancel_flow(CancelBy.NODE_ONWARD, flow.nodes[1].id)
        flow = await rig.flow(flow_id)
        assert (flow.state, node_states(flow)) == (IN_PROGRESS, [IN_PROGRESS, CANCELLED, CANCELLED])
        assert flow.nodes[0].task_id is not None
        await rig.run_all(flow.nodes[0].task_id)
        flow = await rig.flow(flow_id)
        assert (flow.state, node_states(flow)) == (COMPLETED, [COMPLETED, CANCELLED, CANCELLED])

    database.run(story)


def test_cancelling_what_is_left_after_a_round_completes_the_flow(database: Database) -> None:
    async def story(rig: Rig) -> None:
        flow_id = await running_flow(rig, recall(rounds=3))
        flow = await rig.flow(flow_id)
        assert flow.nodes[0].task_id is not None
        await rig.run_all(flow.nodes[0].task_id)
        await rig.cancel_flow(CancelBy.NODE_ONWARD, flow.nodes[1].id)
        flow = await rig.flow(flow_id)
        assert (flow.state, node_states(flow)) == (COMPLETED, [COMPLETED, CANCELLED, CANCELLED])
        with pytest.raises(FlowWrongState, match="is cancelled"):
            await rig.cancel_flow(CancelBy.NODE_ONWARD, flow.nodes[2].id)

    database.run(story)


def test_the_flows_of_others_do_not_exist(database: Database) -> None:
    async def story(rig: Rig) -> None:
        flow_id = await pending_flow(rig, recall(rounds=2))
        before = await rig.flow(flow_id)
        other, _ = await rig.new_account("other")
        async with rig.store.read() as tx:
            assert await flows.detail(tx, flow_id, account_id=other) is None
            assert await flows.detail(tx, flow_id, account_id=rig.account) == before
            for parent in ("", str(before.parent_task_id)):
                assert await flow_pages.page(
                    tx, other, created_from=0, created_to=1 << 60, parent=parent, limit=9, offset=0
                ) == (0, [])
        with pytest.raises(FlowNotFound):
            await rig.edit(flow_id, recall(), account=other)
        for by, key in (
            (CancelBy.FLOW, flow_id),
            (CancelBy.PARENT_TASK, before.parent_task_id),
            (CancelBy.NODE_ONWARD, before.nodes[0].id),
        ):
            with pytest.raises(FlowNotFound):
                await rig.cancel_flow(by, key, account=other)
        assert await rig.flow(flow_id) == before

    database.run(story)


@pytest.mark.parametrize("change", ["edit", "cancel flow", "cancel parent", "cancel node"])
@pytest.mark.parametrize("first", ["change", "start"])
def test_a_change_that_races_the_start_wins_whole_or_is_refused_whole(
    file_database: Database, change: str, first: str
) -> None:
    """Two programs on one file: one starts the due node while the other changes the flow."""

    async def main() -> None:
        clock = SetClock()
        async with file_database.opened(clock) as rig, file_database.opened(clock) as twin:
            await rig.furnish()
            twin.account = rig.account
            flow_id = await waiting_flow(rig, recall(rounds=3))
            clock.advance(3_600_000)
            flow = await rig.flow(flow_id)
            node_id = flow.nodes[0].id

            async def changing() -> bool:
                try:
                    match change:
                        case "edit":
                            await twin.edit(flow_id, recall(rounds=2, interval=1))
                        case "cancel flow":
                            await twin.cancel_flow(CancelBy.FLOW, flow_id)
                        case "cancel parent":
                            await twin.cancel_flow(CancelBy.PARENT_TASK, flow.parent_task_id)
                        case "cancel node":
                            await twin.cancel_flow(CancelBy.NODE_ONWARD, node_id)
                except FlowWrongState:
                    return False
                return True

            racers = [changing(), rig.start_node(node_id)]
            results = await asyncio.gather(*(racers if first == "change" else racers[::-1]))
            changed, task_id = results if first == "change" else results[::-1]
            if change == "edit" and changed and task_id is None:
                # The start came while the edit was under way, and left the node alone.
                task_id = await rig.start_node(node_id)
            flow = await rig.flow(flow_id)
            if change == "edit" and changed:
                # The edit came first, and the start found what it left.
                assert task_id is not None
                assert (len(flow.nodes), flow.rounds, flow.interval_minutes) == (2, 2, 1)
            elif changed:
                assert task_id is None
                assert (flow.state, node_states(flow)) == (CANCELLED, [CANCELLED] * 3)
                assert await rig.one("SELECT count(*) FROM task") == 1
            if not changed:
                assert task_id is not None
                assert (len(flow.nodes), flow.rounds, flow.interval_minutes) == (3, 3, 5)
            if task_id is not None:
                assert (flow.state, flow.nodes[0].state, flow.nodes[0].task_id) == (IN_PROGRESS, IN_PROGRESS, task_id)
            await rig.check_counters()

    asyncio.run(main())
