"""Tasks: storing one with its numbers, reading, finishing, pausing and cancelling. Starting: :mod:`.submission`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError

from ringback.model.report import Event
from ringback.model.states import TASK, CallState, TaskEvent, TaskState
from ringback.model.task import Limits, TaskKind
from ringback.store import dialects, lanes, nodes, outbox, routes
from ringback.store.accounts import NameTaken
from ringback.store.bulk import insert_plain
from ringback.store.schema import application, call, lane, task

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
    kind: TaskKind
    charged_seconds: int
    cost_micros: int

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
    task_id = await insert_row(tx, account_id, spec, total=len(calls), now_ms=now_ms)
    await insert_numbers(tx, account_id, task_id, calls)
    return task_id


async def insert_numbers(tx: Tx, account_id: int, task_id: int, calls: list[NewCall]) -> None:
    """Queue the numbers of a task that has none yet."""
    await insert_calls(tx, account_id, task_id, calls)
    await lanes.fill(tx, [task_id])


async def insert_calls(tx: Tx, account_id: int, task_id: int, calls: Iterable[NewCall]) -> None:
    """Store queued calls, each with the route that the account's prefixes give it; their lanes are the caller's."""
    await dialects.lock_routes(tx, to_change=False)
    route_prefix = (await routes.prefixes(tx, account_id)).of
    await insert_plain(
        tx,
        call,
        ("task_id", "callee", "zone", "texts", "route_prefix"),
        ((task_id, one.callee, one.zone, one.texts, route_prefix(one.callee)) for one in calls),
    )


async def insert_row(tx: Tx, account_id: int, spec: TaskSpec, *, total: int, now_ms: int) -> int:
    """Store a waiting task that is about to get ``total`` numbers. Returns its id.

    Raises :class:`~ringback.store.accounts.NameTaken`.
    """
    values = {
        "account_id": account_id,
        "application_id": spec.application_id,
        "name": spec.name,
        "template_id": spec.template_id,
        "caller_id": spec.caller_id,
        "limits": msgspec.json.encode(spec.limits).decode(),
        "send_at": now_ms if spec.send_at is None else spec.send_at,
        "kind": spec.kind,
        "called_info": spec.called_info,
        "report_last": spec.report_last,
        "takes_more": spec.takes_more,
        "total": total,
        "queued": total,
        "created_at": now_ms,
        "modified_at": now_ms,
    }
    try:
        # A savepoint: in PostgreSQL an error would spoil the whole transaction.
        async with tx.begin_nested():
            inserted = await tx.execute(insert(task).values(**values).returning(task.c.id))
    except IntegrityError as error:
        if not is_name_taken(error):
            raise
        raise NameTaken(f"taskName: a task named {spec.name!r} exists already") from None
    return int(inserted.scalar_one())


def is_name_taken(error: IntegrityError) -> bool:
    """Whether the database refused a task for its name."""
    return "task.name" in str(error.orig) or "uq_task" in str(error.orig)


async def get(tx: Tx, task_id: int, *, account_id: int | None = None) -> Task | None:
    """The task; with ``account_id`` only when it is that account's."""
    query = QUERY.where(task.c.id == task_id)
    if account_id is not None:
        query = query.where(task.c.account_id == account_id)
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else from_row(row)


async def page(
    tx: Tx,
    account_id: int,
    *,
    created_from: int,
    created_to: int,
    states: frozenset[TaskState] = frozenset(),
    application_id: int | None = None,
    name_part: str = "",
    kinds: frozenset[TaskKind] = frozenset(),
    limit: int,
    offset: int,
) -> tuple[int, list[Task]]:
    """The account's tasks created in a period (epoch ms, both ends included), newest first; and how many there are."""
    wanted = [task.c.account_id == account_id, task.c.created_at.between(created_from, created_to)]
    if states:
        wanted.append(task.c.state.in_(states))
    if kinds:
        wanted.append(task.c.kind.in_(kinds))
    if application_id is not None:
        wanted.append(task.c.application_id == application_id)
    if name_part:
        wanted.append(task.c.name.icontains(name_part, autoescape=True))
    total = await tx.scalar(select(func.count()).select_from(task).where(*wanted))
    rows = await tx.execute(QUERY.where(*wanted).order_by(task.c.id.desc()).limit(limit).offset(offset))
    return total or 0, [from_row(row) for row in rows]


async def count_with_keys(tx: Tx, task_id: int) -> int:
    """How many calls of a task had a key pressed."""
    pressed = (call.c.task_id == task_id, call.c["keys"] != "")
    return int(await tx.scalar(select(func.count()).select_from(call).where(*pressed)) or 0)


