"""Jobs and their redials, on every store."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from ringback.model.calendar import Calendar
from ringback.model.job import JobSpec, JobState
from ringback.model.numbers import zone_key
from ringback.model.outcome import Outcome
from ringback.model.redial import Redial
from ringback.model.result_status import ResultStatus
from ringback.model.states import TaskState
from ringback.model.task import NewCall
from ringback.store import appending, jobs, redials
from ringback.store.accounts import NameTaken
from ringback.store.jobs import Job, JobNotFound, JobWrongState
from ringback.store.redials import Redialled
from ringback.store.schema import call, template
from ringback.store.schema_jobs import job as job_table
from ringback.store.schema_jobs import redial as redial_table
from tests.store.rig import MINUTE_MS, Database, Rig

CALLEES = [f"4930000000{number}" for number in range(4)]
ALWAYS = Calendar()
BUSY = Redial(frozenset({ResultStatus.BUSY}), 5, 2)


async def make(
    rig: Rig, *callees: str, name: str = "job", calendar: Calendar = ALWAYS, redial: Redial | None = BUSY
) -> int:
    """A running job with these numbers."""
    spec = JobSpec(
        name=name,
        template_id=rig.template,
        application_id=rig.app,
        lines=100,
        calendar=calendar,
        redial=redial,
        automatic=True,
    )
    async with rig.store.write() as tx:
        job_id = await jobs.create(tx, rig.account, spec, rig.clock.ms)
        first = (await jobs.get(tx, rig.account, job_id)).first_task_id
        new = [NewCall(callee, zone_key(callee), None) for callee in callees]
        await appending.append(tx, rig.account, first, new, rig.clock.ms, minute_seconds=60)
    await rig.submit()
    return job_id


async def job(rig: Rig, job_id: int) -> Job:
    async with rig.store.read() as tx:
        return await jobs.get(tx, rig.account, job_id)


async def redial(rig: Rig, limit: int = 100) -> Redialled:
    async with rig.store.write() as tx:
        done = await redials.start_due(tx, rig.clock.ms, limit, minute_seconds=60)
    await rig.submit()
    return done


async def finish(rig: Rig) -> list[int]:
    async with rig.store.read() as tx:
        expected = await jobs.any_done(tx, rig.clock.ms)
    async with rig.store.write() as tx:
        done = await jobs.finish_done(tx, rig.clock.ms, minute_seconds=60)
    assert expected == bool(done), "who asks first and who acts agree"
    return done


async def all_end(rig: Rig, outcome: Outcome) -> list[str]:
    """Everything that may be called is called, and ends so. Returns the numbers."""
    leases = (await rig.lease_batch()).leases
    await rig.end_each({lease.call_id: (outcome, None) for lease in leases})
    return sorted(lease.callee for lease in leases)


def test_listed_results_come_back_in_their_time_round_by_round(database: Database) -> None:
    async def story(rig: Rig) -> None:
        job_id = await make(rig, *CALLEES)
        assert await all_end(rig, Outcome.BUSY) == CALLEES
        assert await finish(rig) == []
        rig.clock.advance(5 * MINUTE_MS - 1)
        assert await redial(rig) == Redialled()
        rig.clock.advance(1)
        # A few at a time; what has joined is not there any more.
        assert await redial(rig, 3) == Redialled(joined=3)
        assert await redial(rig, 3) == Redialled(joined=1)
        assert await redial(rig) == Redialled()
        assert await all_end(rig, Outcome.BUSY) == CALLEES
        rig.clock.advance(5 * MINUTE_MS)
        assert await redial(rig) == Redialled(joined=4)
        assert (await job(rig, job_id)).completed == 0
        assert await all_end(rig, Outcome.BUSY) == CALLEES
        rig.clock.advance(60 * MINUTE_MS)
        assert await redial(rig) == Redialled(), "twice again and no more"
        assert await finish(rig) == [job_id]
        done = await job(rig, job_id)
        assert (done.state, done.total, done.completed) == (JobState.COMPLETED, 4, 4)
        assert await finish(rig) == []
        async with rig.store.write() as tx:
            assert {one.state for one in await jobs.rounds(tx, job_id)} == {TaskState.FINISHED}

    database.run(story)


def test_a_result_that_is_not_listed_ends_it(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await make(rig, *CALLEES)
        await all_end(rig, Outcome.NO_ANSWER)
        async with rig.store.read() as tx:
            assert await redials.next_due_at(tx) is None
        assert len(await finish(rig)) == 1

    database.run(story)


def test_a_paused_job_redials_nothing(database: Database) -> None:
    async def story(rig: Rig) -> None:
        job_id = await make(rig, *CALLEES)
        await all_end(rig, Outcome.BUSY)
        async with rig.store.write() as tx:
            await jobs.pause(tx, await jobs.get(tx, rig.account, job_id, lock=True), rig.clock.ms)
        rig.clock.advance(10 * MINUTE_MS)
        assert await redial(rig) == Redialled()
        async with rig.store.read() as tx:
            assert await redials.next_due_at(tx) is None
        async with rig.store.write() as tx:
            of = await jobs.get(tx, rig.account, job_id, lock=True)
            await jobs.start(tx, of, rig.clock.ms, minute_seconds=60)
        assert await redial(rig) == Redialled(joined=4)

    database.run(story)


def test_numbers_whose_round_was_refused_are_dropped_and_the_job_ends(database: Database) -> None:
    async def story(rig: Rig) -> None:
        job_id = await make(rig, *CALLEES)
        await all_end(rig, Outcome.BUSY)
        async with rig.store.write() as tx:
            late = update(redial_table).where(redial_table.c.call_id == select(call.c.id).limit(1).scalar_subquery())
            await tx.execute(late.values(due_at=rig.clock.ms + 10 * MINUTE_MS))
            await tx.execute(update(template).values(retired_at=1))
        rig.clock.advance(5 * MINUTE_MS)
        assert await redial(rig) == Redialled(joined=3)
        async with rig.store.write() as tx:
            _, refused = await jobs.rounds(tx, job_id)
        assert refused.state is TaskState.SUBMISSION_FAILED
        assert await finish(rig) == [], "one number waits for its redial"
        rig.clock.advance(5 * MINUTE_MS)
        assert await redial(rig) == Redialled(dropped=1)
        assert await finish(rig) == [job_id]

    database.run(story)


def test_a_period_that_ends_completes_the_job(database: Database) -> None:
    async def story(rig: Rig) -> None:
        ends = rig.clock.ms + 60 * MINUTE_MS
        job_id = await make(rig, *CALLEES, calendar=Calendar(until_ms=ends))
        await make(rig, *CALLEES, name="another")
        for_ever = await make(rig, name="without numbers")
        held = await rig.lease(1)
        await rig.answer(held[0].call_id)
        rig.clock.advance(ends - 1 - rig.clock.ms)
        assert await finish(rig) == []
        rig.clock.advance(1)
        assert await finish(rig) == [job_id]
        async with rig.store.write() as tx:
            assert [(one.state, one.queued) for one in await jobs.rounds(tx, job_id)] == [(TaskState.CANCELLED, 0)]
        # The one in the air ends in its own time, and is not called again.
        await rig.end_each({held[0].call_id: (Outcome.BUSY, None)})
        assert await finish(rig) == []
        async with rig.store.read() as tx:
            assert await redials.next_due_at(tx) is None
        assert (await job(rig, for_ever)).state is JobState.RUNNING

    database.run(story)


def test_jobs_are_listed_page_by_page_and_to_their_owner_only(database: Database) -> None:
    async def story(rig: Rig) -> None:
        ids = [await make(rig, name=f"job {number}") for number in range(5)]
        other, _ = await rig.new_account("other")

        async def page(account: int, name_part: str = "", limit: int = 2, offset: int = 0) -> tuple[int, list[int]]:
            async with rig.store.read() as tx:
                total, found = await jobs.page(
                    tx, account, application_id=None, name_part=name_part, limit=limit, offset=offset
                )
            return total, [one.id for one in found]

        assert await page(rig.account) == (5, ids[:2:-1])
        assert await page(rig.account, offset=4) == (5, ids[:1])
        assert await page(rig.account, offset=9) == (5, [])
        assert await page(rig.account, name_part="B 3") == (1, [ids[3]])
        assert await page(rig.account, name_part="%") == (0, [])
        assert await page(other) == (0, [])
        async with rig.store.write() as tx:
            await jobs.remove(tx, await jobs.get(tx, rig.account, ids[4], lock=True), rig.clock.ms)
        assert await page(rig.account) == (4, ids[3:1:-1])
        for account, job_id in ((other, ids[0]), (rig.account, ids[4]), (rig.account, 4711)):
            with pytest.raises(JobNotFound):
                async with rig.store.read() as tx:
                    await jobs.get(tx, account, job_id)

    database.run(story)


def test_names_and_states_are_guarded(database: Database) -> None:
    async def story(rig: Rig) -> None:
        job_id = await make(rig)
        with pytest.raises(NameTaken, match="a job named 'job' exists already"):
            await make(rig)
        of = await job(rig, job_id)
        with pytest.raises(JobWrongState, match="is running and cannot be started"):
            async with rig.store.write() as tx:
                await jobs.start(tx, of, rig.clock.ms, minute_seconds=60)
        with pytest.raises(JobWrongState, match="only one that does not run can be edited"):
            async with rig.store.write() as tx:
                await jobs.edit(tx, of, of.spec, rig.clock.ms)
        with pytest.raises(IntegrityError, match="illegal job state change"):
            async with rig.store.write() as tx:
                await tx.execute(update(job_table).values(state=JobState.NOT_STARTED))

    database.run(story)


def test_an_edit_holds_for_what_is_called_from_now_on(database: Database) -> None:
    async def story(rig: Rig) -> None:
        ends = rig.clock.ms + 60 * MINUTE_MS
        job_id = await make(rig, *CALLEES, calendar=Calendar(until_ms=ends))
        async with rig.store.write() as tx:
            of = await jobs.get(tx, rig.account, job_id, lock=True)
            await jobs.pause(tx, of, rig.clock.ms)
            of = await jobs.get(tx, rig.account, job_id, lock=True)
            later = Calendar(until_ms=ends + 60 * MINUTE_MS)
            await jobs.edit(tx, of, JobSpec(**{**_members(of.spec), "calendar": later, "name": "new"}), rig.clock.ms)
            of = await jobs.get(tx, rig.account, job_id, lock=True)
            await jobs.start(tx, of, rig.clock.ms, minute_seconds=60)
        rig.clock.advance(60 * MINUTE_MS)
        assert await finish(rig) == []
        assert await all_end(rig, Outcome.ANSWERED) == CALLEES
        assert (await job(rig, job_id)).name == "new"

    database.run(story)


def _members(spec: JobSpec) -> dict[str, object]:
    return {name: getattr(spec, name) for name in spec.__struct_fields__}
