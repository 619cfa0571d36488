"""Tasks: storing one with its numbers, and every change of its state but the end of its last call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError

from ringback.model.states import TASK, CallState, TaskEvent, TaskState
from ringback.model.task import Limits
from ringback.model.windows import next_opening
from ringback.store import denials, lanes, nodes, provenance, routes
from ringback.store.accounts import NameTaken
from ringback.store.schema import application, call, lane, task, template

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ringback.model.task import NewCall, TaskSpec
    from ringback.store.database import Tx


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A stored task with its counters: ``queued + active + answered + failed + skipped + cancelled == total``."""

    id: int
    account_id: int
    application_id: int
    app_id: str
    name: str
    template_id: int
    state: TaskState
    reason: str
    caller_id: str
    limits: Limits
    send_at: int
    total: int
    queued: int
    active: int
    answered: int
    failed: int
    skipped: int
    cancelled: int
    talk_ms: int
    created_at: int
    modified_at: int
    started_at: int | None
    finished_at: int | None

    @property
    def called(self) -> int:
        """Numbers that have been dialled to an end."""
        return self.answered + self.failed


class TaskNotFound(Exception):
    """No such task in this account."""


class TaskWrongState(Exception):
    """The task is not in a state that allows this. ``state`` is where it is."""

    def __init__(self, task_id: int, state: TaskState, event: TaskEvent) -> None:
        super().__init__(f"task {task_id} is {state} and cannot be {event}")
        self.state = state


async def create(tx: Tx, account_id: int, spec: TaskSpec, calls: list[NewCall], now_ms: int) -> int:
    """Store a task, waiting for its send time, with all its numbers. Returns its id.

    Raises :class:`~ringback.store.accounts.NameTaken`.
    """
    try:
        inserted = await tx.execute(
            insert(task)
            .values(
                account_id=account_id,
                application_id=spec.application_id,
                name=spec.name,
                template_id=spec.template_id,
                caller_id=spec.caller_id,
                limits=msgspec.json.encode(spec.limits).decode(),
                send_at=now_ms if spec.send_at is None else spec.send_at,
                total=len(calls),
                queued=len(calls),
                created_at=now_ms,
                modified_at=now_ms,
            )
            .returning(task.c.id)
        )
    except IntegrityError as error:
        if "task.name" not in str(error.orig) and "uq_task" not in str(error.orig):
            raise
        raise NameTaken(f"taskName: a task named {spec.name!r} exists already") from None
    task_id = int(inserted.scalar_one())
    route_prefix = (await routes.prefixes(tx, account_id)).of
    # The driver's own executemany: building 200,000 parameter dictionaries would cost more than the inserts.
    await tx.exec_driver_sql(
        "INSERT INTO call (task_id, callee, zone, texts, route_prefix) VALUES (?, ?, ?, ?, ?)",
        [(task_id, one.callee, one.zone, one.texts, route_prefix(one.callee)) for one in calls],
    )
    await lanes.fill(tx, task_id)
    return task_id


async def get(tx: Tx, task_id: int, *, account_id: int | None = None) -> Task | None:
    """The task; with ``account_id`` only when it is that account's."""
    query = _COLUMNS.where(task.c.id == task_id)
    if account_id is not None:
        query = query.where(task.c.account_id == account_id)
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else _task(row)


async def page(
    tx: Tx,
    account_id: int,
    *,
    created_from: int,
    created_to: int,
    states: frozenset[TaskState] = frozenset(),
    application_id: int | None = None,
    name_part: str = "",
    limit: int,
    offset: int,
) -> tuple[int, list[Task]]:
    """The account's tasks created in a period (epoch ms, both ends included), newest first; and how many there are."""
    wanted = [task.c.account_id == account_id, task.c.created_at.between(created_from, created_to)]
    if states:
        wanted.append(task.c.state.in_(states))
    if application_id is not None:
        wanted.append(task.c.application_id == application_id)
    if name_part:
        wanted.append(task.c.name.icontains(name_part, autoescape=True))
    total = await tx.scalar(select(func.count()).select_from(task).where(*wanted))
    rows = await tx.execute(_COLUMNS.where(*wanted).order_by(task.c.id.desc()).limit(limit).offset(offset))
    return total or 0, [_task(row) for row in rows]


