"""Why a number was or was not dialled: every rule on every store, whose number it is, and what the look costs."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from ringback.model.audience import Audience, RecallType
from ringback.model.explanation import CallExplanation, Explanation, Rule
from ringback.model.flow import FlowSpec
from ringback.model.outcome import Outcome
from ringback.model.states import CallState, FlowState
from ringback.model.task import NewCall
from ringback.model.windows import parse_window
from ringback.store import appending, calls, denials, explain, flows, jobs, provenance, templates, workers
from ringback.store.calls import CallResult
from ringback.store.explain import NumberNotFound
from ringback.store.flows import CancelBy
from ringback.store.inline import open_inline_store
from ringback.store.tasks import TaskNotFound
from tests.store import test_jobs as job_tests
from tests.store.rig import ENGINE, MINUTE_MS, Database, Rig, SetClock, recall
from tests.store.test_round_rules import rule as round_rule

A, B, C = "4930000001", "4930000002", "4930000003"
BERLIN = "Europe/Berlin"


class Asking:
    """Asks, and remembers which rules it was told, and whether the number qualified."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.found: set[tuple[Rule, bool | None]] = set()

    async def why(self, task_id: int, callee: str, *, account: int | None = None) -> Explanation:
        rig = self.rig
        async with rig.store.read() as tx:
            told = await explain.number(tx, account or rig.account, task_id, callee, engine=ENGINE, now_us=rig.clock.us)
        self.found.update((one.rule, one.qualified) for one in told.rounds)
        return told

    async def rules(self, task_id: int, callee: str) -> list[Rule]:
        return [one.rule for one in (await self.why(task_id, callee)).rounds]

    async def sentence(self, task_id: int, callee: str, at: int) -> str:
        return (await self.why(task_id, callee)).rounds[at].why

    async def call(self, task_id: int, callee: str = A, at: int = 0) -> CallExplanation:
        found = (await self.why(task_id, callee)).rounds[at].call
        assert found is not None
        return found


# Each of these stories reaches rules; together they reach all.


async def recalled_or_not(rig: Rig, ask: Asking) -> None:
    answered, with_101, busy = (Outcome.ANSWERED, None), (Outcome.ANSWERED, "101"), (Outcome.BUSY, None)
    everyone, failed = RecallType.ALL, RecallType.FAILED
    of_carrier = Audience(outcomes=frozenset({Outcome.BUSY, Outcome.CONGESTION}))
    long = Audience(outcomes=frozenset(Outcome), talk_at_least_seconds=2.5)
    of_101 = "answered calls with intent 101"
    ended = "ended busy, which counts as failed"
    cases = [
        (recall(everyone), busy, Rule.ALL, ended, "and", "every call that ended"),
        (recall(failed), busy, Rule.FAILED, ended, "and", "the failed"),
        (recall(failed), answered, Rule.NOT_FAILED, "was answered, which is not failed", "but", "the failed"),
        (recall(everyone, intents=["101"]), with_101, Rule.INTENT, "was answered with intent 101", "and", of_101),
        (
            recall(everyone, intents=["101"]),
            answered,
            Rule.INTENT_NOT_LISTED,
            "was answered without an intent",
            "but",
            of_101,
        ),
        (recall(everyone, intents=["101"]), busy, Rule.NOT_ANSWERED, ended, "but", of_101),
        (
            recall(failed, intents=["101", "102"]),
            with_101,
            Rule.FAILED_OR_INTENT,
            "was answered with intent 101",
            "and",
            "the failed and answered calls with intent 101 or 102",
        ),
        (of_carrier, busy, Rule.OUTCOME_LISTED, ended, "and", "calls that ended busy or congestion"),
        (of_carrier, answered, Rule.OUTCOME_NOT_LISTED, "was answered", "but", "calls that ended busy or congestion"),
        (
            long,
            answered,
            Rule.TALK_TIME,
            "was answered and lasted 1 s",
            "but",
            "every call that ended, of answered ones those that lasted at least 2.5 s",
        ),
    ]
    for asked, end, expected, how, joined, whom in cases:
        told = f"the first call {how}, {joined} this round recalls {whom}"
        task_id = await rig.new_task([A], flow=asked if isinstance(asked, FlowSpec) else None)
        if isinstance(asked, Audience):
            async with rig.store.write() as tx:
                rounds = [round_rule(rig, audience=asked)]
                await flows.create_rounds(tx, rig.account, task_id, rounds, spec=recall(), now_ms=rig.clock.ms)
        await rig.run_all(task_id, [end])
        assert (await ask.rules(task_id, A))[1] is Rule.ROUND_NOT_STARTED
        before = await ask.sentence(task_id, A, 1)
        assert before.startswith("this round is due at 2026-01-05 08:")
        assert before.endswith(told)
        round_id = await rig.start_next_node()
        (_, reached) = (await ask.why(task_id, A)).rounds
        assert (reached.rule, reached.why) == (expected, told)
        assert reached.qualified == (round_id is not None)
        if round_id is not None:
            assert await ask.rules(round_id, A) == await ask.rules(task_id, A), "a round's own task tells the same"
            await rig.run_all(round_id)


