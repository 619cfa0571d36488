"""Text messages after calls: put on the outbox with the result, at most one a call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import func, insert, select

from ringback.model.hang_up_sms import HangUpSms, sent_after_seconds
from ringback.model.outcome import Outcome
from ringback.model.report import Event, Form
from ringback.model.text_variables import substituted
from ringback.store.bulk import among
from ringback.store.outbox import wants
from ringback.store.schema import call, task, template
from ringback.store.schema_reports import report, report_endpoint

if TYPE_CHECKING:
    from collections.abc import Collection

    from ringback.store.database import Tx


class Message(msgspec.Struct, frozen=True):
    """What the provider gets. ``id`` is the call's: whoever sees it twice has it already."""

    id: str
    to: str
    sender: str = msgspec.field(name="from")
    text: str


class _OfTemplate(msgspec.Struct, frozen=True):
    """The part of a stored template that matters here."""

    sms: HangUpSms | None = None


async def calls_ended(tx: Tx, call_ids: Collection[int], now_ms: int) -> None:
    """Calls have just ended, and their results are in this transaction.

    A message goes to the oldest provider of the account that is not for another application. Without one there is none.
    """
    if await tx.scalar(select(report_endpoint.c.id).where(report_endpoint.c.form == Form.SMS).limit(1)) is None:
        return
    ended = (
        select(call.c.task_id).where(among(call.c.id, call_ids)).distinct().subquery()
    )  # A template is large: it is read once, not with each call.
    found = await tx.execute(
        select(task.c.id, func.min(report_endpoint.c.id).label("provider"), template.c.body)
        .select_from(task)
        .join(ended, ended.c.task_id == task.c.id)
        .join(template, template.c.id == task.c.template_id)
        .join(report_endpoint, wants(Event.SMS, Form.SMS))
        .group_by(task.c.id, template.c.body)
    )
    of_tasks = {row.id: (row.provider, msgspec.json.decode(row.body, type=_OfTemplate).sms) for row in found}
    if not any(sms for _, sms in of_tasks.values()):
        return
    rows = await tx.execute(
        select(
            call.c.id,
            call.c.task_id,
            call.c.callee,
            call.c.texts,
            call.c.outcome,
            call.c["keys"],
            call.c.ring_ms,
            call.c.ended_at,
        )
        .where(among(call.c.id, call_ids))
        .order_by(call.c.id)
    )
    values = []
    for row in rows:
        provider, sms = of_tasks.get(row.task_id, (0, None))
        if sms is None:
            continue
        outcome, rang = Outcome(row.outcome), row.ring_ms is not None
        wait = sent_after_seconds(sms, outcome=outcome, keys=row.keys or "", rang=rang)
        if wait is None:
            continue
        texts = msgspec.json.decode(row.texts, type=dict[str, str]) if row.texts else {}
        message = Message(f"sms_{row.id}", row.callee, sms.sender, substituted(sms.content, texts))
        values.append(
            {
                "endpoint_id": provider,
                "event": Event.SMS,
                "subject_id": row.id,
                # In no order with anything: each is its own flow.
                "flow_key": -row.id,
                "body": msgspec.json.encode(message).decode(),
                "created_at": now_ms,
                "due_at": row.ended_at + wait * 1000,
            }
        )
    if values:
        await tx.execute(insert(report), values)
