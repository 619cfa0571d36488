"""Jobs under the virtual clock: numbers called again by number, exactly those that the rule names, never early."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from ringback.clock import VirtualClock
from ringback.model.calendar import Calendar
from ringback.model.job import JobSpec, JobState
from ringback.model.numbers import zone_key
from ringback.model.redial import Redial
from ringback.model.result_status import ResultStatus, outcomes_of
from ringback.model.sandbox_numbers import behaviour
from ringback.model.states import TaskState
from ringback.model.task import NewCall
from ringback.model.windows import parse_window
from ringback.roles.control import delete_job, pause_job
from ringback.store import appending, jobs, lookups_of_jobs
from ringback.store.database import News
from ringback.telephony.sandbox import SandboxEngine
from roles.campaign import Campaign, campaign, numbers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ringback.store.jobs import Job
    from ringback.store.lookups_of_jobs import JobCall

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
ALWAYS = Calendar()


def play(story: Callable[[Campaign, SandboxEngine], Awaitable[None]], *, poll: float = 30) -> None:
    clock = VirtualClock()

    async def main() -> None:
        engine = SandboxEngine(clock)
        async with campaign(clock, engine=engine) as made:
            made.start(poll=poll)
            await story(made, engine)

    clock.run(main())


async def make(made: Campaign, callees: list[str], *, redial: Redial | None, calendar: Calendar = ALWAYS) -> int:
    """A running job with these numbers."""
    spec = JobSpec(
        name="job",
        template_id=made.template_id,
        application_id=made.application_id,
        lines=1_000,
        calendar=calendar,
        redial=redial,
        automatic=True,
    )
    async with made.store.write() as tx:
        job_id = await jobs.create(tx, made.account_id, spec, made.clock.now_ms())
    await add(made, job_id, callees)
    return job_id


async def add(made: Campaign, job_id: int, callees: list[str]) -> None:
    new = [NewCall(callee, zone_key(callee), None) for callee in callees]
    async with made.store.write() as tx:
        of = await jobs.get(tx, made.account_id, job_id)
        await appending.append(tx, made.account_id, of.first_task_id, new, made.clock.now_ms(), minute_seconds=60)
    made.store.announce(News.WORK)


async def job(made: Campaign, job_id: int) -> Job:
    async with made.store.read() as tx:
        return await jobs.get(tx, made.account_id, job_id)


async def ended(made: Campaign) -> list[JobCall]:
    async with made.store.read() as tx:
        _, found = await lookups_of_jobs.calls(
            tx,
            made.account_id,
            application_id=made.application_id,
            job_id=None,
            ended_from=0,
            ended_to=2**50,
            limit=100_000,
            offset=0,
        )
        return found


async def until(made: Campaign, condition: Callable[[], Awaitable[bool]], *, days: int = 1) -> None:
    for _ in range(days * 24):
        if await condition():
            return
        await made.clock.sleep(3_600)
    raise AssertionError("it did not come to that")


async def completed(made: Campaign, job_id: int, *, days: int = 1) -> None:
    async def is_so() -> bool:
        return (await job(made, job_id)).state is JobState.COMPLETED

    await until(made, is_so, days=days)


@pytest.mark.parametrize(
    ("conditions", "times"),
    [
        ({ResultStatus.BUSY}, 1),
        ({ResultStatus.BUSY, ResultStatus.NO_ANSWER}, 3),
        (set(ResultStatus), 2),
        ({ResultStatus.POWER_OFF}, 5),
    ],
)
def test_exactly_the_listed_results_are_called_again(conditions: set[ResultStatus], times: int) -> None:
    """Against a plain oracle: what each of a hundred numbers does, call by call."""

    async def story(made: Campaign, engine: SandboxEngine) -> None:
        callees = numbers(100)
        job_id = await make(made, callees, redial=Redial(frozenset(conditions), 7, times))
        await completed(made, job_id)
        wanted = outcomes_of(conditions)
        expected: Counter[str] = Counter()
        for callee in callees:
            calls = 1
            while calls <= times and behaviour(callee, calls - 1).outcome in wanted:
                calls += 1
            expected[callee] = calls
        assert {callee: engine.calls_to(callee) for callee in callees} == expected
        by_number: dict[str, list[JobCall]] = {}
        for one in await ended(made):
            by_number.setdefault(one.call.callee, []).append(one)
        for calls_of in by_number.values():
            in_order = sorted(calls_of, key=lambda one: one.round)
            assert [one.round for one in in_order] == list(range(len(in_order)))
            for before, after in itertools.pairwise(in_order):
                assert after.call.started_at is not None
                waited = after.call.started_at - before.call.ended_at
                assert 7 * MINUTE_MS <= waited <= 7 * MINUTE_MS + 3_000
        done = await job(made, job_id)
        assert (done.total, done.completed) == (100, 100)

    play(story)


def test_numbers_that_join_are_called_and_called_again() -> None:
    async def story(made: Campaign, engine: SandboxEngine) -> None:
        job_id = await make(made, ["49300000060"], redial=Redial(frozenset({ResultStatus.BUSY}), 5, 1))
        await made.clock.sleep(60)
        await add(made, job_id, ["49310000060", "49300000060"])
        await completed(made, job_id)
        assert (engine.calls_to("49300000060"), engine.calls_to("49310000060")) == (2, 2)

    play(story)


def test_a_stopped_job_calls_nobody_again_until_it_goes_on() -> None:
    async def story(made: Campaign, engine: SandboxEngine) -> None:
        job_id = await make(made, ["49300000060"], redial=Redial(frozenset({ResultStatus.BUSY}), 5, 1))
        await made.clock.sleep(60)
        await pause_job(made.store, made.clock, job_id, account_id=made.account_id)
        await made.clock.sleep(3_600)
        assert engine.calls_to("49300000060") == 1
        assert (await job(made, job_id)).state is JobState.PAUSED
        async with made.store.write() as tx:
            of = await jobs.get(tx, made.account_id, job_id, lock=True)
            await jobs.start(tx, of, made.clock.now_ms(), minute_seconds=60)
        made.store.announce(News.WORK)
        await completed(made, job_id)
        assert engine.calls_to("49300000060") == 2

    play(story)


def test_a_deleted_job_calls_nobody_again() -> None:
    async def story(made: Campaign, engine: SandboxEngine) -> None:
        job_id = await make(made, ["49300000060"], redial=Redial(frozenset({ResultStatus.BUSY}), 5, 3))
        await made.clock.sleep(60)
        await delete_job(made.store, made.clock, job_id, account_id=made.account_id)
        await made.clock.sleep(7_200)
        assert engine.calls_to("49300000060") == 1
        with pytest.raises(jobs.JobNotFound):
            await job(made, job_id)

    play(story)


def test_a_job_calls_on_its_days_and_at_its_times_only() -> None:
    """The clock starts on a Monday at 08:00 UTC; the numbers are in Berlin, where it is 09:00."""

    async def story(made: Campaign, engine: SandboxEngine) -> None:
        calendar = Calendar(
            windows=(parse_window("10:00", "18:00"),),
            pauses=(parse_window("10:00", "12:30"),),
            days=frozenset({1, 3}),
        )
        redial = Redial(frozenset({ResultStatus.BUSY}), 6 * 60, 2)
        job_id = await make(made, ["49300000060"], redial=redial, calendar=calendar)
        started = made.clock.now_ms()
        await completed(made, job_id, days=12)
        times = sorted(one.call.started_at or 0 for one in await ended(made))
        # Monday 12:30 in Berlin; six hours later it is shut until Wednesday 12:30; and then until the Monday after.
        first = started + int(3.5 * HOUR_MS)
        for at, expected in zip(times, (first, first + 48 * HOUR_MS, first + 168 * HOUR_MS), strict=True):
            assert expected <= at <= expected + 330_000

    play(story, poll=300)


def test_when_its_period_is_over_a_job_is_completed_and_nothing_more_is_called() -> None:
    async def story(made: Campaign, engine: SandboxEngine) -> None:
        # Open for ten minutes; for the number in New York, where it is three in the morning, never.
        calendar = Calendar(windows=(parse_window("09:00", "18:00"),), until_ms=made.clock.now_ms() + 10 * MINUTE_MS)
        redial = Redial(frozenset({ResultStatus.BUSY}), 30, 2)
        job_id = await make(made, ["49300000060", "12125550100"], redial=redial, calendar=calendar)
        await made.clock.sleep(9 * 60)
        assert (await job(made, job_id)).state is JobState.RUNNING
        await made.clock.sleep(120)
        assert (await job(made, job_id)).state is JobState.COMPLETED
        await made.clock.sleep(24 * 3_600)
        assert [engine.calls_to(callee) for callee in ("49300000060", "12125550100")] == [1, 0]
        async with made.store.write() as tx:
            (only,) = await jobs.rounds(tx, job_id)
        assert (only.state, only.queued) == (TaskState.FINISHED, 0)

    play(story, poll=60)


def test_a_kill_between_result_and_redial_loses_nothing_and_doubles_nothing(tmp_path: Any) -> None:
    async def first_life(made: Campaign, engine: SandboxEngine) -> str:
        job_id = await make(made, numbers(100), redial=Redial(frozenset({ResultStatus.BUSY}), 5, 1))
        await made.clock.sleep(120)
        assert (await job(made, job_id)).state is JobState.RUNNING
        return made.what_a_kill_would_leave(tmp_path / "left.db")

    clock = VirtualClock()

    async def main() -> None:
        engine = SandboxEngine(clock)
        async with campaign(clock, engine=engine, url=f"sqlite:///{tmp_path / 'first.db'}") as made:
            made.start(poll=30)
            url = await first_life(made, engine)
        async with campaign(clock, engine=engine, url=url, furnish=False) as again:
            again.account_id = again.application_id = 1
            again.start(poll=30)
            await until(again, lambda: _done(again))
            for callee in numbers(100):
                busy = behaviour(callee, 0).outcome.value == "busy"
                assert engine.calls_to(callee) == (2 if busy else 1), callee

    clock.run(main())


async def _done(made: Campaign) -> bool:
    async with made.store.read() as tx:
        _, found = await jobs.page(tx, made.account_id, application_id=None, name_part="", limit=10, offset=0)
    return bool(found) and found[0].state is JobState.COMPLETED


def test_the_rounds_of_a_job_finish_with_it() -> None:
    async def story(made: Campaign, engine: SandboxEngine) -> None:
        job_id = await make(made, ["49300000060"], redial=Redial(frozenset({ResultStatus.BUSY}), 1, 1))
        await completed(made, job_id)
        async with made.store.write() as tx:
            states = [one.state for one in await jobs.rounds(tx, job_id)]
        assert states == [TaskState.FINISHED, TaskState.FINISHED]
        await asyncio.sleep(0)

    play(story)
