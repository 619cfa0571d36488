"""Leasing: the one transaction in which calls leave the queue, under every limit at once.

The plan is made by :mod:`ringback.model.dispatch` from rows read (and, where the database can, locked) in this
transaction; the same transaction marks the calls as *dialling*, held by the worker. Only after it has committed may
an INVITE leave. That order, with ``UNIQUE (task_id, callee)``, is the promise "at most once".
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import case, select, update

from ringback.model.dispatch import plan_lease
from ringback.model.states import CallState
from ringback.model.task import Limits
from ringback.store import breakers, calls, candidates, outlook, provenance, queue, tasks, workers
from ringback.store.bulk import among
from ringback.store.schema import account, call, task, trunk

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringback.model.dispatch import Plan
    from ringback.store.database import Tx
    from ringback.store.outlook import Runnable
    from ringback.store.queue import Picked


#: Each worker keeps its own calls within a trunk's rate. Where several share a trunk, one may be late while another is
#: on time: so lateness is cut, and slots are wider by so much. With calls at most d late, slots 1/(r (1 - d)) apart
#: leave at most r (1 - d) (1 + d) + 1 in a second, which is less than r + 1.
SHARED_GRACE_US = 50_000
SHARED_RATE = 0.95


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A call that this worker holds and must place at ``slot_us`` (epoch microseconds), or give back.

    ``lease_no`` names the lease that it left the queue with: what comes of the call belongs to that one.
    ``dialled`` is the callee as its trunk wants it; ``caller_id`` is what it shows, '' for none.
    ``probe``: it tries a trunk whose breaker is open, and its first ringing is to be reported at once.
    """

    call_id: int
    lease_no: int
    task_id: int
    trunk_id: int
    callee: str
    dialled: str
    caller_id: str
    texts: str | None
    template_id: int
    limits: Limits
    slot_us: int
    probe: bool = False


class Route(msgspec.Struct, frozen=True):
    """Where a trunk's calls go and how fast, as it was in the lease transaction."""

    name: str
    calls_per_second: float
    host: str
    port: int
    username: str
    password: str

    def __repr__(self) -> str:
        return f"Route(name={self.name!r})"


class LeaseBatch(msgspec.Struct, frozen=True):
    """What one lease transaction gave out; ``wake_us`` is when time alone can bring more (``None``: it cannot).

    ``closed_at``: when each trunk's breaker was last closed, epoch ms. ``number``: of the lease; 0 without calls.
    ``grace_us``: how much later than its slot a call may leave.
    """

    leases: list[Lease]
    routes: dict[int, Route]
    waiting: dict[int, str]
    wake_us: int | None
    closed_at: dict[int, int] = {}
    number: int = 0
    grace_us: int = 0