async def out_before_the_round(rig: Rig, ask: Asking) -> None:
    """Skipped, cancelled, not in the round before; and all that a number out of one round is out of."""
    denied = "881612345678"
    task_id = await rig.new_task([A, denied, B, C], flow=recall(RecallType.FAILED, rounds=3))
    assert await ask.rules(task_id, denied) == [
        Rule.PARENT_LIST,
        Rule.WAS_SKIPPED,
        Rule.NOT_IN_PREVIOUS_ROUND,
        Rule.NOT_IN_PREVIOUS_ROUND,
    ]
    assert await ask.rules(task_id, A) == [Rule.PARENT_LIST, *[Rule.ROUND_NOT_STARTED] * 3]
    assert await ask.sentence(task_id, A, 1) == "this round has not started: the first call is not over"
    assert await ask.sentence(task_id, A, 2) == "this round has not started, and neither has round 1"
    async with rig.store.write() as tx:
        await appending.withdraw(tx, rig.account, task_id, [B], rig.clock.ms, minute_seconds=60)
    call = await ask.call(task_id, B)
    assert (call.state, call.not_dialled) == (CallState.CANCELLED, "it was taken out of the task")
    await rig.run_all(task_id, [(Outcome.BUSY, None), (Outcome.ANSWERED, None)])
    round_id = await rig.start_next_node()
    assert round_id is not None
    assert (await ask.rules(task_id, B))[1] is Rule.WAS_CANCELLED
    assert await ask.rules(task_id, C) == [
        Rule.PARENT_LIST,
        Rule.NOT_FAILED,
        Rule.NOT_IN_PREVIOUS_ROUND,
        Rule.NOT_IN_PREVIOUS_ROUND,
    ]
    # C is added to the round by hand, and D too, which no list has.
    async with rig.store.write() as tx:
        new = [NewCall(callee, BERLIN, None) for callee in (C, "4930000004")]
        await appending.append(tx, rig.account, round_id, new, rig.clock.ms, minute_seconds=60)
    assert (await ask.rules(task_id, C))[:3] == [
        Rule.PARENT_LIST,
        Rule.JOINED,
        Rule.ROUND_NOT_STARTED,
    ]
    assert (await ask.rules(task_id, "4930000004"))[:2] == [Rule.NOT_IN_LIST, Rule.JOINED]
    await rig.run_all(round_id)
    assert await rig.start_next_node() is None
    assert await ask.rules(task_id, A) == [
        Rule.PARENT_LIST,
        Rule.FAILED,
        Rule.NOT_FAILED,
        Rule.NOBODY_QUALIFIED,
    ]
    assert "the call of round 1 was answered" in await ask.sentence(task_id, A, 2)


async def rounds_that_never_ran(rig: Rig, ask: Asking) -> None:
    """Cancelled, with what cancelled them; and one that could not start."""
    task_id = await rig.new_task([A, B], flow=recall(rounds=2))
    flow = await rig.flow_of(task_id)
    await rig.cancel_flow(CancelBy.NODE_ONWARD, flow.nodes[1].id)
    assert (await ask.rules(task_id, A))[1:] == [Rule.ROUND_NOT_STARTED, Rule.NODE_CANCELLED]
    await rig.cancel(task_id)
    first, second, third = (await ask.why(task_id, A)).rounds
    assert first.call is not None
    assert (first.call.state, first.call.not_dialled) == (CallState.CANCELLED, "the task was cancelled")
    assert second.why == "this round was cancelled before it started: the parent was cancelled"
    assert third.why == "this round was cancelled before it started"
    assert (second.node_state, third.node_state, second.task_id) == (FlowState.CANCELLED, FlowState.CANCELLED, None)
    retired = await rig.new_template()
    doomed = await rig.new_task([A], flow=recall(), template=retired, send_in_ms=1000)
    async with rig.store.write() as tx:
        await templates.retire(tx, retired, rig.clock.ms)
    rig.clock.advance(1000)
    await rig.submit()
    first, second = (await ask.why(doomed, A)).rounds
    assert first.call is not None
    why_failed = f"agent template {retired} has been retired"
    assert first.call.not_dialled == f"the task is submission failed: {why_failed}"
    assert second.why == f"this round could not start: {why_failed}"
    assert second.rule is Rule.NODE_FAILED


