"""Redial by number: a call of a job that ended with a listed result puts its number into the next round, some time
after it ended. What is to be called again is a row, written with the result and worked off by the conductor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import delete, func, insert, select

from ringback.model.job import JobSpec, JobState
from ringback.model.task import NewCall
from ringback.store import appending, jobs, provenance
from ringback.store.appending import TaskClosed
from ringback.store.bulk import among
from ringback.store.schema import call
from ringback.store.schema_jobs import job, job_round, redial

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ringback.store.calls import CallResult
    from ringback.store.database import Tx


async def calls_ended(tx: Tx, held: Sequence[Any], results: Mapping[int, CallResult], *, minute_seconds: float) -> None:
    """Calls have ended, rows with ``id`` and ``task_id``: note which numbers are to be called again, and when."""
    found = await tx.execute(
        select(job_round.c.task_id, job_round.c.job_id, job_round.c.round, job.c.spec)
        .join(job, job.c.id == job_round.c.job_id)
        .where(
            among(job_round.c.task_id, sorted({row.task_id for row in held})),
            job.c.deleted_at.is_(None),
            job.c.state.in_([JobState.RUNNING, JobState.PAUSED]),
        )
    )
    of_task = {row.task_id: row for row in found}
    rows = []
    for one in held if of_task else ():
        of = of_task.get(one.task_id)
        rule = None if of is None else msgspec.json.decode(of.spec, type=JobSpec).redial
        if of is None or rule is None:
            continue
        result = results[one.id]
        due_at = rule.due_at(result.outcome, result.ended_at, redials_made=of.round, minute_seconds=minute_seconds)
        if due_at is not None:
            rows.append({"call_id": one.id, "job_id": of.job_id, "round": of.round + 1, "due_at": due_at})
    if rows:
        await tx.execute(insert(redial), rows)


async def next_due_at(tx: Tx) -> int | None:
    """When the next number is to be called again, epoch ms; never while the database is held."""
    found: int | None = await tx.scalar(
        select(func.min(redial.c.due_at))
        .join(job, job.c.id == redial.c.job_id)
        .where(job.c.state == JobState.RUNNING, provenance.free())
    )
    return found


class Redialled(msgspec.Struct, frozen=True, kw_only=True):
    """What was due: how many numbers joined their next round, and how many did not, since it is over: the job's
    template was retired, or the round was cancelled by its task.
    """

    joined: int = 0
    dropped: int = 0


async def start_due(tx: Tx, now_ms: int, limit: int, *, minute_seconds: float) -> Redialled:
    """Put the numbers whose time has come into their next rounds, of jobs that run and that nobody else holds."""
    due_jobs = select(redial.c.job_id).where(redial.c.due_at <= now_ms).distinct().limit(limit).scalar_subquery()
    running = await tx.execute(
        select(job.c.id, job.c.account_id, job.c.spec)
        .where(job.c.id.in_(due_jobs), job.c.state == JobState.RUNNING, job.c.deleted_at.is_(None), provenance.free())
        .order_by(job.c.id)
        .with_for_update(of=job, key_share=True, skip_locked=True)
    )
    joined = dropped = 0
    for row in running.all():
        due = await tx.execute(
            select(redial.c.call_id, redial.c.round, call.c.callee, call.c.zone, call.c.texts)
            .join(call, call.c.id == redial.c.call_id)
            .where(redial.c.job_id == row.id, redial.c.due_at <= now_ms)
            .order_by(redial.c.due_at, redial.c.call_id)
            .limit(limit)
        )
        by_round: dict[int, list[Any]] = {}
        for one in due:
            by_round.setdefault(one.round, []).append(one)
        for number in sorted(by_round):
            numbers = [NewCall(one.callee, one.zone, one.texts) for one in by_round[number]]
            task_id = await _round(tx, row, number, now_ms)
            try:
                await appending.append(tx, row.account_id, task_id, numbers, now_ms, minute_seconds=minute_seconds)
                joined += len(numbers)
            except TaskClosed:
                dropped += len(numbers)
            await tx.execute(delete(redial).where(among(redial.c.call_id, [one.call_id for one in by_round[number]])))
    return Redialled(joined=joined, dropped=dropped)


async def _round(tx: Tx, of: Any, number: int, now_ms: int) -> int:
    """The task of a round of a job, made when there is none yet."""
    found = await tx.scalar(select(job_round.c.task_id).where(job_round.c.job_id == of.id, job_round.c.round == number))
    if found is not None:
        return int(found)
    spec = msgspec.json.decode(of.spec, type=JobSpec)
    return await jobs.add_round(tx, of.account_id, of.id, spec, number=number, send_at=now_ms, now_ms=now_ms)
