"""Jobs: made, started, paused, edited, deleted, listed. Redial by number: :mod:`.redials`."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import and_, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from ringback.model.job import JOB, JobEvent, JobSpec, JobState
from ringback.model.states import TASK, TaskState
from ringback.model.task import Limits, TaskKind, TaskSpec
from ringback.store import appending, tasks
from ringback.store.accounts import NameTaken
from ringback.store.schema import task
from ringback.store.schema_jobs import job, job_round, redial

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from ringback.store.database import Tx

#: The send time of a task that nobody has started: the end of the year 2999.
NEVER_MS: Final = 32_503_679_999_000


class JobNotFound(Exception):
    """No such job in this account."""


class JobWrongState(Exception):
    """The job is not in a state that allows this; the text says which."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A stored job. ``total`` numbers, of which ``completed`` are not called (again) any more."""

    id: int
    account_id: int
    name: str
    state: JobState
    spec: JobSpec
    created_at: int
    first_task_id: int
    total: int
    completed: int


async def create(tx: Tx, account_id: int, spec: JobSpec, now_ms: int) -> int:
    """Store a job without numbers. Returns its id. Raises :class:`~ringback.store.accounts.NameTaken`."""
    values = {
        "account_id": account_id,
        "name": spec.name,
        "spec": msgspec.json.encode(spec).decode(),
        "ends_at": spec.calendar.until_ms,
        "state": JobState.RUNNING if spec.automatic else JobState.NOT_STARTED,
        "created_at": now_ms,
        "modified_at": now_ms,
    }
    try:
        async with tx.begin_nested():
            job_id = int((await tx.execute(insert(job).values(**values).returning(job.c.id))).scalar_one())
    except IntegrityError:
        raise NameTaken(f"name: a job named {spec.name!r} exists already") from None
    send_at = now_ms if spec.automatic else NEVER_MS
    await add_round(tx, account_id, job_id, spec, number=0, send_at=send_at, now_ms=now_ms)
    return job_id


async def add_round(
    tx: Tx, account_id: int, job_id: int, spec: JobSpec, *, number: int, send_at: int, now_ms: int
) -> int:
    """The task of a round, without numbers yet. Returns its id."""
    # Nobody can have made a task of this name before.
    name = f"job {job_id} round {number} {secrets.token_hex(6)}"
    made = TaskSpec(
        name=name,
        template_id=spec.template_id,
        application_id=spec.application_id,
        send_at=send_at,
        limits=limits_of(spec),
        kind=TaskKind.JOB,
        takes_more=True,
    )
    task_id = await tasks.insert_row(tx, account_id, made, total=0, now_ms=now_ms)
    await tx.execute(insert(job_round).values(task_id=task_id, job_id=job_id, round=number))
    return task_id


def limits_of(spec: JobSpec) -> Limits:
    """What holds for every call of the job."""
    return Limits(lines=spec.lines, calendar=spec.calendar)


async def get(tx: Tx, account_id: int, job_id: int, *, lock: bool = False) -> Job:
    """The account's job. Raises :class:`JobNotFound`."""
    own = (job.c.id == job_id, job.c.account_id == account_id, job.c.deleted_at.is_(None))
    if lock:
        await tx.execute(select(job.c.id).where(*own).with_for_update(key_share=True))
    row = (await tx.execute(_JOBS.where(*own))).one_or_none()
    if row is None:
        raise JobNotFound(f"there is no job {job_id}")
    return _job(row)


async def page(
    tx: Tx, account_id: int, *, application_id: int | None, name_part: str, limit: int, offset: int
) -> tuple[int, list[Job]]:
    """The account's jobs, newest first; and how many there are."""
    wanted = [job.c.account_id == account_id, job.c.deleted_at.is_(None)]
    if application_id is not None:
        wanted.append(task.c.application_id == application_id)
    if name_part:
        wanted.append(job.c.name.icontains(name_part, autoescape=True))
    found = _JOBS.where(*wanted)
    total = await tx.scalar(select(func.count()).select_from(found.with_only_columns(job.c.id).subquery()))
    rows = await tx.execute(found.order_by(job.c.id.desc()).limit(limit).offset(offset))
    return total or 0, [_job(row) for row in rows]


