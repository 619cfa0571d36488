"""Submission: what lies between the send time of a task and its first call. Any number of tasks at once.

Tasks are locked by id; those that somebody else holds, such as another conductor, are left alone this time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import func, select, update

from ringback.model import calendar
from ringback.model.report import Event
from ringback.model.states import CallState, TaskEvent, TaskState
from ringback.model.task import Limits
from ringback.model.windows import next_opening
from ringback.store import denials, nodes, outbox, provenance, tasks
from ringback.store.schema import call, lane, task, template

if TYPE_CHECKING:
    from collections.abc import Collection

    from ringback.store.database import Tx


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


async def next_send_at(tx: Tx) -> int | None:
    """When the next waiting task is due, epoch ms; never while the database is held."""
    waits = (task.c.state == TaskState.WAITING, provenance.free())
    due_ms: int | None = await tx.scalar(select(func.min(task.c.send_at)).where(*waits))
    return due_ms


async def submit_due(tx: Tx, now_ms: int, limit: int, *, minute_seconds: float) -> list[int]:
    """Start the tasks whose send time has come, the longest due first. Returns those that nobody else held."""
    wanted = (task.c.send_at <= now_ms, provenance.free())
    found = await tx.execute(_CLAIM.where(*wanted).order_by(task.c.send_at, task.c.id).limit(limit))
    return await _submit(tx, found.all(), now_ms, minute_seconds)


async def submit(tx: Tx, task_ids: Collection[int], now_ms: int, *, minute_seconds: float) -> list[int]:
    """Start waiting tasks; one that cannot start fails with a reason, and so does its flow.

    Those that are not waiting any more are left alone. Returns the others. ``minute_seconds``: see
    :func:`~ringback.store.tasks.finish_done`.
    """
    found = await tx.execute(_CLAIM.where(task.c.id.in_(task_ids)).order_by(task.c.id))
    return await _submit(tx, found.all(), now_ms, minute_seconds)


async def refuse(tx: Tx, task_id: int, reason: str, now_ms: int) -> None:
    """A waiting task cannot start: it fails on submission, and so does its flow, or the flow it belongs to.

    Raises :class:`~ringback.store.tasks.TaskWrongState`.
    """
    await tasks.move(tx, task_id, TaskEvent.SUBMITTED, now_ms)
    await tasks.move(tx, task_id, TaskEvent.REFUSED, now_ms, reason=reason)
    await outbox.tasks_changed(tx, Event.TASK_FAILED, [task_id], now_ms)
    await nodes.task_refused(tx, task_id, reason, now_ms)


_CLAIM = (
    select(task.c.id, task.c.template_id, task.c.limits, template.c.retired_at)
    .join(template, template.c.id == task.c.template_id)
    .where(task.c.state == TaskState.WAITING)
    .with_for_update(of=task, skip_locked=True)
)


async def _submit(tx: Tx, claimed: Collection[Any], now_ms: int, minute_seconds: float) -> list[int]:
    for row in claimed:
        if row.retired_at is not None:
            await refuse(tx, row.id, f"agent template {row.template_id} has been retired", now_ms)
    starting = [row for row in claimed if row.retired_at is None]
    if starting:
        ids = [row.id for row in starting]
        of = update(task).where(task.c.id.in_(ids))
        await tx.execute(of.values(state=TaskState.SUBMITTING, modified_at=now_ms))
        await tx.execute(of.values(state=TaskState.CALLING, modified_at=now_ms, started_at=now_ms))
        await skip_what_never_goes(tx, starting, now_ms)
        # A task whose numbers are all skipped has nothing to wait for.
        await tasks.finish_done(tx, ids, now_ms, minute_seconds=minute_seconds)
    return [row.id for row in claimed]


async def skip_what_never_goes(tx: Tx, of: Collection[Any], now_ms: int) -> None:
    """Skip what is queued and can never be called; ``of`` are submitted tasks, rows with ``id`` and ``limits``."""
    await denials.skip_denied(tx, [row.id for row in of])
    await _skip_never_open(tx, of, now_ms)


async def _skip_never_open(tx: Tx, starting: Collection[Any], now_ms: int) -> None:
    """Skip the numbers whose calling window can never be open: fail closed, with a reason.

    ``unknown_zone``: nobody knows where the number is. ``no_common_window``: it may be in several zones, and at no time
    of day are the windows open in all of them.
    """
    limits = {row.id: msgspec.json.decode(row.limits, type=Limits) for row in starting}
    limited = [task_id for task_id, of in limits.items() if of.windows or of.calendar]
    if not limited:
        return
    rows = await tx.execute(select(lane.c.task_id, lane.c.zone).where(lane.c.task_id.in_(limited)).distinct())
    never: dict[tuple[Any, ...], bool] = {}
    for task_id, zone in rows.all():
        of = limits[task_id]
        key = (of.windows, of.calendar, zone)
        if key not in never:
            opening = next_opening(of.windows, zone, now_ms)
            if opening is not None and of.calendar is not None:
                opening = calendar.next_opening(of.calendar, zone, opening)
            never[key] = opening is None
        if never[key]:
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