async def jobs_call_again(rig: Rig, ask: Asking) -> None:
    job_id = await job_tests.make(rig, A, B, redial=job_tests.BUSY)
    async with rig.store.read() as tx:
        first = (await jobs.get(tx, rig.account, job_id)).first_task_id
    assert await ask.rules(first, A) == [Rule.PARENT_LIST, Rule.ROUND_NOT_STARTED]
    leases = await rig.lease(2)
    await rig.end_each({one.call_id: (Outcome.BUSY if one.callee == A else Outcome.ANSWERED, None) for one in leases})
    due_at = rig.clock.ms + 5 * MINUTE_MS
    assert (await ask.rules(first, B))[-1] is Rule.RESULT_NOT_REDIALLED
    waiting = (await ask.why(first, A)).rounds[-1]
    assert (waiting.rule, waiting.qualified, waiting.not_before) == (Rule.REDIAL_WAITS, None, due_at)
    for position in (1, 2):
        rig.clock.advance(5 * MINUTE_MS)
        await job_tests.redial(rig)
        await job_tests.all_end(rig, Outcome.BUSY)
        explained = await ask.why(first, A)
        assert explained.job_id == job_id
        assert [one.rule for one in explained.rounds][: position + 1] == [
            Rule.PARENT_LIST,
            *[Rule.REDIALLED] * position,
        ]
    assert (await ask.rules(first, A))[-1] is Rule.REDIALS_USED_UP
    assert (await ask.sentence(first, A, 3)).endswith("but the job calls a number again 2 times at most")
    last_task = explained.rounds[-2].task_id
    assert last_task is not None
    assert await ask.why(last_task, A) == explained
    # One that is deleted in between calls nobody any more.
    dropped = await job_tests.make(rig, C, name="dropped")
    async with rig.store.read() as tx:
        first = (await jobs.get(tx, rig.account, dropped)).first_task_id
    await job_tests.all_end(rig, Outcome.BUSY)
    async with rig.store.write() as tx:
        await jobs.remove(tx, await jobs.get(tx, rig.account, dropped, lock=True), rig.clock.ms)
    assert (await ask.rules(first, C))[-1] is Rule.REDIAL_DROPPED


STORIES: list[Callable[[Rig, Asking], Awaitable[None]]] = [
    recalled_or_not,
    out_before_the_round,
    rounds_that_never_ran,
    jobs_call_again,
]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_stories(database: Database, story: Callable[[Rig, Asking], Awaitable[None]]) -> None:
    database.run(lambda rig: story(rig, Asking(rig)))


def test_every_rule_is_reached_and_says_one_thing() -> None:
    """A rule decides one way, whoever it is asked about."""

    async def main() -> None:
        found: set[tuple[Rule, bool | None]] = set()
        for story in STORIES:
            async with inline() as rig:
                ask = Asking(rig)
                await story(rig, ask)
                found |= ask.found
        assert {rule for rule, _ in found} == set(Rule)
        assert len(found) == len(Rule), sorted(found, key=str)

    asyncio.run(main())


@contextlib.asynccontextmanager
async def inline() -> AsyncIterator[Rig]:
    """A store in memory that opens quickly."""
    clock = SetClock()
    store = open_inline_store(clock)
    try:
        yield await Rig(store, clock).furnish()
    finally:
        await store.close()


