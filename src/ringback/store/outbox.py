"""The outbox: reports are written in the transaction of what they tell of, so that no result is without its report.

A row names the receiver and what it tells of. The body is made when it is sent; where what it tells of may change by
then, it is in the row. In one flow order is kept: calls of one round may overtake each other, everything else is a
barrier between what was written before and after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import and_, case, delete, exists, false, func, insert, literal, not_, or_, select, update

from ringback.model.audience import RecallType
from ringback.model.billing import money_text
from ringback.model.outcome import FAILED_OUTCOMES
from ringback.model.report import CALL_FORMS, Event, Form
from ringback.model.states import FlowState
from ringback.model.task import TaskKind
from ringback.store.bulk import among
from ringback.store.schema import call, flow, node, task
from ringback.store.schema_reports import report, report_endpoint

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import ColumnElement

    from ringback.store.database import Tx

#: When a result is due that waits for the next one of its number: never, and nothing waits for it.
HELD_BACK = 1 << 62

_later = node.alias("later")
_own_flow = flow.alias("own_flow")  # of which the task is a round
_hanging = flow.alias("hanging")  # that hangs on the task
#: The parent task of the flow that a task belongs to; a task without one is its own.
_flow_key = func.coalesce(_own_flow.c.parent_task_id, task.c.id)


async def calls_ended(tx: Tx, call_ids: Collection[int], now_ms: int) -> None:
    """Calls have ended: all that they changed is in this transaction.

    Of a task that reports last results only, a result waits on the outbox while a later round may call the number
    again. The next result of the number takes its place, or the end of the flow lets it go.
    """
    if await _somebody_listens(tx):
        await _take_back_earlier(tx, call_ids)
        await _insert_calls(tx, call_ids, now_ms)


async def _take_back_earlier(tx: Tx, call_ids: Collection[int]) -> None:
    """Results that wait for the next one of their number, which is among these calls."""
    ended = await tx.execute(
        select(call.c.callee, task.c.account_id, _flow_key.label("flow_key"))
        .join(task, task.c.id == call.c.task_id)
        .join(node, node.c.task_id == task.c.id)
        .join(_own_flow, _own_flow.c.id == node.c.flow_id)
        .where(among(call.c.id, call_ids), task.c.report_last)
    )
    rows = ended.all()
    if not rows:
        return
    here = {(row.flow_key, row.callee) for row in rows}
    held = await tx.execute(
        select(report.c.id, report.c.flow_key, call.c.callee)
        .join(call, call.c.id == report.c.subject_id)
        .where(
            *_held_of({row.account_id for row in rows}, {row.flow_key for row in rows}),
            report.c.event == Event.CALL_ENDED,
        )
    )
    replaced = [row.id for row in held if (row.flow_key, row.callee) in here]
    if replaced:
        await tx.execute(delete(report).where(among(report.c.id, replaced)))


async def _let_go(tx: Tx, flow_ids: Sequence[int], now_ms: int) -> None:
    """No later round calls anybody of these flows: what waited for it may be sent."""
    rows = (await tx.execute(select(flow.c.account_id, flow.c.parent_task_id).where(flow.c.id.in_(flow_ids)))).all()
    held = _held_of({row.account_id for row in rows}, {row.parent_task_id for row in rows})
    await tx.execute(update(report).where(*held).values(due_at=now_ms, created_at=now_ms))


def _held_of(account_ids: Collection[int], flow_keys: Collection[int]) -> tuple[ColumnElement[bool], ...]:
    """Results of these flows that wait for the next one of their number."""
    receivers = select(report_endpoint.c.id).where(report_endpoint.c.account_id.in_(account_ids))
    return (
        report.c.endpoint_id.in_(receivers),
        report.c.flow_key.in_(flow_keys),
        report.c.state == "pending",
        report.c.due_at == HELD_BACK,
    )


async def _insert_calls(tx: Tx, call_ids: Collection[int], now_ms: int) -> None:
    of_flow = func.coalesce(_own_flow.c.id, _hanging.c.id)
    more_rounds = exists().where(_later.c.flow_id == of_flow, _later.c.state == FlowState.PENDING)
    # Where other than failed calls are recalled, any may be.
    only_failed = and_(
        func.coalesce(_own_flow.c.recall_type, _hanging.c.recall_type) == int(RecallType.FAILED),
        func.json_array_length(func.coalesce(_own_flow.c.recall_intents, _hanging.c.recall_intents)) == 0,
    )
    may_be_called = or_(call.c.outcome.in_(sorted(FAILED_OUTCOMES)), not_(only_failed))
    due_at = case((and_(task.c.report_last, more_rounds, may_be_called), literal(HELD_BACK)), else_=literal(now_ms))
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
                due_at,
            )
            .select_from(call)
            .join(task, task.c.id == call.c.task_id)
            .join(report_endpoint, wants(Event.CALL_ENDED, *CALL_FORMS, Form.EVENTS))
            .join(node, node.c.task_id == task.c.id, isouter=True)
            .join(_own_flow, _own_flow.c.id == node.c.flow_id, isouter=True)
            .join(_hanging, _hanging.c.parent_task_id == task.c.id, isouter=True)
            .where(among(call.c.id, call_ids), _of_form())
            .order_by(call.c.id, report_endpoint.c.id),
        )
    )


def _of_form() -> ColumnElement[bool]:
    """The agents' report knows calls of agents only; the voice reports have a type for each kind of call."""
    return or_(report_endpoint.c.form != Form.AGENT, task.c.kind.in_([TaskKind.AGENT, TaskKind.JOB]))


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
        .join(report_endpoint, wants(event, Form.EVENTS))
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
        .join(report_endpoint, wants(event, Form.EVENTS))
        .where(node.c.id.in_(node_ids))
        # An edited flow may have given a first round a later id.
        .order_by(node.c.flow_id, node.c.position, report_endpoint.c.id)
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
    await _let_go(tx, flow_ids, now_ms)
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
        .join(report_endpoint, wants(Event.FLOW_COMPLETED, Form.EVENTS))
        .where(flow.c.id.in_(flow_ids))
        .order_by(flow.c.id, report_endpoint.c.id)
    )
    told = [
        (row, row.id, {"flow_id": row.id, "parent_task_id": row.flow_key, **_members(row, "state", "reason", "rounds")})
        for row in rows
    ]
    await _insert(tx, Event.FLOW_COMPLETED, told, now_ms)


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


def wants(event: Event, *forms: Form) -> ColumnElement[bool]:
    """The receivers of a task's account, in one of the forms, that want the event; disabled ones too, which get it when
    they are enabled again.
    """
    return and_(
        report_endpoint.c.account_id == task.c.account_id,
        or_(report_endpoint.c.application_id.is_(None), report_endpoint.c.application_id == task.c.application_id),
        report_endpoint.c.form.in_(sorted(forms)),
        or_(report_endpoint.c.events == "", report_endpoint.c.events.contains(f",{event},")),
    )
