"""Calls whose number is dialled only when a phone of ours has been picked up: while it rings they are held, and on a
line, but no INVITE has left. Then they leave at a slot of its own, or are skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import case, func, select, update

from ringback.model.pacing import spacing_us, take_slots
from ringback.model.states import CallState, TaskState
from ringback.store import breakers, calls, lanes, provenance, tasks, workers
from ringback.store.bulk import among
from ringback.store.leases import SHARED_GRACE_US, SHARED_RATE
from ringback.store.schema import call, task, trunk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringback.store.database import Tx
    from ringback.store.leases import Lease


class NotNow(Exception):
    """The number must not be dialled any more; the text says why."""


class NoSlotYet(NotNow):
    """The trunk has no free slot within reach; it may have one in a moment."""


async def take_slot(
    tx: Tx, worker_id: int, lease: Lease, *, now_us: int, grace_us: int, reach_us: int
) -> tuple[int, int]:
    """When a call that the worker holds may leave: its slot (epoch microseconds), and how much later than that.

    All that a lease looks at and that may have changed since is looked at again: a pause or cancel that has returned
    holds, and waits for this slot from now on. ``reach_us``: how far ahead any lease takes slots. Nothing is taken
    beyond, or the next lease would take that for a clock that was set back.

    Raises:
        NoSlotYet: every slot within reach is taken.
        NotNow: it must not leave.
        Fenced: others took this worker for dead.
    """
    own = await workers.lock_own(tx, worker_id)
    share = SHARED_RATE if own.has_company else 1.0
    grace_us = min(grace_us, SHARED_GRACE_US) if own.has_company else grace_us
    held = (call.c.worker_id == worker_id, call.c.lease_no == lease.lease_no, call.c.state == CallState.DIALLING)
    locked = select(call.c.id).where(call.c.id == lease.call_id, *held).with_for_update(of=call, key_share=True)
    if await tx.scalar(locked) is None:
        raise NotNow("the call is not held any more")
    query = select(trunk.c.name, trunk.c.calls_per_second, trunk.c.next_slot_us).where(trunk.c.id == lease.trunk_id)
    line = (await tx.execute(query.with_for_update(of=trunk, key_share=True))).one()
    if (await breakers.locked(tx, [lease.trunk_id]))[lease.trunk_id].opened_at is not None and not lease.probe:
        raise NotNow(f"trunk {line.name} is shut")
    state = await tx.scalar(
        select(task.c.state).where(task.c.id == lease.task_id).with_for_update(of=task, key_share=True)
    )
    if state != TaskState.CALLING:
        raise NotNow(f"its task is {state}")
    why_held = await provenance.why_held(tx)
    if why_held:
        raise NotNow(why_held)
    rate = line.calls_per_second * share
    # Its first slot was not used: when no other was given out since, the trunk owes it that one.
    unused = line.next_slot_us - spacing_us(rate) == lease.slot_us
    slots, next_slot_us = take_slots(
        now_us=now_us,
        next_slot_us=lease.slot_us if unused else line.next_slot_us,
        rate=rate,
        horizon_us=reach_us,
        limit=1,
    )
    if not slots:
        raise NoSlotYet(f"trunk {line.name} has no free slot")
    await tx.execute(update(trunk).where(trunk.c.id == lease.trunk_id).values(next_slot_us=next_slot_us))
    leaves_until = (slots[0] + grace_us) // 1000 + 1
    later = task.c.leaves_until.between(leaves_until, leaves_until + (reach_us + grace_us) // 1000)
    await tx.execute(
        update(task)
        .where(task.c.id == lease.task_id)
        .values(leaves_until=case((later, task.c.leaves_until), else_=leaves_until))
    )
    return slots[0], grace_us


async def skipped(
    tx: Tx, worker_id: int, skips: Sequence[tuple[int, int, str]], now_ms: int, *, minute_seconds: float
) -> list[int]:
    """Skip calls (id, lease number, reason) that the worker holds and whose INVITE has not left; cancelled ones are
    cancelled. Returns the ids of the tasks that finished. ``minute_seconds`` is the length of a recall minute.
    """
    back = set(await calls.released(tx, worker_id, [(call_id, lease_no) for call_id, lease_no, _ in skips]))
    for call_id, _, reason in skips:
        if call_id in back:
            await tx.execute(
                update(call)
                .where(call.c.id == call_id, call.c.state == CallState.QUEUED)
                .values(state=CallState.SKIPPED, reason=reason)
            )
    gone = select(call.c.task_id, func.count().label("count")).where(among(call.c.id, back)).group_by(call.c.task_id)
    rows = (await tx.execute(gone)).all() if back else []
    for row in rows:
        await lanes.recount(tx, row.task_id)
        changed = update(task).where(task.c.id == row.task_id)
        await tx.execute(changed.values(queued=task.c.queued - row.count, skipped=task.c.skipped + row.count))
    all_of = select(call.c.task_id).where(among(call.c.id, [call_id for call_id, _, _ in skips])).distinct()
    return await tasks.finish_done(tx, sorted(await tx.scalars(all_of)), now_ms, minute_seconds=minute_seconds)


async def only_call(tx: Tx, task_id: int) -> int:
    """The id of the call of a task with one number."""
    return int((await tx.execute(select(call.c.id).where(call.c.task_id == task_id))).scalar_one())
