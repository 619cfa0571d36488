"""What makes a recall flow run: nodes become due, and end with their task. How they start: :mod:`.node_start`.

Each step is part of the transaction that causes it: the last result of a task makes the next node due. Whoever changes
a node has locked its flow first, so that an edit or a cancellation comes wholly before a step or after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, or_, select, update

from ringback.model.flow import due_at
from ringback.model.report import Event
from ringback.model.states import FlowState
from ringback.store import flows, outbox, provenance
from ringback.store.schema import flow, node

if TYPE_CHECKING:
    from ringback.store.database import Tx


async def due(tx: Tx, now_ms: int, limit: int) -> list[int]:
    """The nodes that may start now, the longest due first; none while the database is held."""
    return list(
        await tx.scalars(
            select(node.c.id)
            .where(node.c.state == FlowState.PENDING, node.c.due_at <= now_ms, provenance.free())
            .order_by(node.c.due_at, node.c.id)
            .limit(limit)
        )
    )


async def next_due_at(tx: Tx) -> int | None:
    """When the next node is due, epoch ms; never while the database is held."""
    due_ms: int | None = await tx.scalar(
        select(func.min(node.c.due_at)).where(
            node.c.state == FlowState.PENDING, node.c.due_at.is_not(None), provenance.free()
        )
    )
    return due_ms


async def task_finished(tx: Tx, task_id: int, now_ms: int, minute_seconds: float) -> None:
    """A task finished: the node it belongs to is completed, and the next one is due after the interval."""
    of = await _flow_of(tx, task_id)
    if of is None:
        return
    if of.parent_task_id == task_id:
        if of.state != FlowState.PENDING:
            return
        position = 0
    else:
        ended = await tx.scalar(
            update(node)
            .where(node.c.task_id == task_id, node.c.state == FlowState.IN_PROGRESS)
            .values(state=FlowState.COMPLETED, ended_at=now_ms)
            .returning(node.c.position)
        )
        if ended is None:
            return
        position = ended
        await _over(tx, task_id, now_ms)
    following = (node.c.flow_id == of.id, node.c.position == position + 1, node.c.state == FlowState.PENDING)
    columns = (flow.c.interval_minutes, flow.c.recall_type, flow.c.recall_intents)
    row = (
        await tx.execute(
            select(node.c.id, node.c.rule, node.c.template_id, *columns)
            .join(flow, flow.c.id == node.c.flow_id)
            .where(*following)
        )
    ).one_or_none()
    if row is None:
        await flows.end(tx, of.id, FlowState.COMPLETED, now_ms)
        return
    wait_minutes = flows.rule_of(row).interval_minutes
    await tx.execute(
        update(node).where(node.c.id == row.id).values(due_at=due_at(now_ms, wait_minutes, minute_seconds))
    )


async def task_cancelled(tx: Tx, task_id: int, now_ms: int) -> None:
    """A task was cancelled: its own pending flow, or the node it belongs to and all later ones, are cancelled."""
    of = await _flow_of(tx, task_id)
    if of is None:
        return
    if of.parent_task_id == task_id:
        if of.state == FlowState.PENDING:
            await flows.close_pending_nodes(tx, of.id, FlowState.CANCELLED, now_ms, reason="the parent was cancelled")
            await flows.end(tx, of.id, FlowState.CANCELLED, now_ms, reason="its task was cancelled")
        return
    cancelled = await tx.execute(
        update(node)
        .where(node.c.task_id == task_id, node.c.state == FlowState.IN_PROGRESS)
        .values(state=FlowState.CANCELLED, ended_at=now_ms, reason="its task was cancelled")
    )
    if cancelled.rowcount:
        await _over(tx, task_id, now_ms)
        await flows.close_pending_nodes(tx, of.id, FlowState.CANCELLED, now_ms, reason="an earlier round was cancelled")
        await flows.close_after_cancel(tx, of.id, now_ms)


async def refuse(tx: Tx, node_id: int, reason: str, now_ms: int) -> None:
    """A due node cannot start: it ends with that reason, and so do all later ones and the flow."""
    of_node = select(node.c.flow_id).where(node.c.id == node_id).scalar_subquery()
    flow_id = await tx.scalar(select(flow.c.id).where(flow.c.id == of_node).with_for_update())
    failed = await tx.execute(
        update(node)
        .where(node.c.id == node_id, node.c.state == FlowState.PENDING)
        .values(state=FlowState.EXCEPTION, ended_at=now_ms, due_at=None, reason=reason)
    )
    if flow_id is not None and failed.rowcount:
        await outbox.nodes_changed(tx, Event.NODE_COMPLETED, [node_id], now_ms)
        await _fail_flow(tx, flow_id, reason, now_ms)


async def task_refused(tx: Tx, task_id: int, reason: str, now_ms: int) -> None:
    """A task could not be submitted: its flow, or the flow whose node it belongs to, ends with that reason."""
    of = await _flow_of(tx, task_id)
    if of is None:
        return
    if of.parent_task_id != task_id:
        failed = await tx.execute(
            update(node)
            .where(node.c.task_id == task_id, node.c.state == FlowState.IN_PROGRESS)
            .values(state=FlowState.EXCEPTION, ended_at=now_ms, reason=reason)
        )
        if failed.rowcount == 0:
            return
        await _over(tx, task_id, now_ms)
    await _fail_flow(tx, of.id, reason, now_ms)


async def _over(tx: Tx, task_id: int, now_ms: int) -> None:
    """The round that is this task is over."""
    node_id = await tx.scalar(select(node.c.id).where(node.c.task_id == task_id))
    if node_id is not None:
        await outbox.nodes_changed(tx, Event.NODE_COMPLETED, [node_id], now_ms)


async def _flow_of(tx: Tx, task_id: int) -> Any:
    """The flow that hangs on the task, or that has it as a round; locked, as everybody does who touches its nodes."""
    of_node = select(node.c.flow_id).where(node.c.task_id == task_id).scalar_subquery()
    found = await tx.execute(
        select(flow.c.id, flow.c.state, flow.c.parent_task_id)
        .where(or_(flow.c.parent_task_id == task_id, flow.c.id == of_node))
        .with_for_update()
    )
    return found.one_or_none()


async def _fail_flow(tx: Tx, flow_id: int, reason: str, now_ms: int) -> None:
    await flows.close_pending_nodes(tx, flow_id, FlowState.EXCEPTION, now_ms, reason=reason)
    await flows.end(tx, flow_id, FlowState.EXCEPTION, now_ms, reason=reason)
