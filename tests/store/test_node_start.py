"""Many nodes that start at once: each as if it were alone, and none of them twice."""

from __future__ import annotations

import asyncio
from itertools import cycle

import pytest

from ringback.model.audience import RecallType
from ringback.model.outcome import Outcome
from ringback.model.states import FlowState, TaskState
from ringback.store import node_start, routes
from ringback.store.flows import CancelBy
from tests.store.rig import MINUTE_MS, Database, Rig, SetClock, node_states, recall

PENDING, IN_PROGRESS, COMPLETED, CANCELLED, _ = FlowState
BUSY, GOOD = (Outcome.BUSY, None), (Outcome.ANSWERED, "101")


async def start_due(rig: Rig, limit: int = 100) -> dict[int, int | None]:
    async with rig.store.write() as tx:
        return await node_start.start_due(tx, rig.clock.ms, limit)


async def callees(rig: Rig, task_id: int | None) -> list[str]:
    return [row.callee for row in await rig.rows("SELECT callee FROM call WHERE task_id = :id ORDER BY id", id=task_id)]


async def finished(rig: Rig, first: int, ends: list[tuple[Outcome, str | None]], **flow: object) -> tuple[int, int]:
    """A task of four numbers that has ended so, with a flow. Returns its id and that of the first node."""
    task_id = await rig.new_task([f"49{first + one:08}" for one in range(4)], flow=recall(**flow))  # type: ignore[arg-type]  # test data
    await rig.run_all(task_id, (end for end, _ in zip(cycle(ends), range(4), strict=False)))
    return task_id, (await rig.flow_of(task_id)).nodes[0].id


def test_each_of_many_gets_its_own_audience(database: Database) -> None:
    async def story(rig: Rig) -> None:
        asked = [
            (RecallType.FAILED, (), 10, [0, 2]),
            (RecallType.ALL, (), 20, [0, 1, 2, 3]),
            (RecallType.ALL, ("101",), 30, [1, 3]),
            (RecallType.FAILED, (), 40, [0, 2]),
            (RecallType.ALL, ("999",), 50, []),
        ]
        made = [await finished(rig, first, [BUSY, GOOD], recall_type=kind, intents=of) for kind, of, first, _ in asked]
        rig.clock.advance(6 * MINUTE_MS)
        started = await start_due(rig)
        assert list(started) == [node_id for _, node_id in made]
        for (_, _, first, wanted), (parent, node_id) in zip(asked, made, strict=True):
            task_id = started[node_id]
            flow = await rig.flow_of(parent)
            node = flow.nodes[0]
            assert (node.qualified, node.task_id) == (len(wanted), task_id)
            assert await callees(rig, task_id) == [f"49{first + one:08}" for one in wanted]
            if wanted:
                assert (flow.state, node.state, node.started_at) == (IN_PROGRESS, IN_PROGRESS, rig.clock.ms)
                assert (await rig.task(task_id or 0)).state is TaskState.WAITING
            else:
                assert (flow.state, node.state, node.task_id) == (COMPLETED, COMPLETED, None)
                assert node.left_out == '{"answered":2,"busy":2}'
        assert await start_due(rig) == {}

    database.run(story)


def test_the_longest_due_start_first(database: Database) -> None:
    async def story(rig: Rig) -> None:
        late = [(await finished(rig, first, [BUSY], interval=interval))[1] for first, interval in ((10, 9), (20, 1))]
        _, not_yet = await finished(rig, 30, [BUSY], interval=60)
        rig.clock.advance(20 * MINUTE_MS)
        assert list(await start_due(rig, limit=1)) == late[1:]
        assert list(await start_due(rig, limit=9)) == late[:1]
        assert await rig.start_node(not_yet) is None

    database.run(story)


