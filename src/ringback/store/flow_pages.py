"""Recall flows as a list, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import func, or_, select

from ringback.model.states import FlowState
from ringback.store.schema import flow, node, task

if TYPE_CHECKING:
    from ringback.store.database import Tx


class FlowRow(msgspec.Struct, frozen=True, kw_only=True):
    """A flow in a list. ``finished`` is how many rounds are completed."""

    id: int
    parent_task_id: int
    task_name: str
    state: FlowState
    recall_type: int
    interval_minutes: int
    rounds: int
    finished: int
    created_at: int


async def page(
    tx: Tx,
    account_id: int,
    *,
    created_from: int,
    created_to: int,
    parent: str = "",
    limit: int,
    offset: int,
) -> tuple[int, list[FlowRow]]:
    """The account's flows created in a period (epoch ms, both ends included), newest first; and how many there are.

    ``parent`` is a part of the parent task's name, or the parent task's id.
    """
    wanted: list[Any] = [flow.c.account_id == account_id, flow.c.created_at.between(created_from, created_to)]
    source = flow.join(task, task.c.id == flow.c.parent_task_id)
    # Counting and passing over read the flows alone: nothing is looked up for those that are not shown.
    chosen_from: Any = flow
    if parent:
        named = task.c.name.icontains(parent, autoescape=True)
        by_id = parent.isascii() and parent.isdecimal() and len(parent) <= 18
        wanted.append(or_(named, task.c.id == int(parent)) if by_id else named)
        chosen_from = source
    total = await tx.scalar(select(func.count()).select_from(chosen_from).where(*wanted))
    shown = (
        select(flow.c.id).select_from(chosen_from).where(*wanted).order_by(flow.c.id.desc()).limit(limit).offset(offset)
    )
    finished = (
        select(func.count())
        .where(node.c.flow_id == flow.c.id, node.c.state == FlowState.COMPLETED)
        .correlate(flow)
        .scalar_subquery()
    )
    rows = await tx.execute(
        select(
            flow.c.id,
            flow.c.parent_task_id,
            task.c.name.label("task_name"),
            flow.c.state,
            flow.c.recall_type,
            flow.c.interval_minutes,
            flow.c.rounds,
            finished.label("finished"),
            flow.c.created_at,
        )
        .select_from(source)
        .where(flow.c.id.in_(shown))
        .order_by(flow.c.id.desc())
    )
    return total or 0, [msgspec.convert(row, FlowRow, from_attributes=True) for row in rows]
