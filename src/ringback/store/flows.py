"""Recall flows as their owner sees and edits them. What makes them run is in :mod:`ringback.store.nodes`.

Every edit checks the state in the statement that makes the change, on the flow's own row, so a request that races the
start of the first node either wins whole or is refused whole (recall rule 2).
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import delete, insert, or_, select, update

from ringback.model.audience import RecallType
from ringback.model.flow import FlowSpec, due_at
from ringback.model.report import Event
from ringback.model.states import FlowState
from ringback.store import outbox
from ringback.store.lookups import ByKey
from ringback.store.schema import flow, node, task, template

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ringback.store.database import Tx


class FlowNotFound(Exception):
    """No such flow, node or parent task in this account."""


class FlowWrongState(Exception):
    """The flow or node is no longer pending."""


class NodeDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One round. ``left_out`` is a JSON object: why calls of the previous task did not qualify, with counts.

    ``voice_node``: see :func:`ringback.store.templates.add`.
    """

    id: int
    position: int
    state: FlowState
    template_id: int
    voice_node: str | None
    task_id: int | None
    due_at: int | None
    qualified: int | None
    left_out: str | None
    started_at: int | None
    ended_at: int | None
    reason: str


class FlowDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A flow with its nodes in running order."""

    id: int
    account_id: int
    parent_task_id: int
    state: FlowState
    reason: str
    recall_type: RecallType
    recall_intents: list[str]
    interval_minutes: int
    rounds: int
    created_at: int
    nodes: list[NodeDetail]


class CancelBy(IntEnum):
    """What names the thing to cancel (the vendor's ``type``)."""

    FLOW = 1
    PARENT_TASK = 2
    NODE_ONWARD = 3


async def create(
    tx: Tx, account_id: int, parent_task_id: int, spec: FlowSpec, *, parent_template_id: int, now_ms: int
) -> int:
    """Store the flow of a task that has just been stored, with all its nodes. Returns its id."""
    inserted = await tx.execute(
        insert(flow)
        .values(
            account_id=account_id,
            parent_task_id=parent_task_id,
            created_at=now_ms,
            **_spec_values(spec, now_ms),
        )
        .returning(flow.c.id)
    )
    flow_id = int(inserted.scalar_one())
    await _add_nodes(tx, flow_id, dict(enumerate(spec.node_templates(parent_template_id), start=1)))
    return flow_id


async def detail(tx: Tx, flow_id: int, *, account_id: int | None = None) -> FlowDetail | None:
    """The flow with its nodes, in one read; with ``account_id`` only when it is that account's."""
    found = (await BY_ID.find(tx, [flow_id])).get(flow_id)
    return None if found is None or account_id not in (None, found.account_id) else found


async def edit(tx: Tx, account_id: int, flow_id: int, spec: FlowSpec, *, now_ms: int, minute_seconds: float) -> None:
    """Replace a pending flow's settings. Positions that stay keep their node, and so its key.

    A cancelled node never comes back: where the new settings want its round again, there is a new node.
    Raises :class:`FlowNotFound`, :class:`FlowWrongState`.
    """
    changed = await tx.execute(
        update(flow)
        .where(flow.c.id == flow_id, flow.c.account_id == account_id, flow.c.state == FlowState.PENDING)
        .values(**_spec_values(spec, now_ms))
        .returning(flow.c.parent_task_id)
    )
    parent_task_id = changed.scalar_one_or_none()
    if parent_task_id is None:
        await _refuse(tx, account_id, flow_id, "edited")
    parent = (await tx.execute(select(task.c.template_id, task.c.finished_at).where(task.c.id == parent_task_id))).one()
    templates = dict(enumerate(spec.node_templates(parent.template_id), start=1))
    gone = or_(node.c.position > spec.rounds, node.c.state != FlowState.PENDING)
    await tx.execute(delete(node).where(node.c.flow_id == flow_id, gone))
    kept = list(await tx.scalars(select(node.c.position).where(node.c.flow_id == flow_id)))
    for position in kept:
        await tx.execute(
            update(node)
            .where(node.c.flow_id == flow_id, node.c.position == position)
            .values(template_id=templates[position])
        )
    await _add_nodes(tx, flow_id, {at: templates[at] for at in templates if at not in kept})
    if parent.finished_at is not None:
        due = due_at(parent.finished_at, spec.interval_minutes, minute_seconds)
        await tx.execute(update(node).where(node.c.flow_id == flow_id, node.c.position == 1).values(due_at=due))


async def cancel(tx: Tx, account_id: int, by: CancelBy, key: int, now_ms: int) -> None:
    """Cancel a pending flow, or a pending node of any flow and all later ones.

    Raises :class:`FlowNotFound`, :class:`FlowWrongState`.
    """
    if by is CancelBy.NODE_ONWARD:
        await _cancel_from_node(tx, account_id, key, now_ms)
        return
    named = flow.c.id == key if by is CancelBy.FLOW else flow.c.parent_task_id == key
    cancelled = await tx.execute(
        update(flow)
        .where(named, flow.c.account_id == account_id, flow.c.state == FlowState.PENDING)
        .values(state=FlowState.CANCELLED, modified_at=now_ms)
        .returning(flow.c.id)
    )
    flow_id = cancelled.scalar_one_or_none()
    if flow_id is None:
        flow_id = await tx.scalar(select(flow.c.id).where(named, flow.c.account_id == account_id))
        if flow_id is None:
            what = "recall flow" if by is CancelBy.FLOW else "recall flow of task"
            raise FlowNotFound(f"there is no {what} {key}")
        await _refuse(tx, account_id, flow_id, "cancelled")
    await close_pending_nodes(tx, flow_id, FlowState.CANCELLED, now_ms)
    await outbox.flows_completed(tx, [flow_id], now_ms)


async def close_pending_nodes(
    tx: Tx, flow_id: int, state: FlowState, now_ms: int, *, from_position: int = 1, reason: str = ""
) -> None:
    """End every node that has not started, from a position on."""
    ended = await tx.execute(
        update(node)
        .where(node.c.flow_id == flow_id, node.c.position >= from_position, node.c.state == FlowState.PENDING)
        .values(state=state, ended_at=now_ms, due_at=None, reason=reason)
        .returning(node.c.id)
    )
    await outbox.nodes_changed(tx, Event.NODE_COMPLETED, sorted(row.id for row in ended), now_ms)


async def close_after_cancel(tx: Tx, flow_id: int, now_ms: int) -> None:
    """End a flow that has no node left to run: Completed when a round was run, else Cancelled (recall rule 9)."""
    states = list(await tx.scalars(select(node.c.state).where(node.c.flow_id == flow_id)))
    if FlowState.PENDING in states or FlowState.IN_PROGRESS in states:
        return
    state = FlowState.COMPLETED if FlowState.COMPLETED in states else FlowState.CANCELLED
    await end(tx, flow_id, state, now_ms)


async def end(tx: Tx, flow_id: int, state: FlowState, now_ms: int, *, reason: str = "") -> None:
    """A flow that is not over yet is over now."""
    ended = await tx.execute(
        update(flow)
        .where(flow.c.id == flow_id, flow.c.state.in_([FlowState.PENDING, FlowState.IN_PROGRESS]))
        .values(state=state, modified_at=now_ms, reason=reason)
    )
    if ended.rowcount:
        await outbox.flows_completed(tx, [flow_id], now_ms)


async def _cancel_from_node(tx: Tx, account_id: int, node_id: int, now_ms: int) -> None:
    of_node = select(node.c.flow_id).where(node.c.id == node_id).scalar_subquery()
    flow_id = await tx.scalar(
        select(flow.c.id).where(flow.c.id == of_node, flow.c.account_id == account_id).with_for_update()
    )
    if flow_id is None:
        raise FlowNotFound(f"there is no node {node_id}")
    cancelled = await tx.scalar(
        update(node)
        .where(node.c.id == node_id, node.c.state == FlowState.PENDING)
        .values(state=FlowState.CANCELLED, ended_at=now_ms, due_at=None)
        .returning(node.c.position)
    )
    if cancelled is None:
        # An edit may have taken the node away while this waited for the flow.
        state = await tx.scalar(select(node.c.state).where(node.c.id == node_id))
        if state is None:
            raise FlowNotFound(f"there is no node {node_id}")
        raise FlowWrongState(f"node {node_id} is {_words(state)}; only a pending node can be cancelled")
    await outbox.nodes_changed(tx, Event.NODE_COMPLETED, [node_id], now_ms)
    await close_pending_nodes(tx, flow_id, FlowState.CANCELLED, now_ms, from_position=cancelled)
    await close_after_cancel(tx, flow_id, now_ms)


async def _refuse(tx: Tx, account_id: int, flow_id: int, wish: str) -> None:
    state = await tx.scalar(select(flow.c.state).where(flow.c.id == flow_id, flow.c.account_id == account_id))
    if state is None:
        raise FlowNotFound(f"there is no recall flow {flow_id}")
    raise FlowWrongState(f"recall flow {flow_id} is {_words(state)}; only a pending one can be {wish}")


def _words(state: str) -> str:
    return state.replace("_", " ")


async def _add_nodes(tx: Tx, flow_id: int, templates: dict[int, int]) -> None:
    if templates:
        await tx.execute(
            insert(node),
            [{"flow_id": flow_id, "position": at, "template_id": template} for at, template in templates.items()],
        )


def _spec_values(spec: FlowSpec, now_ms: int) -> dict[str, Any]:
    return {
        "recall_type": int(spec.recall_type),
        "recall_intents": list(spec.intents),
        "interval_minutes": spec.interval_minutes,
        "rounds": spec.rounds,
        "modified_at": now_ms,
    }


_DETAIL = (
    select(
        flow.c.id,
        flow.c.account_id,
        flow.c.parent_task_id,
        flow.c.state,
        flow.c.reason,
        flow.c.recall_type,
        flow.c.recall_intents,
        flow.c.interval_minutes,
        flow.c.rounds,
        flow.c.created_at,
        node.c.id.label("node_id"),
        node.c.position,
        node.c.state.label("node_state"),
        node.c.template_id,
        template.c.voice_node,
        node.c.task_id,
        node.c.due_at,
        node.c.qualified,
        node.c.left_out,
        node.c.started_at,
        node.c.ended_at,
        node.c.reason.label("node_reason"),
    )
    .join(node, node.c.flow_id == flow.c.id)
    .join(template, template.c.id == node.c.template_id)
    .order_by(flow.c.id, node.c.position)
)


def _details(rows: Iterable[Any]) -> dict[int, FlowDetail]:
    found: dict[int, FlowDetail] = {}
    for row in rows:
        of = found.get(row.id)
        if of is None:
            of = found[row.id] = FlowDetail(
                id=row.id,
                account_id=row.account_id,
                parent_task_id=row.parent_task_id,
                state=FlowState(row.state),
                reason=row.reason,
                recall_type=RecallType(row.recall_type),
                recall_intents=row.recall_intents,
                interval_minutes=row.interval_minutes,
                rounds=row.rounds,
                created_at=row.created_at,
                nodes=[],
            )
        of.nodes.append(
            NodeDetail(
                id=row.node_id,
                position=row.position,
                state=FlowState(row.node_state),
                template_id=row.template_id,
                voice_node=row.voice_node,
                task_id=row.task_id,
                due_at=row.due_at,
                qualified=row.qualified,
                left_out=row.left_out,
                started_at=row.started_at,
                ended_at=row.ended_at,
                reason=row.node_reason,
            )
        )
    return found


#: Flows with their nodes.
BY_ID: ByKey[int, FlowDetail] = ByKey(_DETAIL, flow.c.id, _details)
