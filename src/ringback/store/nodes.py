"""What makes a recall flow run: nodes become due, start a task of their own, and end with it.

Each step is part of the transaction that causes it: the last result of a task makes the next node due, and the start of
a node creates its task and copies its audience in one ``INSERT … SELECT``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import and_, func, insert, literal, or_, select, update

from ringback.model.audience import Audience, RecallType, audience_of
from ringback.model.flow import due_at, recall_task_name
from ringback.model.outcome import ANSWERED_OUTCOMES
from ringback.model.states import CallState, FlowState
from ringback.store import flows, lanes, provenance, routes
from ringback.store.schema import call, flow, node, task

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


async def start(tx: Tx, node_id: int, now_ms: int) -> int | None:
    """Start a due node: its task is stored, waiting to be submitted at once. Returns the task's id.

    ``None`` when nobody qualified (the node, all later ones and the flow are then completed) or when the node is no
    longer pending: an edit or a cancellation came first.
    """
    # The flow's row is locked first, as an edit locks it, so that an edit comes wholly before this or after it.
    of_node = select(node.c.flow_id).where(node.c.id == node_id).scalar_subquery()
    of = (await tx.execute(select(flow).where(flow.c.id == of_node).with_for_update())).one_or_none()
    row = (
        await tx.execute(
            select(node.c.flow_id, node.c.position, node.c.template_id)
            .where(node.c.id == node_id, node.c.state == FlowState.PENDING, node.c.due_at <= now_ms)
            .with_for_update()
        )
    ).one_or_none()
    if of is None or row is None:
        return None
    previous_id = await _previous_task(tx, of.id, of.parent_task_id, row.position)
    audience = audience_of(RecallType(of.recall_type), of.recall_intents)
    wanted = _in_audience(previous_id, audience)
    qualified = await tx.scalar(select(func.count()).select_from(call).where(wanted)) or 0
    found: dict[str, Any] = {"qualified": qualified, "left_out": await _left_out(tx, previous_id, wanted)}
    if qualified == 0:
        await tx.execute(update(node).where(node.c.id == node_id).values(**found))
        await flows.close_pending_nodes(
            tx, of.id, FlowState.COMPLETED, now_ms, from_position=row.position, reason="nobody was left to recall"
        )
        await _move_flow(tx, of.id, FlowState.COMPLETED, now_ms)
        return None
    task_id = await _make_task(tx, of.parent_task_id, row, qualified, now_ms)
    # Routes may have changed since the previous round.
    route_prefix = routes.prefix_column(await routes.prefixes(tx, of.account_id), of.account_id)
    await tx.execute(
        insert(call).from_select(
            ["task_id", "callee", "zone", "texts", "route_prefix"],
            select(literal(task_id), call.c.callee, call.c.zone, call.c.texts, route_prefix)
            .where(wanted)
            .order_by(call.c.id),
        )
    )
    await lanes.fill(tx, task_id)
    await tx.execute(
        update(node)
        .where(node.c.id == node_id)
        .values(state=FlowState.IN_PROGRESS, task_id=task_id, started_at=now_ms, **found)
    )
    await _move_flow(tx, of.id, FlowState.IN_PROGRESS, now_ms)
    return task_id


async def task_finished(tx: Tx, task_id: int, now_ms: int, minute_seconds: float) -> None:
    """A task finished: the node it belongs to is completed, and the next one is due after the interval."""
    of_node = (
        await tx.execute(
            update(node)
            .where(node.c.task_id == task_id, node.c.state == FlowState.IN_PROGRESS)
            .values(state=FlowState.COMPLETED, ended_at=now_ms)
            .returning(node.c.flow_id, node.c.position)
        )
    ).one_or_none()
    if of_node is None:
        flow_id = await tx.scalar(
            select(flow.c.id).where(flow.c.parent_task_id == task_id, flow.c.state == FlowState.PENDING)
        )
        if flow_id is None:
            return
        position = 0
    else:
        flow_id, position = of_node.flow_id, of_node.position
    interval = await tx.scalar(select(flow.c.interval_minutes).where(flow.c.id == flow_id))
    assert interval is not None
    made_due = await tx.execute(
        update(node)
        .where(node.c.flow_id == flow_id, node.c.position == position + 1, node.c.state == FlowState.PENDING)
        .values(due_at=due_at(now_ms, interval, minute_seconds))
    )
    if made_due.rowcount == 0:
        await _move_flow(tx, flow_id, FlowState.COMPLETED, now_ms)


async def task_cancelled(tx: Tx, task_id: int, now_ms: int) -> None:
    """A task was cancelled: its own pending flow, or the node it belongs to and all later ones, are cancelled."""
    cancelled = await tx.execute(
        update(flow)
        .where(flow.c.parent_task_id == task_id, flow.c.state == FlowState.PENDING)
        .values(state=FlowState.CANCELLED, modified_at=now_ms, reason="its task was cancelled")
        .returning(flow.c.id)
    )
    flow_id = cancelled.scalar_one_or_none()
    if flow_id is not None:
        await flows.close_pending_nodes(tx, flow_id, FlowState.CANCELLED, now_ms, reason="the parent was cancelled")
        return
    of_node = (
        await tx.execute(
            update(node)
            .where(node.c.task_id == task_id, node.c.state == FlowState.IN_PROGRESS)
            .values(state=FlowState.CANCELLED, ended_at=now_ms, reason="its task was cancelled")
            .returning(node.c.flow_id, node.c.position)
        )
    ).one_or_none()
    if of_node is not None:
        await flows.close_pending_nodes(
            tx, of_node.flow_id, FlowState.CANCELLED, now_ms, reason="an earlier round was cancelled"
        )
        await flows.close_after_cancel(tx, of_node.flow_id, now_ms)


async def refuse(tx: Tx, node_id: int, reason: str, now_ms: int) -> None:
    """A due node cannot start: it ends with that reason, and so do all later ones and the flow."""
    failed = await tx.execute(
        update(node)
        .where(node.c.id == node_id, node.c.state == FlowState.PENDING)
        .values(state=FlowState.EXCEPTION, ended_at=now_ms, due_at=None, reason=reason)
        .returning(node.c.flow_id)
    )
    flow_id = failed.scalar_one_or_none()
    if flow_id is not None:
        await flows.close_pending_nodes(tx, flow_id, FlowState.EXCEPTION, now_ms, reason=reason)
        await _move_flow(tx, flow_id, FlowState.EXCEPTION, now_ms, reason=reason)


async def task_refused(tx: Tx, task_id: int, reason: str, now_ms: int) -> None:
    """A task could not be submitted: its flow, or the flow whose node it belongs to, ends with that reason."""
    flow_id = await tx.scalar(select(flow.c.id).where(flow.c.parent_task_id == task_id))
    if flow_id is None:
        failed = await tx.execute(
            update(node)
            .where(node.c.task_id == task_id, node.c.state == FlowState.IN_PROGRESS)
            .values(state=FlowState.EXCEPTION, ended_at=now_ms, reason=reason)
            .returning(node.c.flow_id)
        )
        flow_id = failed.scalar_one_or_none()
    if flow_id is not None:
        await flows.close_pending_nodes(tx, flow_id, FlowState.EXCEPTION, now_ms, reason=reason)
        await _move_flow(tx, flow_id, FlowState.EXCEPTION, now_ms, reason=reason)


async def _move_flow(tx: Tx, flow_id: int, state: FlowState, now_ms: int, *, reason: str = "") -> None:
    await tx.execute(
        update(flow)
        .where(flow.c.id == flow_id, flow.c.state.in_([FlowState.PENDING, FlowState.IN_PROGRESS]))
        .values(state=state, modified_at=now_ms, reason=reason)
    )


async def _previous_task(tx: Tx, flow_id: int, parent_task_id: int, position: int) -> int:
    """The task whose calls this round chooses from: the round before, or the parent for the first."""
    if position == 1:
        return parent_task_id
    before = await tx.scalar(select(node.c.task_id).where(node.c.flow_id == flow_id, node.c.position == position - 1))
    assert before is not None, "a node is due only after the one before it has run"
    return int(before)


def _in_audience(previous_id: int, audience: Audience) -> Any:
    """The audience as a condition on the previous task's calls: :meth:`Audience.includes`, in SQL."""
    chosen: list[Any] = [call.c.outcome.in_(sorted(audience.outcomes))]
    if audience.intents:
        # A call without an intent must come out false, not NULL: the negation of this says who was left out.
        tagged = and_(call.c.intent.is_not(None), call.c.intent.in_(sorted(audience.intents)))
        chosen.append(and_(call.c.outcome.in_(sorted(ANSWERED_OUTCOMES)), tagged))
    return and_(call.c.task_id == previous_id, call.c.state == CallState.ENDED, or_(*chosen))