def test_a_call_that_was_made_tells_all_that_is_known(database: Database) -> None:
    async def story(rig: Rig) -> None:
        ask = Asking(rig)
        task_id = await rig.new_task([A])
        (lease,) = await rig.lease()
        held = await ask.call(task_id)
        assert (held.state, held.worker_id, held.worker, held.trunk) == (CallState.DIALLING, rig.worker, ENGINE, "t1")
        assert (held.started_at, held.not_dialled, held.not_before) == (rig.clock.ms, "", None)
        result = CallResult(
            call_id=lease.call_id,
            lease_no=lease.lease_no,
            outcome=Outcome.BUSY,
            ended_at=rig.clock.ms + 700,
            ring_ms=300,
            sip_code=486,
            q850_cause=17,
        )
        async with rig.store.write() as tx:
            await calls.ended(tx, rig.worker, [result], rig.clock.ms + 700, minute_seconds=60)
        told = await ask.why(task_id, A)
        assert (told.callee, told.task_id, told.flow_id, told.job_id, len(told.rounds)) == (A, task_id, None, None, 1)
        ended = await ask.call(task_id)
        assert (ended.outcome, ended.ring_ms, ended.sip_code, ended.q850_cause) == (Outcome.BUSY, 300, 486, 17)
        assert (ended.ended_at, ended.not_dialled) == (rig.clock.ms + 700, "")

    database.run(story)


def test_why_it_waits(database: Database) -> None:
    """What concerns the number goes before what concerns the task; and when it may be dialled, as far as is known."""

    async def story(rig: Rig) -> None:
        ask = Asking(rig)

        async def waits(task_id: int, callee: str = A) -> tuple[str, int | None]:
            async with rig.store.write() as tx:
                await workers.beat(tx, rig.worker, rig.clock.ms, idle=False)
            call = await ask.call(task_id, callee)
            assert call.state is CallState.QUEUED
            return call.not_dialled, call.not_before

        hour = 60 * MINUTE_MS
        tokyo = [NewCall(A, BERLIN, None), NewCall(B, "Asia/Tokyo", None), NewCall(C, "Asia/Tokyo,Europe/Berlin", None)]
        windows = (parse_window("09:00", "12:00"),)  # it is 09:00 in Berlin, and 17:00 in Tokyo
        task_id = await rig.new_task(tokyo, windows=windows)
        assert await waits(task_id) == ("its turn has not come yet", None)
        assert await waits(task_id, B) == ("outside the calling windows in Asia/Tokyo", rig.clock.ms + 16 * hour)
        assert (await rig.task(task_id)).skipped == 1, "never open in both"
        await rig.suspend(task_id)
        assert await waits(task_id) == ("the task is suspended", None)
        assert await waits(task_id, B) == ("the task is suspended", rig.clock.ms + 16 * hour)
        await rig.cancel(task_id)

        later = await rig.new_task([A, "4931000000"], send_in_ms=4 * hour, windows=windows)
        assert await waits(later) == ("the task starts at 2026-01-05 12:00:00 UTC", rig.clock.ms + 24 * hour)
        async with rig.store.write() as tx:
            await denials.add(tx, None, "4931")
        told = "numbers that begin with 4931 are denied: it will be skipped"
        assert await waits(later, "4931000000") == (told, None)
        async with rig.store.write() as tx:
            await provenance.hold(tx, "it was held by hand", rig.clock.ms)
        assert (await waits(later))[0] == "the database is held: it was held by hand (see `ringback settle`)"

    database.run(story)


def test_a_round_that_is_due_in_a_held_database_says_so(database: Database) -> None:
    async def story(rig: Rig) -> None:
        ask = Asking(rig)
        task_id = await rig.new_task([A], flow=recall())
        await rig.run_all(task_id)
        async with rig.store.write() as tx:
            await provenance.hold(tx, "it was held by hand", rig.clock.ms)
        assert "(the database is held: it was held by hand" in await ask.sentence(task_id, A, 1)

    database.run(story)


def test_a_job_that_does_not_run_says_so(database: Database) -> None:
    async def story(rig: Rig) -> None:
        ask = Asking(rig)
        job_id = await job_tests.make(rig, A)
        await job_tests.all_end(rig, Outcome.BUSY)
        async with rig.store.write() as tx:
            of = await jobs.get(tx, rig.account, job_id, lock=True)
            await jobs.pause(tx, of, rig.clock.ms)
        last = (await ask.why(of.first_task_id, A)).rounds[-1]
        assert last.why == "the job calls it again at 2026-01-05 08:05:00 UTC, and the job is paused"

    database.run(story)