async def lease(
    tx: Tx,
    *,
    worker_id: int,
    lease_no: int,
    engine: str,
    now_us: int,
    horizon_us: int,
    grace_us: int,
    reach_us: int | None = None,
    free_lines: int,
    engine_trouble: str = "",
    headroom: Callable[[int], int] | None = None,
    minute_seconds: float = 60.0,
) -> LeaseBatch:
    """Lease the calls that may start within ``horizon_us`` from now.

    ``lease_no`` is larger than in every lease of this worker before, and names this one: see :func:`undo`.
    A leased call may leave until its slot plus ``grace_us``; a pause or cancel waits for that instant. ``reach_us``:
    how far ahead of ``now_us`` a lease of any worker ends at most, the same for all; ``horizon_us`` unless given.
    ``engine_trouble``: why the engine takes no call, when that is more than busy lines; then none is leased.
    ``headroom`` tells how many more calls of a trunk may leave before one gets a response. A number that must not or
    cannot be dialled is skipped here at the latest; a task may finish with it, and ``minute_seconds`` is the length of
    a recall minute then.

    Raises:
        Fenced: others took this worker for dead.
        DatabaseHeld: nothing is leased; see :mod:`ringback.store.provenance`.
    """
    reach_us = horizon_us if reach_us is None else reach_us
    own = await workers.lock_own(tx, worker_id)
    assert lease_no > own.lease_no, "a lease is named once"
    share = 1.0
    if own.has_company:
        share, grace_us = SHARED_RATE, min(grace_us, SHARED_GRACE_US)
    trunks = await candidates.trunks_of(tx, engine)
    runnable = await outlook.runnable_tasks(tx, trunks)
    if not runnable:
        return LeaseBatch([], {}, {}, None)
    shut = await breakers.locked(tx, [row.id for row in trunks])
    routes = {row.id: msgspec.convert(row, Route, from_attributes=True) for row in trunks}
    plan = plan_lease(
        now_us=now_us,
        horizon_us=horizon_us,
        grace_us=grace_us,
        reach_us=reach_us,
        free_lines=free_lines,
        trunks=[outlook.trunk_view(row, shut[row.id], headroom and headroom(row.id), share=share) for row in trunks],
        tasks=[outlook.task_view(one) for one in runnable],
        accounts=await outlook.account_views(tx, runnable),
        engine_trouble=engine_trouble,
    )
    by_task = {one.id: one for one in runnable}
    calling = {one.id: queue.Calling(one.account_id, one.caller_id, one.app_caller_id) for one in runnable}
    picked, skipped = await queue.pick(tx, plan.grants, calling, trunks)
    leases = [
        _leased(one, by_task[one.task_id], lease_no=lease_no, probe=one.trunk_id in plan.probes) for one in picked
    ]
    if leases:
        await workers.leased(tx, worker_id, lease_no)
        await _mark(tx, leases, worker_id=worker_id, now_us=now_us, longest_us=reach_us + grace_us, grace_us=grace_us)
    await _use_trunks(tx, leases, plan)
    await _serve_accounts(tx, leases, by_task)
    for one in leases:
        if one.probe:
            await breakers.probe_leased(tx, one.trunk_id, one.call_id, one.slot_us // 1000)
    await tasks.finish_done(tx, await queue.skip(tx, skipped), now_us // 1000, minute_seconds=minute_seconds)
    closed_at = {trunk_id: value.closed_at for trunk_id, value in shut.items()}
    number = await provenance.count_lease(tx) if leases else 0
    return LeaseBatch(leases, routes, plan.waiting, plan.wake_us, closed_at, number, grace_us)


async def undo(tx: Tx, worker_id: int, lease_no: int) -> list[int]:
    """Give back what a lease gave out whose commit was never confirmed; nothing of it has been dialled.

    When its transaction is still under way, this waits for its end. Returns the ids of the calls.
    Raises :class:`~ringback.store.workers.Fenced`.
    """
    if (await workers.lock_own(tx, worker_id)).lease_no != lease_no:
        return []
    ids = list(
        await tx.scalars(
            select(call.c.id).where(
                call.c.worker_id == worker_id, call.c.state == CallState.DIALLING, call.c.lease_no == lease_no
            )
        )
    )
    await calls.released(tx, worker_id, [(call_id, lease_no) for call_id in ids])
    return ids


def _leased(one: Picked, of: Runnable, *, lease_no: int, probe: bool) -> Lease:
    return Lease(
        call_id=one.call_id,
        lease_no=lease_no,
        task_id=one.task_id,
        trunk_id=one.trunk_id,
        callee=one.callee,
        dialled=one.dialled,
        caller_id=one.caller_id,
        texts=one.texts,
        template_id=of.template_id,
        limits=of.limits,
        slot_us=one.slot_us,
        probe=probe,
    )


async def _mark(tx: Tx, leases: list[Lease], *, worker_id: int, now_us: int, longest_us: int, grace_us: int) -> None:
    """The calls are held by the worker, and the counters say so. No call leaves later than ``longest_us`` from now."""
    now_ms = now_us // 1000
    longest_ms = (now_us + longest_us) // 1000 + 1
    by_trunk: dict[int, list[int]] = {}
    by_task: dict[int, list[Lease]] = {}
    for one in leases:
        by_trunk.setdefault(one.trunk_id, []).append(one.call_id)
        by_task.setdefault(one.task_id, []).append(one)
    for trunk_id, ids in by_trunk.items():
        marked = await tx.execute(
            update(call)
            .where(among(call.c.id, ids), call.c.state == CallState.QUEUED)
            .values(
                state=CallState.DIALLING,
                worker_id=worker_id,
                trunk_id=trunk_id,
                lease_no=leases[0].lease_no,
                started_at=now_ms,
            )
        )
        assert marked.rowcount == len(ids), "a number left the queue while its task was locked"
    for task_id, held in by_task.items():
        served_us = max(one.slot_us for one in held)
        leaves_until = (served_us + grace_us) // 1000 + 1
        # An instant that no lease of today can reach was written before the clock was set back.
        earlier = task.c.leaves_until.between(leaves_until, longest_ms)
        await tx.execute(
            update(task)
            .where(task.c.id == task_id)
            .values(
                queued=task.c.queued - len(held),
                active=task.c.active + len(held),
                served_us=served_us,
                leaves_until=case((earlier, task.c.leaves_until), else_=leaves_until),
            )
        )


async def _use_trunks(tx: Tx, leases: list[Lease], plan: Plan) -> None:
    """The lines that the calls take, and when the next call of each trunk may leave."""
    lines = Counter(one.trunk_id for one in leases)
    for trunk_id in sorted(lines.keys() | plan.next_slot_us.keys()):
        values: dict[str, Any] = {}
        if lines[trunk_id]:
            values["busy"] = trunk.c.busy + lines[trunk_id]
        if trunk_id in plan.next_slot_us:
            values["next_slot_us"] = plan.next_slot_us[trunk_id]
        await tx.execute(update(trunk).where(trunk.c.id == trunk_id).values(**values))


async def _serve_accounts(tx: Tx, leases: list[Lease], by_task: dict[int, Runnable]) -> None:
    served: dict[int, int] = {}
    for one in leases:
        account_id = by_task[one.task_id].account_id
        served[account_id] = max(one.slot_us, served.get(account_id, 0))
    for account_id in sorted(served):
        await tx.execute(update(account).where(account.c.id == account_id).values(served_us=served[account_id]))