async def move(tx: Tx, of: Job, event: JobEvent, now_ms: int) -> None:
    """Apply an event to a locked job. Raises :class:`JobWrongState`."""
    if of.state not in JOB.sources(event):
        raise JobWrongState(f"job {of.id} is {of.state} and cannot be {event}")
    await tx.execute(update(job).where(job.c.id == of.id).values(state=JOB.after(of.state, event), modified_at=now_ms))


async def start(tx: Tx, of: Job, now_ms: int, *, minute_seconds: float) -> None:
    """Let a locked job call, from the first time or again. Raises :class:`JobWrongState`."""
    await move(tx, of, JobEvent.STARTED, now_ms)
    for one in await rounds(tx, of.id):
        if one.state is TaskState.WAITING:
            await _send_at(tx, one.task_id, now_ms)
        elif one.state is TaskState.SUSPENDED:
            await tasks.resume(tx, one.task_id, now_ms, minute_seconds=minute_seconds)


async def pause(tx: Tx, of: Job, now_ms: int) -> int:
    """Let a locked job call nobody. Returns the instant (epoch ms) after which no call of it can leave any more; 0 when
    none is held. Raises :class:`JobWrongState`.
    """
    await move(tx, of, JobEvent.PAUSED, now_ms)
    leaves_until = 0
    for one in await rounds(tx, of.id):
        if one.state is TaskState.WAITING:
            await _send_at(tx, one.task_id, NEVER_MS)
        elif one.state is TaskState.CALLING:
            leaves_until = max(leaves_until, await tasks.suspend(tx, one.task_id, now_ms))
    return leaves_until


async def remove(tx: Tx, of: Job, now_ms: int) -> int:
    """Delete a locked job: nothing of it is called any more. Returns as :func:`pause`."""
    leaves_until = 0
    for one in await rounds(tx, of.id):
        if one.is_open:
            leaves_until = max(leaves_until, await tasks.cancel(tx, one.task_id, now_ms))
    await tx.execute(redial.delete().where(redial.c.job_id == of.id))
    await tx.execute(update(job).where(job.c.id == of.id).values(deleted_at=now_ms, modified_at=now_ms))
    return leaves_until


async def edit(tx: Tx, of: Job, spec: JobSpec, now_ms: int) -> None:
    """Replace the settings of a locked job that does not run.

    Raises :class:`JobWrongState`, :class:`~ringback.store.accounts.NameTaken`; nothing may be committed then.
    """
    if of.state not in (JobState.NOT_STARTED, JobState.PAUSED):
        raise JobWrongState(f"job {of.id} is {of.state}; only one that does not run can be edited")
    values = {
        "name": spec.name,
        "spec": msgspec.json.encode(spec).decode(),
        "ends_at": spec.calendar.until_ms,
        "modified_at": now_ms,
    }
    try:
        async with tx.begin_nested():
            await tx.execute(update(job).where(job.c.id == of.id).values(**values))
    except IntegrityError:
        raise NameTaken(f"name: a job named {spec.name!r} exists already") from None
    limits = msgspec.json.encode(limits_of(spec)).decode()
    open_rounds = [one.task_id for one in await rounds(tx, of.id) if one.is_open]
    await tx.execute(update(task).where(task.c.id.in_(open_rounds)).values(limits=limits, template_id=spec.template_id))


async def any_done(tx: Tx, now_ms: int) -> bool:
    """Whether a running job has nothing left to do: see :func:`finish_done`."""
    return await tx.scalar(select(job.c.id).where(_done(now_ms)).limit(1)) is not None


