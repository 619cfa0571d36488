"""The courier's side of the outbox: which receivers it serves, what is due for one, what came of it.

A courier holds receivers by a lease that it renews, and each mark is made only while it holds the receiver. When it
dies, the lease runs out and another sends what was not marked: at least once, with the same id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import and_, case, delete, exists, or_, select, text, update

from ringback.model.report import Event
from ringback.store.bulk import among, update_rows
from ringback.store.outbox import HELD_BACK
from ringback.store.schema import call
from ringback.store.schema_reports import report, report_endpoint

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ringback.store.database import Tx


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """A report that may be sent now. ``body`` ``None``: it is made from the row of its subject."""

    id: int
    event: Event
    subject_id: int
    flow_key: int
    body: str | None
    attempts: int
    created_at: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a try. ``due_at``: when to try again, epoch ms; ``None`` when it is delivered, or dead."""

    report_id: int
    delivered: bool = False
    due_at: int | None = None
    status: int | None = None
    error: str = ""


_OF_TASKS = (Event.TASK_FINISHED, Event.TASK_CANCELLED, Event.TASK_FAILED)


async def claim(tx: Tx, courier: str, now_ms: int, leased_until: int) -> list[int]:
    """Renew the lease on the receivers that this courier serves, and take those that nobody serves and that
    something is due for. Returns the ids of all it serves now.
    """
    free = or_(report_endpoint.c.courier.is_(None), report_endpoint.c.leased_until < now_ms)
    waits = exists().where(
        report.c.endpoint_id == report_endpoint.c.id, report.c.state == "pending", report.c.due_at <= now_ms
    )
    held = await tx.execute(
        update(report_endpoint)
        .where(
            report_endpoint.c.disabled_at.is_(None),
            or_(report_endpoint.c.courier == courier, and_(free, waits)),
        )
        .values(courier=courier, leased_until=leased_until)
        .returning(report_endpoint.c.id)
    )
    return sorted(row.id for row in held)


async def waiting(tx: Tx, courier: str, now_ms: int) -> dict[int, bool]:
    """The receivers that something is due for: those of this courier, and (false) those that nobody serves."""
    waits = exists().where(
        report.c.endpoint_id == report_endpoint.c.id, report.c.state == "pending", report.c.due_at <= now_ms
    )
    free = or_(report_endpoint.c.courier.is_(None), report_endpoint.c.leased_until < now_ms)
    rows = await tx.execute(
        select(report_endpoint.c.id, report_endpoint.c.courier).where(
            report_endpoint.c.disabled_at.is_(None), or_(report_endpoint.c.courier == courier, free), waits
        )
    )
    return {row.id: row.courier == courier for row in rows}


async def release(tx: Tx, courier: str) -> None:
    """The courier ends: others may serve its receivers at once."""
    await tx.execute(
        update(report_endpoint).where(report_endpoint.c.courier == courier).values(courier=None, leased_until=0)
    )


async def due(tx: Tx, endpoint_id: int, now_ms: int, limit: int, *, in_flight: Collection[int] = ()) -> list[Due]:
    """What may be sent to a receiver now, in order: all that is due and has nothing before it to wait for."""
    before = report.alias("earlier")
    earlier = and_(
        before.c.endpoint_id == report.c.endpoint_id,
        before.c.flow_key == report.c.flow_key,
        before.c.id < report.c.id,
        before.c.state == "pending",
        before.c.due_at < HELD_BACK,
    )
    waits = case(
        (report.c.barrier, exists(select(before.c.id).where(earlier))),
        # As the index of barriers is written; SQLite knows it by nothing else.
        else_=exists(select(before.c.id).where(earlier, text("earlier.barrier"))),
    )
    query = (
        select(
            report.c.id,
            report.c.event,
            report.c.subject_id,
            report.c.flow_key,
            report.c.body,
            report.c.attempts,
            report.c.created_at,
        )
        .where(report.c.endpoint_id == endpoint_id, report.c.state == "pending", report.c.due_at <= now_ms, ~waits)
        .order_by(report.c.due_at, report.c.id)
        .limit(limit)
    )
    if in_flight:
        query = query.where(~among(report.c.id, in_flight))
    return [
        Due(
            id=row.id,
            event=Event(row.event),
            subject_id=row.subject_id,
            flow_key=row.flow_key,
            body=row.body,
            attempts=row.attempts,
            created_at=row.created_at,
        )
        for row in await tx.execute(query)
    ]