async def running(tx: Tx) -> list[Task]:
    """Every task that is not over, of all accounts, oldest first."""
    rows = await tx.execute(_COLUMNS.where(task.c.state.not_in(TASK.final_states())).order_by(task.c.id))
    return [_task(row) for row in rows]


async def due(tx: Tx, now_ms: int, limit: int) -> list[int]:
    """The waiting tasks whose send time has come, the longest due first; none while the database is held."""
    return list(
        await tx.scalars(
            select(task.c.id)
            .where(task.c.state == TaskState.WAITING, task.c.send_at <= now_ms, provenance.free())
            .order_by(task.c.send_at, task.c.id)
            .limit(limit)
        )
    )


async def submit(tx: Tx, task_id: int, now_ms: int, *, minute_seconds: float) -> None:
    """Start a due task; one that cannot start fails with a reason, and so does its flow.

    Does nothing when the task is not waiting any more. ``minute_seconds``: see :func:`finish_done`.
    """
    row = (
        await tx.execute(
            select(template.c.retired_at, task.c.template_id)
            .join(template, template.c.id == task.c.template_id)
            .where(task.c.id == task_id, task.c.state == TaskState.WAITING)
            .with_for_update(of=task)
        )
    ).one_or_none()
    if row is None:
        return
    if row.retired_at is not None:
        await refuse(tx, task_id, f"agent template {row.template_id} has been retired", now_ms)
        return
    await _move(tx, task_id, TaskEvent.SUBMITTED, now_ms)
    await _move(tx, task_id, TaskEvent.STARTED, now_ms, started_at=now_ms)
    await denials.skip_denied(tx, task_id)
    await _skip_never_open(tx, task_id, now_ms)
    # A task whose numbers are all skipped has nothing to wait for.
    await finish_done(tx, [task_id], now_ms, minute_seconds=minute_seconds)


async def refuse(tx: Tx, task_id: int, reason: str, now_ms: int) -> None:
    """A waiting task cannot start: it fails on submission, and so does its flow, or the flow it belongs to."""
    await _move(tx, task_id, TaskEvent.SUBMITTED, now_ms)
    await _move(tx, task_id, TaskEvent.REFUSED, now_ms, reason=reason)
    await nodes.task_refused(tx, task_id, reason, now_ms)


async def finish_done(tx: Tx, task_ids: Iterable[int], now_ms: int, *, minute_seconds: float) -> list[int]:
    """Finish those of the tasks that have nothing queued and nothing in the air, and make their next node due.

    ``minute_seconds`` is the length of a recall minute. Returns the ids of the tasks that finished.
    """
    done = await tx.execute(
        update(task)
        .where(
            task.c.id.in_(list(task_ids)),
            task.c.state.in_(TASK.sources(TaskEvent.FINISHED)),
            task.c.queued == 0,
            task.c.active == 0,
        )
        .values(state=TaskState.FINISHED, finished_at=now_ms, modified_at=now_ms)
        .returning(task.c.id)
    )
    finished = [int(row.id) for row in done]
    for task_id in finished:
        await nodes.task_finished(tx, task_id, now_ms, minute_seconds)
    return finished


async def next_send_at(tx: Tx) -> int | None:
    """When the next waiting task is due, epoch ms; never while the database is held."""
    waits = (task.c.state == TaskState.WAITING, provenance.free())
    due_ms: int | None = await tx.scalar(select(func.min(task.c.send_at)).where(*waits))
    return due_ms


async def _skip_never_open(tx: Tx, task_id: int, now_ms: int) -> None:
    """Skip the numbers whose calling window can never be open: fail closed, with a reason.

    ``unknown_zone``: nobody knows where the number is. ``no_common_window``: it may be in several zones, and at no time
    of day are the windows open in all of them.
    """
    limits = await tx.scalar(select(task.c.limits).where(task.c.id == task_id))
    windows = msgspec.json.decode(limits, type=Limits).windows if limits else ()
    if not windows:
        return
    for zone in list(await tx.scalars(select(lane.c.zone).where(lane.c.task_id == task_id).distinct())):
        if next_opening(windows, zone, now_ms) is None:
            await _skip_lane(tx, task_id, zone, "no_common_window" if zone else "unknown_zone")