async def finish_done(tx: Tx, now_ms: int, *, minute_seconds: float) -> list[int]:
    """Complete the running jobs that have had numbers and have none left, or whose period is over. Returns their ids.

    What is left when a period is over is never dialled.
    """
    candidates = select(job.c.id, job.c.account_id).where(_done(now_ms)).order_by(job.c.id)
    rows = (await tx.execute(candidates.with_for_update(of=job, key_share=True, skip_locked=True))).all()
    done = []
    for row in rows:
        of_rounds = await rounds(tx, row.id)
        # Looked at again with its tasks locked: numbers may have come, or a result that is to be followed by another.
        if await tx.scalar(select(job.c.id).where(_done(now_ms), job.c.id == row.id)) is None:
            continue
        of = await get(tx, row.account_id, row.id)
        await move(tx, of, JobEvent.COMPLETED, now_ms)
        await tx.execute(redial.delete().where(redial.c.job_id == row.id))
        for one in of_rounds:
            if one.state is TaskState.WAITING or (one.is_open and one.queued):
                await tasks.cancel(tx, one.task_id, now_ms)
            elif one.is_open:
                await appending.close(tx, row.account_id, one.task_id, now_ms, minute_seconds=minute_seconds)
        done.append(row.id)
    return done


class Round(msgspec.Struct, frozen=True):
    """The task of a round, and how many of its numbers are queued."""

    task_id: int
    state: TaskState
    queued: int

    @property
    def is_open(self) -> bool:
        """Whether it may still call."""
        return self.state not in TASK.final_states()


async def rounds(tx: Tx, job_id: int) -> list[Round]:
    """The rounds of a job; locked, in the order of ids."""
    rows = await tx.execute(
        select(task.c.id, task.c.state, task.c.queued)
        .join(job_round, job_round.c.task_id == task.c.id)
        .where(job_round.c.job_id == job_id)
        .order_by(task.c.id)
        .with_for_update(of=task, key_share=True)
    )
    return [Round(row.id, TaskState(row.state), row.queued) for row in rows]


async def _send_at(tx: Tx, task_id: int, at_ms: int) -> None:
    await tx.execute(update(task).where(task.c.id == task_id, task.c.state == TaskState.WAITING).values(send_at=at_ms))


_some_round = job_round.alias("some_round")
_its_task = task.alias("its_task")


def _has_round(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    joined = select(_some_round.c.job_id).join(_its_task, _its_task.c.id == _some_round.c.task_id)
    return joined.where(_some_round.c.job_id == job.c.id, condition).exists()


#: Numbers that a task which is over still has are not called any more: it was refused at its start.
_LEFT = or_(
    _its_task.c.active > 0,
    and_(_its_task.c.queued > 0, _its_task.c.state.not_in([str(state) for state in TASK.final_states()])),
)


def _done(now_ms: int) -> ColumnElement[bool]:
    """A running job that has had numbers and has none queued, in the air or to be called again; or one that may call
    nobody any more.
    """
    used_up = and_(
        _has_round(_its_task.c.total > 0),
        ~_has_round(_LEFT),
        ~select(redial.c.call_id).where(redial.c.job_id == job.c.id).exists(),
    )
    running = and_(job.c.state == JobState.RUNNING, job.c.deleted_at.is_(None))
    return and_(running, or_(used_up, job.c.ends_at <= now_ms))


_waiting = (
    select(func.count()).select_from(redial).where(redial.c.job_id == job.c.id).scalar_subquery().label("to_redial")
)
_round = job_round.alias("each")
_of_round = task.alias("of_round")
_left = (
    select(func.coalesce(func.sum(_of_round.c.queued + _of_round.c.active), 0))
    .select_from(_round.join(_of_round, _of_round.c.id == _round.c.task_id))
    .where(_round.c.job_id == job.c.id)
    .scalar_subquery()
    .label("left")
)
_JOBS = (
    select(
        job.c.id,
        job.c.account_id,
        job.c.name,
        job.c.state,
        job.c.spec,
        job.c.created_at,
        job_round.c.task_id.label("first_task_id"),
        task.c.total,
        _waiting,
        _left,
    )
    .join(job_round, (job_round.c.job_id == job.c.id) & (job_round.c.round == 0))
    .join(task, task.c.id == job_round.c.task_id)
)


def _job(row: Any) -> Job:
    return Job(
        id=row.id,
        account_id=row.account_id,
        name=row.name,
        state=JobState(row.state),
        spec=msgspec.json.decode(row.spec, type=JobSpec),
        created_at=row.created_at,
        first_task_id=row.first_task_id,
        total=row.total,
        # Every number that is queued, in the air or waiting for its redial is one of the first round's.
        completed=row.total - row.left - row.to_redial,
    )