def test_rounds_that_would_have_the_same_name(database: Database) -> None:
    async def story(rig: Rig) -> None:
        other = await rig.new_account("other")
        long = "x" * 64
        names = [(long, None), (long[:63] + "y", None), (long[:62] + "z", None), (long, other), ("spring", None)]
        await rig.new_task(1, name="spring-recall-1", started=False, send_in_ms=10**9)
        for name, account in names:
            parent = await rig.new_task(1, name=name, account=account, flow=recall())
            await rig.run_all(parent)
        rig.clock.advance(6 * MINUTE_MS)
        started = await start_due(rig)
        assert [(await rig.task(task_id or 0)).name for task_id in started.values()] == [
            long[:55] + "-recall-1",
            long[:53] + "-recall-1-2",
            long[:53] + "-recall-1-3",
            long[:55] + "-recall-1",
            "spring-recall-1-2",
        ]

    database.run(story)


def test_every_account_has_its_own_routes(database: Database) -> None:
    async def story(rig: Rig) -> None:
        other = await rig.new_account("other")
        async with rig.store.write() as tx:
            for account_id, prefix in ((None, "49"), (other[0], "490")):
                await routes.add(tx, account_id=account_id, prefix=prefix, trunk_id=rig.trunk, priority=0, weight=1)
        for account in (None, other):
            parent = await rig.new_task(2, account=account, flow=recall())
            await rig.run_all(parent)
        rig.clock.advance(6 * MINUTE_MS)
        prefixes = [
            {
                row.route_prefix
                for row in await rig.rows("SELECT route_prefix FROM call WHERE task_id = :id", id=task_id)
            }
            for task_id in (await start_due(rig)).values()
        ]
        assert prefixes == [{"49"}, {"490"}]

    database.run(story)


def test_large_audiences_start_in_transactions_of_their_own(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_start, "CALLS_AT_ONCE", 9)

    async def story(rig: Rig) -> None:
        nodes = [(await finished(rig, first, [BUSY]))[1] for first in (10, 20, 30)]
        rig.clock.advance(6 * MINUTE_MS)
        assert list(await start_due(rig)) == nodes[:2]
        assert list(await start_due(rig)) == nodes[2:]

    database.run(story)


def test_two_conductors_share_the_work(file_database: Database) -> None:
    async def main() -> None:
        clock = SetClock()
        async with file_database.opened(clock) as rig, file_database.opened(clock) as twin:
            await rig.furnish()
            made = [await finished(rig, 10 * (one + 1), [BUSY]) for one in range(8)]
            clock.advance(3_600_000)
            shares: list[dict[int, int | None]] = []
            # One may find all that is left in the hands of the other.
            while sum(map(len, shares)) < len(made):
                shares += await asyncio.gather(start_due(rig, 3), start_due(twin, 3))
            assert sorted(node_id for share in shares for node_id in share) == sorted(node_id for _, node_id in made)
            assert await rig.one("SELECT count(*) FROM task") == 2 * len(made)
            assert await rig.one("SELECT count(*) FROM call") == 8 * len(made)
            await rig.check_counters()

    asyncio.run(main())


@pytest.mark.parametrize("first", ["cancel", "finish"])
def test_a_node_is_cancelled_while_the_round_before_it_ends(file_database: Database, first: str) -> None:
    """Both change the flow and its nodes; neither may wait for what the other holds."""

    async def main() -> None:
        clock = SetClock()
        async with file_database.opened(clock) as rig, file_database.opened(clock) as twin:
            await rig.furnish()
            parent, _ = await finished(rig, 10, [BUSY], rounds=2)
            twin.account, twin.worker = rig.account, rig.worker
            task_id = await rig.start_next_node()
            assert task_id is not None
            last = await rig.lease(4)
            node_id = (await rig.flow_of(parent)).nodes[1].id
            racers = [twin.cancel_flow(CancelBy.NODE_ONWARD, node_id), rig.end(*(one.call_id for one in last))]
            await asyncio.gather(*(racers if first == "cancel" else racers[::-1]))
            flow = await rig.flow_of(parent)
            assert (flow.state, node_states(flow)) == (COMPLETED, [COMPLETED, CANCELLED])
            assert flow.nodes[1].due_at is None

    asyncio.run(main())
