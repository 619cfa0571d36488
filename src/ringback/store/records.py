"""Reading calls back: the list of a task, and how its calls ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import func, or_, select

from ringback.model.outcome import Outcome
from ringback.model.states import CallState
from ringback.store.schema import call, task, trunk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ringback.store.database import Tx


class CallRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A call as it is listed."""

    id: int
    callee: str
    state: CallState
    outcome: Outcome | None
    sip_code: int | None
    q850_cause: int | None
    ring_ms: int | None
    talk_ms: int | None
    hung_up_by: str | None
    keys: str | None
    intent: str | None
    trunk: str | None
    started_at: int | None
    ended_at: int | None
    reason: str | None
    recording: str | None
    #: The lane that it is or was queued in.
    zone: str = ""
    route_prefix: str = ""


async def page(tx: Tx, task_id: int, *, after: int = 0, limit: int = 1000) -> list[CallRecord]:
    """The next calls of a task behind the call ``after``, in the order of its numbers."""
    rows = await tx.execute(QUERY.where(call.c.task_id == task_id, call.c.id > after).order_by(call.c.id).limit(limit))
    return [msgspec.convert(row, CallRecord, from_attributes=True) for row in rows]


async def listed(tx: Tx, task_id: int) -> AsyncIterator[CallRecord]:
    """Every call of a task in the order of its numbers."""
    after = 0
    while found := await page(tx, task_id, after=after):
        after = found[-1].id
        for record in found:
            yield record


async def count_without_text(tx: Tx, task_id: int, name: str) -> int:
    """How many numbers of a task have no text variable of that name (``text1`` to ``text10``)."""
    # Texts are JSON objects that we wrote: a name stands in quotes before a colon, without a blank.
    has_it = call.c.texts.contains(f'"{name}":', autoescape=True)
    query = select(func.count()).where(call.c.task_id == task_id, or_(call.c.texts.is_(None), ~has_it))
    return int(await tx.scalar(query) or 0)


async def count_by_end(tx: Tx, task_id: int) -> dict[str, int]:
    """How the calls of a task ended: counts by outcome, or by state where there is none."""
    why = func.coalesce(call.c.outcome, call.c.state)
    rows = await tx.execute(select(why, func.count()).where(call.c.task_id == task_id).group_by(why).order_by(why))
    return {row[0]: row[1] for row in rows}


async def skipped_by_reason(tx: Tx, task_id: int) -> dict[str, int]:
    """How many numbers of a task were skipped, by reason."""
    rows = await tx.execute(
        select(call.c.reason, func.count())
        .where(call.c.task_id == task_id, call.c.state == CallState.SKIPPED)
        .group_by(call.c.reason)
    )
    return {row[0]: row[1] for row in rows}


#: Calls with the name of their trunk.
QUERY = select(
    call.c.id,
    call.c.callee,
    call.c.zone,
    call.c.route_prefix,
    call.c.state,
    call.c.outcome,
    call.c.sip_code,
    call.c.q850_cause,
    call.c.ring_ms,
    call.c.talk_ms,
    call.c.hung_up_by,
    call.c["keys"],
    call.c.intent,
    trunk.c.name.label("trunk"),
    call.c.started_at,
    call.c.ended_at,
    call.c.reason,
    call.c.recording,
).join(trunk, trunk.c.id == call.c.trunk_id, isouter=True)


async def tasks_by_state(tx: Tx) -> dict[str, int]:
    """How many tasks are in each state."""
    rows = await tx.execute(select(task.c.state, func.count()).group_by(task.c.state).order_by(task.c.state))
    return {row[0]: row[1] for row in rows}


async def call_totals(tx: Tx) -> dict[str, int]:
    """How many calls of all tasks are queued, active, answered, failed, skipped and cancelled, from the counters."""
    names = ("queued", "active", "answered", "failed", "skipped", "cancelled")
    row = (await tx.execute(select(*(func.coalesce(func.sum(task.c[name]), 0) for name in names)))).one()
    return dict(zip(names, row, strict=True))
