"""A finished task called again by hand: a new task over those of its numbers that still matter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from ringback.model.states import TaskState
from ringback.store import dialects, lanes, routes, tasks
from ringback.store.recalled import copy_numbers
from ringback.store.schema import call
from ringback.store.tasks import TaskNotFound

if TYPE_CHECKING:
    from ringback.model.task import TaskSpec
    from ringback.store.database import Tx
    from ringback.store.recalled import Condition
    from ringback.store.tasks import Task


class NotFinished(Exception):
    """Only a finished task can be called again; the text says what state it is in."""


class NothingLeft(Exception):
    """No call of the task meets the condition."""


async def finished(tx: Tx, account_id: int, task_id: int) -> Task:
    """The account's finished task. Raises :class:`~ringback.store.tasks.TaskNotFound`, :class:`NotFinished`."""
    found = await tasks.get(tx, task_id, account_id=account_id)
    if found is None:
        raise TaskNotFound(f"there is no task {task_id}")
    if found.state is not TaskState.FINISHED:
        raise NotFinished(f"task {task_id} is {found.state}; only a finished one can be called again")
    return found


async def resend(tx: Tx, previous: Task, which: Condition, spec: TaskSpec, *, now_ms: int) -> int:
    """Store a task like ``spec`` with the numbers of a task that is over whose calls meet a condition. Returns its id.

    Raises :class:`NothingLeft`, :class:`~ringback.store.accounts.NameTaken`; then nothing may be committed.
    """
    wanted = (call.c.task_id == previous.id, which)
    count = int(await tx.scalar(select(func.count()).select_from(call).where(*wanted)) or 0)
    if count == 0:
        raise NothingLeft(f"task {previous.id} left no number to call again")
    task_id = await tasks.insert_row(tx, previous.account_id, spec, total=count, now_ms=now_ms)
    await dialects.lock_routes(tx, to_change=False)
    prefixes = await routes.prefixes(tx, previous.account_id)
    # The previous task is over: none of its calls changes any more.
    await copy_numbers(tx, [(task_id, previous.id)], which, prefixes, previous.account_id)
    await lanes.fill(tx, [task_id])
    return task_id
