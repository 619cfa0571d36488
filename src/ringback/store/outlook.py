"""What a lease plan is made of: trunks, tasks that are calling, accounts, as rows read, and locked, in its transaction.

The same without locks tells why tasks wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import func, select

from ringback.model.dispatch import Plan, plan_lease
from ringback.model.engine_node import STALE_MS
from ringback.model.queue_views import AccountView, LaneView, TaskView
from ringback.model.states import TaskState
from ringback.model.supply import TrunkView
from ringback.model.task import Limits
from ringback.store import breakers, candidates, engine_nodes, provenance, workers
from ringback.store.schema import account, application, task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringback.model.breaker import Breaker
    from ringback.store.database import Tx


class Runnable(msgspec.Struct, frozen=True):
    """A task that is calling and has numbers left."""

    id: int
    template_id: int
    caller_id: str
    limits: Limits
    active: int
    served_us: int
    account_id: int
    account_lines: int | None
    account_served_us: int
    account_balance_micros: int | None
    app_caller_id: str
    lanes: tuple[LaneView, ...]


def task_view(one: Runnable) -> TaskView:
    """What the plan needs of it."""
    return TaskView(
        id=one.id,
        lines=one.limits.lines,
        active=one.active,
        windows=one.limits.windows,
        calendar=one.limits.calendar,
        lanes=one.lanes,
        served_us=one.served_us,
        account_id=one.account_id,
    )


_RUNNABLE = (
    select(
        task.c.id,
        task.c.account_id,
        task.c.template_id,
        task.c.caller_id,
        task.c.limits,
        task.c.active,
        task.c.served_us,
        application.c.trunk_id,
        application.c.caller_id.label("app_caller_id"),
        account.c.lines.label("account_lines"),
        account.c.served_us.label("account_served_us"),
        account.c.balance_micros.label("account_balance_micros"),
    )
    .join(application, application.c.id == task.c.application_id)
    .join(account, account.c.id == task.c.account_id)
    .where(task.c.state == TaskState.CALLING, task.c.queued > 0)
    .order_by(task.c.served_us, task.c.id)
)
# A task that is being paused, cancelled or submitted right now is left out; who does that announces it.
_RUNNABLE_LOCKED = _RUNNABLE.with_for_update(of=task, key_share=True, skip_locked=True)


async def runnable_tasks(tx: Tx, trunks: Sequence[Any], *, lock: bool = True) -> list[Runnable]:
    """The tasks that are calling and have numbers left, locked unless told otherwise."""
    rows = (await tx.execute(_RUNNABLE_LOCKED if lock else _RUNNABLE)).all()
    lanes = await candidates.lanes_of(
        tx, trunks, [candidates.Asking(row.id, row.account_id, row.trunk_id, row.caller_id) for row in rows]
    )
    return [
        Runnable(
            id=row.id,
            template_id=row.template_id,
            caller_id=row.caller_id,
            limits=msgspec.json.decode(row.limits, type=Limits),
            active=row.active,
            served_us=row.served_us,
            account_id=row.account_id,
            account_lines=row.account_lines,
            account_served_us=row.account_served_us,
            account_balance_micros=row.account_balance_micros,
            app_caller_id=row.app_caller_id,
            lanes=lanes.get(row.id, ()),
        )
        for row in rows
    ]


async def account_views(tx: Tx, runnable: list[Runnable], *, lock: bool = True) -> list[AccountView]:
    """What the plan needs of the accounts. One with a limit or a balance is locked, for other engines may carry its
    calls too, and their results may have used up its balance since it was read.
    """
    limited = sorted({one.account_id for one in runnable if one.account_lines is not None})
    balances = {one.account_id: one.account_balance_micros for one in runnable}
    guarded = sorted({*limited, *(key for key, balance in balances.items() if balance is not None)})
    if lock and guarded:
        own = select(account.c.id, account.c.balance_micros).where(account.c.id.in_(guarded)).order_by(account.c.id)
        for row in await tx.execute(own.with_for_update(key_share=True)):
            balances[row.id] = row.balance_micros
    active: dict[int, int] = {}
    if limited:
        rows = await tx.execute(
            select(task.c.account_id, func.sum(task.c.active).label("active"))
            .where(task.c.account_id.in_(limited), task.c.active > 0)
            .group_by(task.c.account_id)
        )
        active = {row.account_id: row.active for row in rows}
    found = {
        one.account_id: AccountView(
            id=one.account_id,
            lines=one.account_lines,
            active=active.get(one.account_id, 0),
            served_us=one.account_served_us,
            stopped=why_stopped(balances[one.account_id]),
        )
        for one in runnable
    }
    return list(found.values())


def why_stopped(balance_micros: int | None) -> str:
    """Why an account with that balance (``None``: it has none, and pays nothing) may start no call; empty: it may."""
    return "the account's balance is used up" if balance_micros is not None and balance_micros <= 0 else ""


def trunk_view(row: Any, breaker: Breaker, headroom: int | None = None, *, share: float = 1.0) -> TrunkView:
    """What the plan needs of a trunk of :func:`candidates.trunks_of`; ``share``: how much of its rate may be used."""
    return TrunkView(
        id=row.id,
        name=row.name,
        rate=row.calls_per_second * share,
        channels=row.channels,
        busy=row.busy,
        next_slot_us=row.next_slot_us,
        breaker=breaker,
        headroom=headroom,
    )


async def waiting_reasons(tx: Tx, *, engine: str, now_us: int) -> dict[int, str]:
    """Why tasks that are calling get no line at this moment, by task id; those that could get one are not in it."""
    return (await plan_ahead(tx, engine=engine, now_us=now_us)).waiting


async def stuck_lanes(tx: Tx, task_id: int, *, engine: str, now_us: int) -> dict[tuple[str, str], str]:
    """Why numbers of a task that is calling have no trunk as things are, by their zone and route prefix."""
    return stuck_of(await plan_ahead(tx, engine=engine, now_us=now_us), task_id)


def stuck_of(plan: Plan, task_id: int) -> dict[tuple[str, str], str]:
    """The same out of a plan."""
    return {(zone, prefix): reason for (of, zone, prefix), reason in plan.stuck.items() if of == task_id}


async def plan_ahead(tx: Tx, *, engine: str, now_us: int) -> Plan:
    """What a lease would give out at this moment; nothing is locked or changed."""
    # A whole second ahead, so that a trunk that is merely between two slots is not called a reason.
    trunks = await candidates.trunks_of(tx, engine, lock=False)
    shut = await breakers.of_trunks(tx, [row.id for row in trunks])
    runnable = await runnable_tasks(tx, trunks, lock=False)
    return plan_lease(
        now_us=now_us,
        horizon_us=1_000_000,
        grace_us=0,
        free_lines=1_000_000,
        trunks=[trunk_view(row, shut[row.id]) for row in trunks],
        tasks=[task_view(one) for one in runnable],
        accounts=await account_views(tx, runnable, lock=False),
        engine_trouble=await provenance.why_held(tx) or await _why_none(tx, engine, now_us // 1000),
    )


async def _why_none(tx: Tx, engine: str, now_ms: int) -> str:
    """Why the engine takes no call, as far as its workers tell."""
    if not await workers.seen_lately(tx, engine, now_ms - STALE_MS):
        return "no dialler runs"
    return await engine_nodes.why_none(tx, engine, now_ms)
