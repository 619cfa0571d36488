"""What is asked about jobs: their calls by period, and the numbers that have not been called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import func, select

from ringback.model.job import JobSpec
from ringback.model.states import CallState
from ringback.store import call_records
from ringback.store.call_records import ReportedCall
from ringback.store.schema import call, task
from ringback.store.schema_jobs import job, job_round

if TYPE_CHECKING:
    from ringback.store.database import Tx


class JobCall(msgspec.Struct, frozen=True, kw_only=True):
    """An ended call of a job: ``round`` is how many redials of its number it and those before it were."""

    call: ReportedCall
    job_id: int
    round: int
    lines: int
    trunk_id: int | None
    texts: dict[str, str]


async def calls(
    tx: Tx,
    account_id: int,
    *,
    application_id: int,
    job_id: int | None,
    ended_from: int,
    ended_to: int,
    limit: int,
    offset: int,
) -> tuple[int, list[JobCall]]:
    """Calls of jobs that ended in a period (epoch ms, both ends included), newest first; and how many there are."""
    wanted = [
        call.c.ended_at.between(ended_from, ended_to),
        task.c.account_id == account_id,
        task.c.application_id == application_id,
    ]
    if job_id is not None:
        wanted.append(job_round.c.job_id == job_id)
    joined = call.join(task, task.c.id == call.c.task_id).join(job_round, job_round.c.task_id == task.c.id)
    total = int(await tx.scalar(select(func.count()).select_from(joined).where(*wanted)) or 0)
    rows = (
        await tx.execute(
            select(call.c.id, call.c.texts, call.c.trunk_id, job_round.c.job_id, job_round.c.round, job.c.spec)
            .select_from(joined.join(job, job.c.id == job_round.c.job_id))
            .where(*wanted)
            .order_by(call.c.ended_at.desc(), call.c.id.desc())
            .limit(limit)
            .offset(offset)
        )
    ).all()
    known = await call_records.by_ids(tx, [row.id for row in rows])
    return total, [
        JobCall(
            call=known[row.id],
            job_id=row.job_id,
            round=row.round,
            lines=msgspec.json.decode(row.spec, type=JobSpec).lines,
            trunk_id=row.trunk_id,
            texts=msgspec.json.decode(row.texts, type=dict[str, str]) if row.texts else {},
        )
        for row in rows
    ]


async def not_called(tx: Tx, task_id: int, *, limit: int, offset: int) -> tuple[int, list[str]]:
    """The numbers of a task that wait for their call, in their order; and how many there are."""
    queued = (call.c.task_id == task_id, call.c.state == CallState.QUEUED)
    total = int(await tx.scalar(select(func.count()).select_from(call).where(*queued)) or 0)
    rows = await tx.scalars(select(call.c.callee).where(*queued).order_by(call.c.id).limit(limit).offset(offset))
    return total, list(rows)