async def _left_out(tx: Tx, previous_id: int, wanted: Any) -> str:
    """Why the other calls of the previous task do not qualify, as JSON counts by outcome or state."""
    why = func.coalesce(call.c.outcome, call.c.state)
    rows = await tx.execute(
        select(why.label("why"), func.count().label("calls"))
        .where(call.c.task_id == previous_id, ~wanted)
        .group_by(why)
        .order_by(why)
    )
    return msgspec.json.encode({row.why: row.calls for row in rows}).decode()


async def _make_task(tx: Tx, parent_task_id: int, row: Any, qualified: int, now_ms: int) -> int:
    """The round's task: the parent's application, caller id and limits, the node's template."""
    parent = (await tx.execute(select(task).where(task.c.id == parent_task_id))).one()
    like = parent.name[:40]
    taken = set(
        await tx.scalars(
            select(task.c.name).where(
                task.c.account_id == parent.account_id, task.c.name.startswith(like, autoescape=True)
            )
        )
    )
    inserted = await tx.execute(
        insert(task)
        .values(
            account_id=parent.account_id,
            application_id=parent.application_id,
            name=recall_task_name(parent.name, row.position, taken.__contains__),
            template_id=row.template_id,
            caller_id=parent.caller_id,
            limits=parent.limits,
            send_at=now_ms,
            total=qualified,
            queued=qualified,
            created_at=now_ms,
            modified_at=now_ms,
        )
        .returning(task.c.id)
    )
    return int(inserted.scalar_one())
