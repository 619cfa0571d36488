"""Numbers that join a task later: they wait, are skipped and are dialled as if they had been there from the start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import select, update

from ringback.model.states import CallState, TaskState
from ringback.model.task import MAX_NUMBERS
from ringback.store import lanes, submission, tasks
from ringback.store.schema import call, task
from ringback.store.tasks import TaskNotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringback.model.task import NewCall
    from ringback.store.database import Tx

#: States of a task that numbers can join.
OPEN_STATES = frozenset({TaskState.WAITING, TaskState.CALLING, TaskState.SUSPENDED})
_AT_ONCE = 500


class TaskClosed(Exception):
    """The task takes no numbers any more; the text says what state it is in."""


class TaskFull(Exception):
    """The task would have more numbers than it may."""


class Appended(msgspec.Struct, frozen=True):
    """How many numbers joined, and those that the task had already."""

    added: int
    repeated: list[str]


async def append(
    tx: Tx, account_id: int, task_id: int, numbers: Sequence[NewCall], now_ms: int, *, minute_seconds: float
) -> Appended:
    """Add numbers, each of them once, to a task that is not over.

    One that could never be called is skipped with its reason at once, when the task has been submitted already.
    ``minute_seconds``: see :func:`~ringback.store.tasks.finish_done`.

    Raises :class:`~ringback.store.tasks.TaskNotFound`, :class:`TaskClosed`, :class:`TaskFull`; nothing is changed then.
    """
    own = (task.c.id == task_id, task.c.account_id == account_id)
    columns = (task.c.id, task.c.state, task.c.total, task.c.limits)
    found = (await tx.execute(select(*columns).where(*own).with_for_update(key_share=True))).one_or_none()
    if found is None:
        raise TaskNotFound(f"there is no task {task_id}")
    if found.state not in OPEN_STATES:
        raise TaskClosed(f"task {task_id} is {found.state} and takes no more numbers")
    there = await _known(tx, task_id, [one.callee for one in numbers])
    new: dict[str, NewCall] = {}
    repeated = []
    for one in numbers:
        if one.callee in there or one.callee in new:
            repeated.append(one.callee)
        else:
            new[one.callee] = one
    if found.total + len(new) > MAX_NUMBERS:
        raise TaskFull(f"task {task_id} has {found.total} numbers; with {len(new)} more it would exceed {MAX_NUMBERS}")
    if not new:
        return Appended(0, repeated)
    await tasks.insert_calls(tx, account_id, task_id, new.values())
    await tx.execute(
        update(task)
        .where(*own)
        .values(total=task.c.total + len(new), queued=task.c.queued + len(new), modified_at=now_ms)
    )
    await lanes.refill(tx, task_id)
    if found.state != TaskState.WAITING:
        await submission.skip_what_never_goes(tx, [found], now_ms)
        await tasks.finish_done(tx, [task_id], now_ms, minute_seconds=minute_seconds)
    return Appended(len(new), repeated)


async def close(tx: Tx, account_id: int, task_id: int, now_ms: int, *, minute_seconds: float) -> None:
    """No more numbers come: the task finishes when it has none left, at once when that is so already.

    Raises :class:`~ringback.store.tasks.TaskNotFound`.
    """
    done = await tx.execute(
        update(task).where(task.c.id == task_id, task.c.account_id == account_id).values(takes_more=False)
    )
    if done.rowcount == 0:
        raise TaskNotFound(f"there is no task {task_id}")
    await tasks.finish_done(tx, [task_id], now_ms, minute_seconds=minute_seconds)


async def _known(tx: Tx, task_id: int, callees: Sequence[str]) -> set[str]:
    """Those of the numbers that the task has."""
    of_task = select(call.c.callee).where(call.c.task_id == task_id)
    if len(callees) > 10 * _AT_ONCE:
        return set(await tx.scalars(of_task))
    found: set[str] = set()
    for at in range(0, len(callees), _AT_ONCE):
        found |= set(await tx.scalars(of_task.where(call.c.callee.in_(callees[at : at + _AT_ONCE]))))
    return found


async def withdraw(
    tx: Tx, account_id: int, task_id: int, callees: Sequence[str], now_ms: int, *, minute_seconds: float
) -> int:
    """Take numbers out of a task that have not been dialled. Returns how many that were.

    Raises :class:`~ringback.store.tasks.TaskNotFound`.
    """
    own = (task.c.id == task_id, task.c.account_id == account_id)
    if await tx.scalar(select(task.c.id).where(*own).with_for_update(key_share=True)) is None:
        raise TaskNotFound(f"there is no task {task_id}")
    taken = 0
    for at in range(0, len(callees), _AT_ONCE):
        done = await tx.execute(
            update(call)
            .where(
                call.c.task_id == task_id,
                call.c.state == CallState.QUEUED,
                call.c.callee.in_(callees[at : at + _AT_ONCE]),
            )
            .values(state=CallState.CANCELLED)
        )
        taken += done.rowcount
    if taken:
        await lanes.recount(tx, task_id)
        await tx.execute(
            update(task)
            .where(*own)
            .values(queued=task.c.queued - taken, cancelled=task.c.cancelled + taken, modified_at=now_ms)
        )
        await tasks.finish_done(tx, [task_id], now_ms, minute_seconds=minute_seconds)
    return taken