async def running(tx: Tx) -> list[Task]:
    """Every task that is not over, of all accounts, oldest first."""
    rows = await tx.execute(QUERY.where(task.c.state.not_in(TASK.final_states())).order_by(task.c.id))
    return [from_row(row) for row in rows]


async def finish_done(tx: Tx, task_ids: Iterable[int], now_ms: int, *, minute_seconds: float) -> list[int]:
    """Finish those of the tasks that have nothing queued and nothing in the air, and expect no more numbers; make their
    next node due.

    ``minute_seconds`` is the length of a recall minute. Returns the ids of the tasks that finished.
    """
    asked = list(task_ids)
    if not asked:
        return []
    done = await tx.execute(
        update(task)
        .where(
            task.c.id.in_(asked),
            task.c.state.in_(TASK.sources(TaskEvent.FINISHED)),
            task.c.queued == 0,
            task.c.active == 0,
            ~task.c.takes_more,
        )
        .values(state=TaskState.FINISHED, finished_at=now_ms, modified_at=now_ms)
        .returning(task.c.id)
    )
    finished = sorted(int(row.id) for row in done)
    await outbox.tasks_changed(tx, Event.TASK_FINISHED, finished, now_ms)
    for task_id in finished:
        await nodes.task_finished(tx, task_id, now_ms, minute_seconds)
    return finished


async def suspend(tx: Tx, task_id: int, now_ms: int, *, account_id: int | None = None) -> int:
    """Pause. Returns the instant (epoch ms) after which no call of the task can leave any more; 0 when none is held.

    Raises :class:`TaskNotFound`, :class:`TaskWrongState`.
    """
    await move(tx, task_id, TaskEvent.SUSPENDED, now_ms, account_id=account_id)
    return await _leaves_until(tx, task_id)


async def resume(tx: Tx, task_id: int, now_ms: int, *, minute_seconds: float, account_id: int | None = None) -> None:
    """Go on after a pause; a task whose last calls ended meanwhile finishes now, and its flow goes on.

    Raises :class:`TaskNotFound`, :class:`TaskWrongState`. ``minute_seconds``: see :func:`finish_done`.
    """
    await move(tx, task_id, TaskEvent.RESUMED, now_ms, account_id=account_id)
    await finish_done(tx, [task_id], now_ms, minute_seconds=minute_seconds)


async def cancel(tx: Tx, task_id: int, now_ms: int, *, account_id: int | None = None) -> int:
    """Cancel: what is queued is never dialled, calls in the air end; a flow that waits for the task is cancelled.

    Returns the instant (epoch ms) after which no call of the task can leave any more; 0 when none is held. Raises
    :class:`TaskNotFound`, :class:`TaskWrongState`.
    """
    await move(tx, task_id, TaskEvent.CANCELLED, now_ms, account_id=account_id)
    dropped = await tx.execute(
        update(call)
        .where(call.c.task_id == task_id, call.c.state == CallState.QUEUED)
        .values(state=CallState.CANCELLED)
    )
    await tx.execute(update(lane).where(lane.c.task_id == task_id).values(queued=0))
    await tx.execute(
        update(task).where(task.c.id == task_id).values(queued=0, cancelled=task.c.cancelled + dropped.rowcount)
    )
    await outbox.tasks_changed(tx, Event.TASK_CANCELLED, [task_id], now_ms)
    await nodes.task_cancelled(tx, task_id, now_ms)
    return await _leaves_until(tx, task_id)


async def _leaves_until(tx: Tx, task_id: int) -> int:
    # Without a call in the air there is none that could still leave.
    held = (task.c.id == task_id, task.c.active > 0)
    return int(await tx.scalar(select(task.c.leaves_until).where(*held)) or 0)


async def move(
    tx: Tx, task_id: int, event: TaskEvent, now_ms: int, *, account_id: int | None = None, **values: object
) -> None:
    """Apply an event in one statement that also checks that the state allows it.

    Raises :class:`TaskNotFound`, :class:`TaskWrongState`.
    """
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


#: Tasks with their application.
QUERY = select(
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
    task.c.kind,
    task.c.charged_seconds,
    task.c.cost_micros,
).join(application, application.c.id == task.c.application_id)

_FIELDS = tuple(field.name for field in msgspec.structs.fields(Task))


def from_row(row: object) -> Task:
    """A row of :data:`QUERY`."""
    values = {name: getattr(row, name) for name in _FIELDS}
    values["limits"] = msgspec.json.decode(values["limits"], type=Limits)
    values["state"] = TaskState(values["state"])
    values["kind"] = TaskKind(values["kind"])
    return Task(**values)