def test_what_is_not_there_or_not_yours_is_not_found(database: Database) -> None:
    async def story(rig: Rig) -> None:
        ask = Asking(rig)
        other, _ = await rig.new_account("other")
        task_id = await rig.new_task([A], flow=recall())
        await rig.run_all(task_id)
        round_id = await rig.start_next_node()
        assert round_id is not None
        job_id = await job_tests.make(rig, A)
        async with rig.store.read() as tx:
            of_job = (await jobs.get(tx, rig.account, job_id)).first_task_id
        for mine in (task_id, round_id, of_job):
            assert (await ask.why(mine, A)).callee == A
            with pytest.raises(TaskNotFound, match=f"there is no task {mine}"):
                await ask.why(mine, A, account=other)
            with pytest.raises(NumberNotFound, match=f"task {mine} does not have the number {B}"):
                await ask.why(mine, B)
        with pytest.raises(TaskNotFound):
            await ask.why(999, A)

    database.run(story)


ends = st.tuples(st.sampled_from(list(Outcome)), st.sampled_from([None, "101", "102"]))
flow_specs = st.builds(
    recall,
    st.sampled_from(list(RecallType)),
    rounds=st.integers(1, 4),
    intents=st.lists(st.sampled_from(["101", "102", "103"]), max_size=2, unique=True),
)


async def agrees(rig: Rig, spec: FlowSpec, count: int, draw: Callable[[], tuple[Outcome, str | None]]) -> None:
    """Run a flow to its end, looking at every number after every step."""
    ask = Asking(rig)
    numbers = [f"49301{number:05}" for number in range(count)] + ["881612345678"]
    task_id = await rig.new_task(numbers, flow=spec)

    async def look() -> None:
        dialled = {(row.task_id, row.callee) for row in await rig.rows("SELECT task_id, callee FROM call")}
        flow = await rig.flow_of(task_id)
        for callee in numbers:
            told = await ask.why(task_id, callee)
            assert [one.task_id for one in told.rounds] == [task_id, *(node.task_id for node in flow.nodes)]
            for one in told.rounds:
                has_call = (one.task_id, callee) in dialled
                assert has_call == (one.call is not None) == (one.qualified is True), (callee, one)
                if one.qualified is None:
                    assert one.node_state is FlowState.PENDING
                    assert one.rule is Rule.ROUND_NOT_STARTED

    running: int | None = task_id
    while running is not None:
        await look()
        queued = (await rig.task(running)).queued
        await rig.run_all(running, [draw() for _ in range(queued)])
        await look()
        flow = await rig.flow_of(task_id)
        running = None if flow.state is FlowState.COMPLETED else await rig.start_next_node()
    await look()
    last = {one.qualified for callee in numbers for one in (await ask.why(task_id, callee)).rounds}
    assert None not in last


@settings(deadline=None, max_examples=25)
@given(spec=flow_specs, count=st.integers(1, 4), data=st.data())
def test_whoever_is_said_to_qualify_has_a_call(spec: FlowSpec, count: int, data: st.DataObject) -> None:
    async def main() -> None:
        async with inline() as rig:
            await agrees(rig, spec, count, lambda: data.draw(ends))

    asyncio.run(main())


def test_the_same_on_every_store(database: Database) -> None:
    async def story(rig: Rig) -> None:
        chance = random.Random(26)
        for kind in RecallType:
            for intents in ((), ("101",)):
                await agrees(
                    rig,
                    recall(kind, rounds=3, intents=intents),
                    6,
                    lambda: (chance.choice(list(Outcome)), chance.choice([None, "101", "102"])),
                )

    database.run(story)


def test_a_large_task_is_not_read(file_database: Database) -> None:
    """Every statement finds its rows by their keys; only what all waits for is planned, over the tasks that call."""

    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(500, flow=recall(rounds=3))
        callee = "4900000250"
        asked: list[tuple[str, Any]] = []
        async with rig.store.read() as tx:

            def note(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
                asked.append((statement, parameters))

            event.listen(tx.sync_connection, "before_cursor_execute", note)
            told = await explain.number(tx, rig.account, task_id, callee, engine=ENGINE, now_us=rig.clock.us)
            event.remove(tx.sync_connection, "before_cursor_execute", note)
            steps = [
                row.detail
                for statement, parameters in asked
                for row in await tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            ]
        assert len(told.rounds) == 4
        assert "SEARCH call USING INDEX sqlite_autoindex_call_1 (task_id=? AND callee=?)" in steps
        large = ("call", "lane", "task", "node", "flow")
        scans = [step for step in steps if step.startswith(tuple(f"SCAN {name}" for name in large))]
        assert scans == ["SCAN task USING INDEX ix_task_calling"]
        assert len(asked) < 20

    file_database.run(story)
