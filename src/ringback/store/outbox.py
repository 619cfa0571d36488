"""The outbox: reports are written in the transaction of what they tell of, so that no result is without its report.

A row names the receiver and what it tells of. The body is made when it is sent; where what it tells of may change by
then, it is in the row. In one flow order is kept: calls of one round may overtake each other, everything else is a
barrier between what was written before and after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import and_, exists, false, func, insert, literal, or_, select

from ringback.model.billing import money_text
from ringback.model.outcome import FAILED_OUTCOMES
from ringback.model.report import CALL_FORMS, Event, Form
from ringback.model.states import FlowState
from ringback.store.bulk import among
from ringback.store.schema import call, flow, node, task
from ringback.store.schema_reports import report, report_endpoint

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import ColumnElement

    from ringback.store.database import Tx

_later = node.alias("later")
_own_flow = flow.alias("own_flow")  # of which the task is a round
_hanging = flow.alias("hanging")  # that hangs on the task
#: The parent task of the flow that a task belongs to; a task without one is its own.
_flow_key = func.coalesce(_own_flow.c.parent_task_id, task.c.id)


async def calls_ended(tx: Tx, call_ids: Collection[int], now_ms: int) -> None:
    """Calls have ended: all that they changed is in this transaction. Of a task that reports last results only, a
    failed call that a later round may call again is passed over.
    """
    if await _somebody_listens(tx):
        called_again = exists().where(
            _later.c.flow_id == func.coalesce(_own_flow.c.id, _hanging.c.id), _later.c.state == FlowState.PENDING
        )
        not_the_last = and_(task.c.report_last, call.c.outcome.in_(sorted(FAILED_OUTCOMES)), called_again)
        await _insert_calls(tx, among(call.c.id, call_ids), ~not_the_last, now_ms)


async def no_more_rounds(tx: Tx, flow_id: int, now_ms: int) -> None:
    """A flow has no round left to start: failed calls of the last one that were passed over are reported now."""
    if not await _somebody_listens(tx):
        return
    waits = await tx.scalar(
        select(node.c.id).where(node.c.flow_id == flow_id, node.c.state == FlowState.PENDING).limit(1)
    )
    if waits is not None:
        return
    ran = select(node.c.task_id).where(node.c.flow_id == flow_id, node.c.task_id.is_not(None))
    last = await tx.scalar(ran.order_by(node.c.position.desc()).limit(1))
    if last is None:
        last = await tx.scalar(select(flow.c.parent_task_id).where(flow.c.id == flow_id))
    passed_over = and_(
        task.c.report_last,
        call.c.outcome.in_(sorted(FAILED_OUTCOMES)),
        ~exists().where(report.c.subject_id == call.c.id, report.c.event == Event.CALL_ENDED),
    )
    await _insert_calls(tx, and_(call.c.task_id == last, call.c.ended_at.is_not(None)), passed_over, now_ms)


async def _insert_calls(tx: Tx, which: ColumnElement[bool], also: ColumnElement[bool], now_ms: int) -> None:
    await tx.execute(
        insert(report).from_select(
            ["endpoint_id", "event", "subject_id", "flow_key", "barrier", "created_at", "due_at"],
            select(
                report_endpoint.c.id,
                literal(str(Event.CALL_ENDED)),
                call.c.id,
                _flow_key,
                false(),
                literal(now_ms),
                literal(now_ms),
            )
            .select_from(call)
            .join(task, task.c.id == call.c.task_id)
            .join(report_endpoint, _wants(Event.CALL_ENDED, *CALL_FORMS, Form.EVENTS))
            .join(node, node.c.task_id == task.c.id, isouter=True)
            .join(_own_flow, _own_flow.c.id == node.c.flow_id, isouter=True)
            .join(_hanging, _hanging.c.parent_task_id == task.c.id, isouter=True)
            .where(which, also)
            .order_by(call.c.id, report_endpoint.c.id),
        )
    )


async def tasks_changed(tx: Tx, event: Event, task_ids: Sequence[int], now_ms: int) -> None:
    """Tasks have finished, were cancelled, or could not be submitted."""
    if not task_ids or not await _somebody_listens(tx):
        return
    rows = await tx.execute(
        select(
            report_endpoint.c.id.label("endpoint_id"),
            task.c.id,
            task.c.name,
            task.c.state,
            task.c.reason,
            task.c.total,
            task.c.answered,
            task.c.failed,
            task.c.skipped,
            task.c.cancelled,
            task.c.queued,
            task.c.active,
            task.c.talk_ms,
            task.c.charged_seconds,
            task.c.cost_micros,
            node.c.flow_id,
            node.c.position,
            _flow_key.label("flow_key"),
        )
        .select_from(task)
        .join(report_endpoint, _wants(event, Form.EVENTS))
        .join(node, node.c.task_id == task.c.id, isouter=True)
        .join(_own_flow, _own_flow.c.id == node.c.flow_id, isouter=True)
        .where(task.c.id.in_(task_ids))
        .order_by(task.c.id, report_endpoint.c.id)
    )
    counts = ("total", "answered", "failed", "skipped", "cancelled", "queued", "active", "talk_ms", "charged_seconds")
    names = ("name", "state", "reason", *counts)
    told = []
    for row in rows:
        body = {"task_id": row.id, "flow_id": row.flow_id, "round": row.position or 0, **_members(row, *names)}
        told.append((row, row.id, body | {"cost": money_text(row.cost_micros)}))
    await _insert(tx, event, told, now_ms)


async def nodes_changed(tx: Tx, event: Event, node_ids: Sequence[int], now_ms: int) -> None:
    """Rounds have started, or are over."""
    if not node_ids or not await _somebody_listens(tx):
        return
    rows = await tx.execute(
        select(
            report_endpoint.c.id.label("endpoint_id"),
            node.c.id,
            node.c.flow_id,
            node.c.position,
            node.c.state,
            node.c.reason,
            node.c.task_id,
            node.c.template_id,
            node.c.qualified,
            node.c.left_out,
            _own_flow.c.parent_task_id.label("flow_key"),
        )
        .select_from(node)
        .join(_own_flow, _own_flow.c.id == node.c.flow_id)
        .join(task, task.c.id == _own_flow.c.parent_task_id)
        .join(report_endpoint, _wants(event, Form.EVENTS))
        .where(node.c.id.in_(node_ids))
        .order_by(node.c.id, report_endpoint.c.id)
    )
    names = ("state", "reason", "task_id", "template_id", "qualified")
    told = []
    for row in rows:
        left_out = None if row.left_out is None else msgspec.json.decode(row.left_out)
        body = {"node_id": row.id, "flow_id": row.flow_id, "parent_task_id": row.flow_key, "round": row.position}
        told.append((row, row.id, {**body, **_members(row, *names), "left_out": left_out}))
    await _insert(tx, event, told, now_ms)


async def flows_completed(tx: Tx, flow_ids: Sequence[int], now_ms: int) -> None:
    """Flows are over, in whatever state."""
    if not flow_ids or not await _somebody_listens(tx):
        return
    rows = await tx.execute(
        select(
            report_endpoint.c.id.label("endpoint_id"),
            flow.c.id,
            flow.c.state,
            flow.c.reason,
            flow.c.rounds,
            flow.c.parent_task_id.label("flow_key"),
        )
        .select_from(flow)
        .join(task, task.c.id == flow.c.parent_task_id)
        .join(report_endpoint, _wants(Event.FLOW_COMPLETED, Form.EVENTS))
        .where(flow.c.id.in_(flow_ids))
        .order_by(flow.c.id, report_endpoint.c.id)
    )
    told = [
        (row, row.id, {"flow_id": row.id, "parent_task_id": row.flow_key, **_members(row, "state", "reason", "rounds")})
        for row in rows
    ]
    await _insert(tx, Event.FLOW_COMPLETED, told, now_ms)


async def messages(tx: Tx, wanted: Sequence[tuple[int, str, int]], now_ms: int) -> None:
    """Text messages after calls that have just ended: (call id, body as JSON, when to send it in epoch ms)."""
    if not wanted or not await _somebody_listens(tx):
        return
    rows = await tx.execute(
        select(func.min(report_endpoint.c.id).label("endpoint_id"), call.c.id)
        .select_from(call)
        .join(task, task.c.id == call.c.task_id)
        .join(report_endpoint, _wants(Event.SMS, Form.SMS))
        .where(among(call.c.id, [call_id for call_id, _, _ in wanted]))
        .group_by(call.c.id)
    )
    provider = {row.id: row.endpoint_id for row in rows}
    values = [
        # In no order with anything: each is its own flow.
        _row(provider[call_id], Event.SMS, call_id, flow_key=-call_id, body=body, now_ms=now_ms)
        | {"barrier": False, "due_at": due_at}
        for call_id, body, due_at in wanted
        if call_id in provider
    ]
    if values:
        await tx.execute(insert(report), values)


async def _insert(tx: Tx, event: Event, told: Sequence[tuple[Any, int, dict[str, Any]]], now_ms: int) -> None:
    values = [
        _row(
            row.endpoint_id,
            event,
            subject_id,
            flow_key=row.flow_key,
            body=msgspec.json.encode(body).decode(),
            now_ms=now_ms,
        )
        for row, subject_id, body in told
    ]
    if values:
        await tx.execute(insert(report), values)


def _row(endpoint_id: int, event: Event, subject_id: int, *, flow_key: int, body: str, now_ms: int) -> dict[str, Any]:
    return {
        "endpoint_id": endpoint_id,
        "event": event,
        "subject_id": subject_id,
        "flow_key": flow_key,
        "barrier": True,
        "body": body,
        "created_at": now_ms,
        "due_at": now_ms,
    }


def _members(row: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


async def _somebody_listens(tx: Tx) -> bool:
    return await tx.scalar(select(report_endpoint.c.id).limit(1)) is not None


def _wants(event: Event, *forms: Form) -> ColumnElement[bool]:
    """The receivers of a task's account, in one of the forms, that want the event; disabled ones too, which get it when
    they are enabled again.
    """
    return and_(
        report_endpoint.c.account_id == task.c.account_id,
        or_(report_endpoint.c.application_id.is_(None), report_endpoint.c.application_id == task.c.application_id),
        report_endpoint.c.form.in_(sorted(forms)),
        or_(report_endpoint.c.events == "", report_endpoint.c.events.contains(f",{event},")),
    )
