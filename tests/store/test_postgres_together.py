"""Many on one PostgreSQL at the same time: nothing is leased twice, no limit exceeded, nobody waits for ever."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable
from contextlib import AsyncExitStack

import pytest
from sqlalchemy.exc import DBAPIError

from ringback.model.audience import RecallType
from ringback.model.outcome import Outcome
from ringback.store import accounts, flow_edits, node_start, nodes, routes, submission
from ringback.store.flows import FlowWrongState
from ringback.store.refusals import is_passing
from ringback.store.tasks import TaskWrongState
from tests.store.rig import Database, Rig, SetClock, recall

pytestmark = pytest.mark.enable_socket

WORKERS = 3
CHANNELS = 60
ACCOUNT_LINES = 40


class Together:
    """What all of them do, and what they have seen."""

    def __init__(self, rigs: list[Rig], seed: int) -> None:
        self.rigs = rigs
        self.dice = random.Random(seed)
        #: How often each call was dialled: leased and not given back.
        self.dialled: Counter[int] = Counter()
        self.refusals: list[str] = []
        self.over = False

    async def dial(self, rig: Rig) -> None:
        """A dialler: leases, and ends, answers or gives back what it holds."""
        held: list[int] = []
        while not self.over:
            if len(held) < CHANNELS:
                for lease in (await rig.lease_batch(free_lines=8)).leases:
                    held.append(lease.call_id)
                    self.dialled[lease.call_id] += 1
            self.dice.shuffle(held)
            some = [held.pop() for _ in range(min(len(held), self.dice.randint(1, 6)))]
            match self.dice.choice(["end", "end", "answer", "release"]):
                case "end":
                    outcomes = [Outcome.ANSWERED, Outcome.BUSY, Outcome.NO_ANSWER]
                    await rig.end_each({one: (self.dice.choice(outcomes), None) for one in some})
                case "answer":
                    await rig.answer(*some)
                    await rig.end_each(dict.fromkeys(some, (Outcome.ANSWERED, "101")))
                case "release":
                    await rig.release(*some)
                    self.dialled.subtract(some)
            rig.clock.advance(20)
            await asyncio.sleep(0)
        await rig.end_each(dict.fromkeys(held, (Outcome.BUSY, None)))

    async def conduct(self, rig: Rig) -> None:
        """A conductor."""
        while not self.over:
            async with rig.store.write() as tx:
                await node_start.start_due(tx, rig.clock.ms, 10)
            async with rig.store.write() as tx:
                await submission.submit_due(tx, rig.clock.ms, 10, minute_seconds=60)
            await asyncio.sleep(0.005)

    async def interfere(self, rig: Rig) -> None:
        """People: pause, resume, cancel, edit, change routes."""
        prefixes = ["49", "4900", "490000"]
        added: set[str] = set()
        while not self.over:
            task_ids = [row.id for row in await rig.rows("SELECT id FROM task WHERE finished_at IS NULL")]
            flow_ids = [row.id for row in await rig.rows("SELECT id FROM flow")]
            task_id, flow_id = self.dice.choice(task_ids or [1]), self.dice.choice(flow_ids)
            try:
                match self.dice.randrange(7):
                    case 0 | 1:
                        await rig.suspend(task_id)
                    case 2 | 3:
                        await rig.resume(task_id)
                    case 4 if self.dice.random() < 0.1:
                        await rig.cancel(task_id)
                    case 5:
                        await rig.edit(flow_id, recall(RecallType.FAILED, rounds=self.dice.randint(1, 3), interval=1))
                    case _:
                        prefix = self.dice.choice(prefixes)
                        async with rig.store.write() as tx:
                            if prefix in added:
                                await routes.remove(tx, account_id=None, prefix=prefix, trunk_id=rig.trunk)
                            else:
                                await routes.add(
                                    tx, account_id=None, prefix=prefix, trunk_id=rig.trunk, priority=0, weight=1
                                )
                        added ^= {prefix}
            except (TaskWrongState, FlowWrongState):
                pass
            await asyncio.sleep(0.01)
        for row in await rig.rows("SELECT id FROM task WHERE state = 'suspended'"):
            await rig.resume(row.id)

    async def watch(self, rig: Rig) -> None:
        """The limits, in one consistent view after another."""
        while not self.over:
            (row,) = await rig.rows(
                "SELECT (SELECT count(*) FROM call WHERE state IN ('dialling', 'in_progress')) AS up, "
                "(SELECT sum(busy) FROM trunk) AS busy, (SELECT sum(active) FROM task) AS active"
            )
            assert row.up == row.busy == row.active <= min(CHANNELS, ACCOUNT_LINES)
            await asyncio.sleep(0.01)

    async def guarded(self, work: Awaitable[None]) -> None:
        """A refusal that passes is told of; anything else ends the test."""
        try:
            await work
        except DBAPIError as error:
            if not is_passing(error):
                raise
            self.refusals.append(str(error.orig))
        finally:
            self.over = True


@pytest.mark.parametrize("seed", [1, 2])
def test_together(postgres_database: Database, seed: int) -> None:
    async def main() -> None:
        clock = SetClock()
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(postgres_database.opened(clock))
            await first.furnish(rate=5000.0, channels=CHANNELS)
            async with first.store.write() as tx:
                await accounts.limit(tx, first.account, ACCOUNT_LINES)
            for number in range(6):
                lines = None if number % 2 else 15
                await first.new_task(60, flow=recall(RecallType.FAILED, rounds=2, interval=1), lines=lines)
            rigs = [first]
            for _ in range(WORKERS + 2):
                rig = await stack.enter_async_context(postgres_database.opened(clock))
                rig.account, rig.app, rig.trunk, rig.template = first.account, first.app, first.trunk, first.template
                rig.worker = await rig.new_worker()
                rigs.append(rig)
            together = Together(rigs, seed)
            works = [
                *(together.dial(rig) for rig in rigs[:WORKERS]),
                together.conduct(rigs[WORKERS]),
                together.conduct(rigs[WORKERS + 1]),
                together.interfere(rigs[WORKERS + 2]),
                together.watch(first),
            ]
            running = [asyncio.create_task(together.guarded(work)) for work in works]
            done, _ = await asyncio.wait(running, timeout=6)
            together.over = True
            await asyncio.gather(*running)
            assert not done, "one of them ended by itself"
            assert together.refusals == []
            await first.check_counters()
            rows = await first.rows("SELECT id, state FROM call")
            dialled = {row.id for row in rows if row.state == "ended"}
            assert {one for one, count in together.dialled.items() if count} == dialled
            assert max(together.dialled.values()) == 1
            assert len(dialled) > 100
            assert {row.state for row in rows} <= {"queued", "ended", "cancelled"}

    asyncio.run(main())


def test_an_edit_that_waits_for_the_end_of_the_parent_sees_it(postgres_database: Database) -> None:
    """The task finishes while the flow is being edited: the new interval counts, in whichever order they commit."""

    spec = recall(RecallType.ALL, interval=7)

    async def story(rig: Rig) -> None:
        for edit_first in (True, False):
            task_id = await rig.new_task(1, flow=recall(RecallType.ALL, interval=5))
            flow_id = await rig.one("SELECT id FROM flow WHERE parent_task_id = :id", id=task_id)
            (lease,) = await rig.lease(1)

            async def edit(flow_id: int = flow_id) -> None:
                async with rig.store.write() as tx:
                    await flow_edits.edit(tx, rig.account, flow_id, spec, now_ms=rig.clock.ms, minute_seconds=60)

            first, second = (edit(), rig.end(lease.call_id)) if edit_first else (rig.end(lease.call_id), edit())
            await asyncio.gather(first, second)
            async with rig.store.read() as tx:
                due_ms = await nodes.next_due_at(tx)
            assert due_ms == rig.clock.ms + 7 * 60_000
            await rig.run_sql("UPDATE node SET state = 'cancelled', due_at = NULL")

    postgres_database.run(story)
