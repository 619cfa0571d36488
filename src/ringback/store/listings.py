"""Lists of our own door, by cursor: what comes behind an id, so that a page costs the same wherever it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import or_, select

from ringback.model.states import CallState, FlowState, TaskState
from ringback.model.task import TaskKind
from ringback.store import records, tasks
from ringback.store.records import CallRecord
from ringback.store.schema import application, call, flow, task, template

if TYPE_CHECKING:
    from ringback.model.outcome import Outcome
    from ringback.store.database import Tx
    from ringback.store.tasks import Task

#: Rounds of jobs belong to their jobs.
_SHOWN_KINDS = [str(kind) for kind in TaskKind if kind is not TaskKind.JOB]


class FlowRow(msgspec.Struct, frozen=True, kw_only=True):
    """A flow in a list. ``rounds``: how many there are."""

    id: int
    parent_task_id: int
    state: FlowState
    reason: str
    rounds: int
    created_at: int


class TemplateRow(msgspec.Struct, frozen=True, kw_only=True):
    """A template in a list; ``shared`` ones are every account's."""

    id: int
    name: str
    shared: bool
    retired: bool
    created_at: int


async def tasks_of(
    tx: Tx,
    account_id: int,
    *,
    before: int | None,
    limit: int,
    state: TaskState | None = None,
    app_id: str | None = None,
    name_part: str = "",
) -> list[Task]:
    """The account's tasks with an id below ``before``, newest first."""
    query = tasks.QUERY.where(task.c.account_id == account_id, task.c.kind.in_(_SHOWN_KINDS))
    if before is not None:
        query = query.where(task.c.id < before)
    if state is not None:
        query = query.where(task.c.state == state)
    if app_id is not None:
        query = query.where(application.c.app_id == app_id)
    if name_part:
        query = query.where(task.c.name.icontains(name_part, autoescape=True))
    return [tasks.from_row(row) for row in await tx.execute(query.order_by(task.c.id.desc()).limit(limit))]


async def calls_of(
    tx: Tx,
    account_id: int,
    task_id: int,
    *,
    after: int,
    limit: int,
    state: CallState | None = None,
    outcome: Outcome | None = None,
    intent: str | None = None,
    callee: str | None = None,
) -> list[CallRecord]:
    """Calls of the account's task with an id above ``after``, in the order of its numbers."""
    query = _of_account(account_id).where(call.c.task_id == task_id, call.c.id > after)
    for column, wanted in ((call.c.state, state), (call.c.outcome, outcome), (call.c.intent, intent)):
        if wanted is not None:
            query = query.where(column == wanted)
    if callee is not None:
        query = query.where(call.c.callee == callee)
    return [_record(row) for row in await tx.execute(query.order_by(call.c.id).limit(limit))]


async def call_of(tx: Tx, account_id: int, call_id: int) -> tuple[int, CallRecord] | None:
    """The account's call, and the task that it is of."""
    query = _of_account(account_id).add_columns(call.c.task_id).where(call.c.id == call_id)
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else (row.task_id, _record(row))


async def flows_of(
    tx: Tx,
    account_id: int,
    *,
    before: int | None,
    limit: int,
    state: FlowState | None = None,
    parent_task_id: int | None = None,
) -> list[FlowRow]:
    """The account's flows with an id below ``before``, newest first."""
    query = select(
        flow.c.id, flow.c.parent_task_id, flow.c.state, flow.c.reason, flow.c.rounds, flow.c.created_at
    ).where(flow.c.account_id == account_id)
    if before is not None:
        query = query.where(flow.c.id < before)
    if state is not None:
        query = query.where(flow.c.state == state)
    if parent_task_id is not None:
        query = query.where(flow.c.parent_task_id == parent_task_id)
    rows = await tx.execute(query.order_by(flow.c.id.desc()).limit(limit))
    return [msgspec.convert(row, FlowRow, from_attributes=True) for row in rows]


async def flow_of_task(tx: Tx, task_id: int) -> int | None:
    """The flow that hangs on the task."""
    found: int | None = await tx.scalar(select(flow.c.id).where(flow.c.parent_task_id == task_id))
    return found


async def templates_of(tx: Tx, account_id: int, *, before: int | None, limit: int) -> list[TemplateRow]:
    """The agent templates that the account may see with an id below ``before``, newest first."""
    query = select(
        template.c.id, template.c.name, template.c.account_id, template.c.retired_at, template.c.created_at
    ).where(or_(template.c.account_id.is_(None), template.c.account_id == account_id), template.c.voice_node.is_(None))
    if before is not None:
        query = query.where(template.c.id < before)
    return [
        TemplateRow(
            id=row.id,
            name=row.name,
            shared=row.account_id is None,
            retired=row.retired_at is not None,
            created_at=row.created_at,
        )
        for row in await tx.execute(query.order_by(template.c.id.desc()).limit(limit))
    ]


def _of_account(account_id: int) -> Any:
    return records.QUERY.join(task, task.c.id == call.c.task_id).where(task.c.account_id == account_id)


def _record(row: Any) -> CallRecord:
    return msgspec.convert(row, CallRecord, from_attributes=True)
