"""A task edited before it starts. The state is checked by the statement that makes the change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError

from ringback.model.states import FlowState, TaskState
from ringback.store import tasks
from ringback.store.accounts import NameTaken
from ringback.store.schema import call, flow, lane, node, task
from ringback.store.tasks import TaskNotFound

if TYPE_CHECKING:
    from ringback.model.task import NewCall, TaskSpec
    from ringback.store.database import Tx


class NotWaiting(Exception):
    """Only a task that waits for its send time can be edited; the text says what state it is in."""


async def edit(
    tx: Tx, account_id: int, task_id: int, spec: TaskSpec, *, numbers: list[NewCall] | None, now_ms: int
) -> None:
    """Replace the settings of a waiting task of that kind, and its numbers when there are new ones.

    Rounds of its recall flow that play what the task plays go on doing so.

    Raises :class:`~ringback.store.tasks.TaskNotFound`, :class:`NotWaiting` and
    :class:`~ringback.store.accounts.NameTaken`; then nothing may be committed.
    """
    own = (task.c.id == task_id, task.c.account_id == account_id, task.c.kind == spec.kind)
    before = (await tx.execute(select(task.c.state, task.c.template_id).where(*own).with_for_update())).one_or_none()
    if before is None:
        raise TaskNotFound(f"there is no task {task_id}")
    if before.state != TaskState.WAITING:
        raise NotWaiting(f"task {task_id} is {before.state}; only a waiting one can be edited")
    try:
        async with tx.begin_nested():
            await tx.execute(
                update(task)
                .where(*own, task.c.state == TaskState.WAITING)
                .values(
                    name=spec.name,
                    template_id=spec.template_id,
                    caller_id=spec.caller_id,
                    limits=msgspec.json.encode(spec.limits).decode(),
                    send_at=now_ms if spec.send_at is None else spec.send_at,
                    modified_at=now_ms,
                )
            )
    except IntegrityError as error:
        if not tasks.is_name_taken(error):
            raise
        raise NameTaken(f"taskName: a task named {spec.name!r} exists already") from None
    of_flow = select(flow.c.id).where(flow.c.parent_task_id == task_id).scalar_subquery()
    await tx.execute(
        update(node)
        .where(node.c.flow_id == of_flow, node.c.state == FlowState.PENDING, node.c.template_id == before.template_id)
        .values(template_id=spec.template_id)
    )
    if numbers is not None:
        await tx.execute(delete(lane).where(lane.c.task_id == task_id))
        await tx.execute(delete(call).where(call.c.task_id == task_id))
        await tx.execute(update(task).where(*own).values(total=len(numbers), queued=len(numbers)))
        await tasks.insert_numbers(tx, account_id, task_id, numbers)