async def mark(tx: Tx, courier: str, outcomes: Mapping[int, Sequence[Outcome]], now_ms: int) -> set[int]:
    """Note what came of tries, by receiver. Returns the receivers that this courier still holds.

    For the others nothing was noted: whoever holds them now sends those reports again.
    """
    own = (among(report_endpoint.c.id, sorted(outcomes)), report_endpoint.c.courier == courier)
    held = set(
        await tx.scalars(
            select(report_endpoint.c.id).where(*own).order_by(report_endpoint.c.id).with_for_update(key_share=True)
        )
    )
    told = [one for endpoint_id in sorted(held) for one in outcomes[endpoint_id]]
    pending = select(report.c.id, report.c.attempts).where(
        among(report.c.id, [one.report_id for one in told]), report.c.state == "pending"
    )
    tried = {row.id: row.attempts for row in await tx.execute(pending)}
    known = [one for one in told if one.report_id in tried]
    await update_rows(tx, report, [_values(one, tried[one.report_id], now_ms) for one in known])
    return held


async def replay(
    tx: Tx,
    now_ms: int,
    *,
    report_ids: Collection[int] | None = None,
    endpoint_id: int | None = None,
    task_id: int | None = None,
    dead_only: bool = False,
    account_id: int | None = None,
) -> int:
    """Send again, under the same ids, what was delivered or given up. Returns how many.

    ``task_id``: of the task itself, and of its calls. ``account_id``: only to receivers of that account.
    """
    wanted = [report.c.state == "dead" if dead_only else report.c.state != "pending"]
    if report_ids is not None:
        wanted.append(among(report.c.id, report_ids))
    if endpoint_id is not None:
        wanted.append(report.c.endpoint_id == endpoint_id)
    if account_id is not None:
        own = select(report_endpoint.c.id).where(report_endpoint.c.account_id == account_id)
        wanted.append(report.c.endpoint_id.in_(own))
    if task_id is not None:
        its_calls = select(call.c.id).where(call.c.task_id == task_id)
        wanted.append(
            or_(
                and_(report.c.event.in_(_OF_TASKS), report.c.subject_id == task_id),
                and_(report.c.event == Event.CALL_ENDED, report.c.subject_id.in_(its_calls)),
            )
        )
    done = await tx.execute(
        update(report)
        .where(*wanted)
        # As old as it is, it would be given up with the first failure.
        .values(state="pending", attempts=0, created_at=now_ms, due_at=now_ms, ended_at=None, last_error="")
    )
    return done.rowcount


async def bring_forward(tx: Tx, courier: str, endpoint_id: int, now_ms: int) -> None:
    """The receiver is back: what failed while it was away is due now. Only while the courier holds it."""
    own = (report_endpoint.c.id == endpoint_id, report_endpoint.c.courier == courier)
    await tx.execute(
        update(report)
        .where(
            report.c.endpoint_id == endpoint_id,
            report.c.state == "pending",
            report.c.attempts > 0,
            report.c.due_at > now_ms,
            report.c.due_at < HELD_BACK,
            exists().where(*own),
        )
        .values(due_at=now_ms)
    )


async def forget_delivered(tx: Tx, before_ms: int, after_id: int, limit: int) -> int:
    """Take away delivered reports that ended before, out of the next so many behind an id.

    Returns the id to go on behind; 0 when everything that is old enough has been looked at.
    """
    rows = (
        await tx.execute(
            select(report.c.id, report.c.state, report.c.created_at, report.c.ended_at)
            .where(report.c.id > after_id)
            .order_by(report.c.id)
            .limit(limit)
        )
    ).all()
    old = [row.id for row in rows if row.state == "delivered" and row.ended_at < before_ms]
    if old:
        await tx.execute(delete(report).where(among(report.c.id, old)))
    # Ids grow with time, but for what was sent again by hand.
    more = len(rows) == limit and any(row.created_at < before_ms for row in rows)
    return int(rows[-1].id) if more else 0


def _values(one: Outcome, attempts: int, now_ms: int) -> dict[str, object]:
    over = one.delivered or one.due_at is None
    return {
        "id": one.report_id,
        "state": "delivered" if one.delivered else "dead" if over else "pending",
        "attempts": attempts + 1,
        "due_at": now_ms if one.due_at is None else one.due_at,
        "ended_at": now_ms if over else None,
        "last_status": one.status,
        "last_error": one.error[:500],
    }