async def _skip_lane(tx: Tx, task_id: int, zone: str, reason: str) -> None:
    skipped = await tx.execute(
        update(call)
        .where(call.c.task_id == task_id, call.c.zone == zone, call.c.state == CallState.QUEUED)
        .values(state=CallState.SKIPPED, reason=reason)
    )
    await tx.execute(update(lane).where(lane.c.task_id == task_id, lane.c.zone == zone).values(queued=0))
    await tx.execute(
        update(task)
        .where(task.c.id == task_id)
        .values(queued=task.c.queued - skipped.rowcount, skipped=task.c.skipped + skipped.rowcount)
    )


async def suspend(tx: Tx, task_id: int, now_ms: int, *, account_id: int | None = None) -> int:
    """Pause. Returns the instant (epoch ms) after which no call of the task can leave any more.

    Raises :class:`TaskNotFound`, :class:`TaskWrongState`.
    """
    await _move(tx, task_id, TaskEvent.SUSPENDED, now_ms, account_id=account_id)
    return await _leaves_until(tx, task_id)


async def resume(tx: Tx, task_id: int, now_ms: int, *, minute_seconds: float, account_id: int | None = None) -> None:
    """Go on after a pause; a task whose last calls ended meanwhile finishes now, and its flow goes on.

    Raises :class:`TaskNotFound`, :class:`TaskWrongState`. ``minute_seconds``: see :func:`finish_done`.
    """
    await _move(tx, task_id, TaskEvent.RESUMED, now_ms, account_id=account_id)
    await finish_done(tx, [task_id], now_ms, minute_seconds=minute_seconds)


async def cancel(tx: Tx, task_id: int, now_ms: int, *, account_id: int | None = None) -> int:
    """Cancel: what is queued is never dialled, calls in the air end; a flow that waits for the task is cancelled.

    Returns the instant (epoch ms) after which no call of the task can leave any more. Raises :class:`TaskNotFound`,
    :class:`TaskWrongState`.
    """
    await _move(tx, task_id, TaskEvent.CANCELLED, now_ms, account_id=account_id)
    dropped = await tx.execute(
        update(call)
        .where(call.c.task_id == task_id, call.c.state == CallState.QUEUED)
        .values(state=CallState.CANCELLED)
    )
    await tx.execute(update(lane).where(lane.c.task_id == task_id).values(queued=0))
    await tx.execute(
        update(task).where(task.c.id == task_id).values(queued=0, cancelled=task.c.cancelled + dropped.rowcount)
    )
    await nodes.task_cancelled(tx, task_id, now_ms)
    return await _leaves_until(tx, task_id)


async def _leaves_until(tx: Tx, task_id: int) -> int:
    return int(await tx.scalar(select(task.c.leaves_until).where(task.c.id == task_id)) or 0)


async def _move(
    tx: Tx, task_id: int, event: TaskEvent, now_ms: int, *, account_id: int | None = None, **values: object
) -> None:
    """Apply an event in one statement that also checks that the state allows it."""
    targets = {after for (_, happened), after in TASK.table.items() if happened == event}
    (target,) = targets
    where = [task.c.id == task_id]
    if account_id is not None:
        where.append(task.c.account_id == account_id)
    moved = await tx.execute(
        update(task)
        .where(*where, task.c.state.in_(TASK.sources(event)))
        .values(state=target, modified_at=now_ms, **values)
    )
    if moved.rowcount == 0:
        state = await tx.scalar(select(task.c.state).where(*where))
        if state is None:
            raise TaskNotFound(f"there is no task {task_id}")
        raise TaskWrongState(task_id, TaskState(state), event)


_COLUMNS = select(
    task.c.id,
    task.c.account_id,
    task.c.application_id,
    application.c.app_id,
    task.c.name,
    task.c.template_id,
    task.c.state,
    task.c.reason,
    task.c.caller_id,
    task.c.limits,
    task.c.send_at,
    task.c.total,
    task.c.queued,
    task.c.active,
    task.c.answered,
    task.c.failed,
    task.c.skipped,
    task.c.cancelled,
    task.c.talk_ms,
    task.c.created_at,
    task.c.modified_at,
    task.c.started_at,
    task.c.finished_at,
).join(application, application.c.id == task.c.application_id)

_FIELDS = tuple(field.name for field in msgspec.structs.fields(Task))


def _task(row: object) -> Task:
    values = {name: getattr(row, name) for name in _FIELDS}
    values["limits"] = msgspec.json.decode(values["limits"], type=Limits)
    values["state"] = TaskState(values["state"])
    return Task(**values)
