"""Calls after their lease: answered, ended, given back, or held by a worker that died.

Every change is fenced by the worker and the lease that the call left the queue with: what comes of an earlier lease of
the same call, or from a worker that others took for dead, changes nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import exists, select, update

from ringback.model.breaker import Verdict
from ringback.model.outcome import ANSWERED_OUTCOMES, Outcome
from ringback.model.states import ON_THE_LINE, TASK, CallState
from ringback.store import breakers, charges, lanes, messages, outbox, redials, routes, tasks
from ringback.store.breakers import Judged
from ringback.store.bulk import among, update_rows
from ringback.store.charges import Charge
from ringback.store.schema import call, task, trunk
from ringback.store.schema_engine import worker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringback.store.database import Tx


class CallResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a call. Times are epoch ms; ``ring_ms`` and ``talk_ms`` are durations.

    ``lease_no``: see :class:`~ringback.store.leases.Lease`. ``recording`` is the path of its file inside the folder of
    recordings. ``verdict`` and ``trunk_rang`` are evidence about the trunk, see
    :class:`~ringback.store.breakers.Judged`.
    """

    call_id: int
    lease_no: int | None
    outcome: Outcome
    ended_at: int
    answered_at: int | None = None
    sip_code: int | None = None
    q850_cause: int | None = None
    ring_ms: int | None = None
    talk_ms: int | None = None
    hung_up_by: str | None = None
    keys: str = ""
    intent: str | None = None
    reason: str = ""
    recording: str | None = None
    verdict: Verdict = Verdict.NEUTRAL
    trunk_rang: bool = False


class Answer(msgspec.Struct, frozen=True):
    """A call was answered ``at`` epoch ms."""

    call_id: int
    lease_no: int
    at: int


class Held(msgspec.Struct, frozen=True):
    """A call that a worker holds."""

    call_id: int
    lease_no: int | None
    state: CallState
    started_at: int
    answered_at: int | None


async def answered(tx: Tx, worker_id: int, answers: Sequence[Answer]) -> None:
    """Calls of this worker were answered."""
    held = await _held(tx, worker_id, {one.call_id: one.lease_no for one in answers}, (CallState.DIALLING,))
    here = {row.id for row in held}
    await update_rows(
        tx,
        call,
        [
            {"id": one.call_id, "state": CallState.IN_PROGRESS, "answered_at": one.at}
            for one in answers
            if one.call_id in here
        ],
    )


async def ended(
    tx: Tx,
    worker_id: int,
    results: Sequence[CallResult],
    now_ms: int,
    *,
    minute_seconds: float,
    by_settler: bool = False,
) -> list[int]:
    """Store results of this worker, in the order in which they happened, with all that they change: counters, the
    breakers of their trunks, and tasks whose last call this was.

    A result of a call that the worker does not hold (any more) changes nothing. ``by_settler``: another worker settles
    what this one left. Returns the ids of the tasks that finished. ``minute_seconds`` is the length of a recall minute.
    """
    by_id = {result.call_id: result for result in results}
    numbers = {one.call_id: one.lease_no for one in results}
    held = await _held(tx, worker_id, numbers, tuple(ON_THE_LINE), by_settler=by_settler)
    if not held:
        return []
    await update_rows(tx, call, [_values(by_id[row.id]) for row in held])
    await _free_lines(tx, Counter(row.trunk_id for row in held))
    trunks = {row.id: row.trunk_id for row in held}
    await breakers.judged(
        tx,
        [
            Judged(trunks[one.call_id], one.call_id, one.verdict, one.sip_code, one.trunk_rang)
            for one in by_id.values()
            if one.call_id in trunks
        ],
        now_ms,
    )
    charged = await charges.charge(tx, held, {row.id: by_id[row.id].talk_ms for row in held})
    done: list[int] = []
    for task_id in sorted({row.task_id for row in held}):
        mine = [by_id[row.id] for row in held if row.task_id == task_id]
        answers = sum(result.outcome in ANSWERED_OUTCOMES for result in mine)
        cost = charged.get(task_id, Charge())
        left = await tx.execute(
            update(task)
            .where(task.c.id == task_id)
            .values(
                active=task.c.active - len(mine),
                answered=task.c.answered + answers,
                failed=task.c.failed + len(mine) - answers,
                talk_ms=task.c.talk_ms + sum(result.talk_ms or 0 for result in mine),
                charged_seconds=task.c.charged_seconds + cost.seconds,
                cost_micros=task.c.cost_micros + cost.cost_micros,
            )
            .returning((task.c.queued + task.c.active).label("left"))
        )
        if left.scalar_one() == 0:
            done.append(task_id)
    await charges.take(tx, charged)
    ids = [row.id for row in held]
    await outbox.calls_ended(tx, ids, now_ms)
    await messages.calls_ended(tx, ids, now_ms)
    await redials.calls_ended(tx, held, by_id, minute_seconds=minute_seconds)
    return await tasks.finish_done(tx, done, now_ms, minute_seconds=minute_seconds)


async def released(tx: Tx, worker_id: int, releases: Sequence[tuple[int, int]]) -> list[int]:
    """Give back calls (id, lease number) whose INVITE never left this worker: queued again, or cancelled with their
    task. They go into the lanes of today's routes. Returns the ids of those that are queued again.
    """
    rows = await _held(tx, worker_id, dict(releases), (CallState.DIALLING,))
    if not rows:
        return []
    await _free_lines(tx, Counter(row.trunk_id for row in rows))
    await breakers.calls_released(tx, [(row.trunk_id, row.id) for row in rows])
    owners = await _lock_tasks(tx, sorted({row.task_id for row in rows}))
    over = [row for row in rows if owners[row.task_id].state in TASK.final_states()]
    back = [row for row in rows if owners[row.task_id].state not in TASK.final_states()]
    await tx.execute(
        update(call)
        .where(among(call.c.id, [row.id for row in rows]))
        .values(state=CallState.QUEUED, worker_id=None, trunk_id=None, lease_no=None, started_at=None)
    )
    if over:
        await tx.execute(
            update(call).where(among(call.c.id, [row.id for row in over])).values(state=CallState.CANCELLED)
        )
    for task_id, count in sorted(Counter(row.task_id for row in over).items()):
        await tx.execute(
            update(task)
            .where(task.c.id == task_id)
            .values(active=task.c.active - count, cancelled=task.c.cancelled + count)
        )
    for task_id, count in sorted(Counter(row.task_id for row in back).items()):
        await tx.execute(
            update(task).where(task.c.id == task_id).values(active=task.c.active - count, queued=task.c.queued + count)
        )
    await _back_to_lanes(tx, back, owners)
    return [row.id for row in back]


async def held_by(tx: Tx, worker_id: int) -> list[Held]:
    """Calls that a worker holds: after its death, those to settle."""
    rows = await tx.execute(
        select(call.c.id, call.c.lease_no, call.c.state, call.c.started_at, call.c.answered_at)
        .where(call.c.state.in_(ON_THE_LINE), call.c.worker_id == worker_id)
        .order_by(call.c.id)
    )
    return [Held(row.id, row.lease_no, CallState(row.state), row.started_at, row.answered_at) for row in rows]


async def _held(
    tx: Tx,
    worker_id: int,
    lease_numbers: dict[int, int | None],
    states: tuple[CallState, ...],
    *,
    by_settler: bool = False,
) -> list[Any]:
    """Those of the calls that the worker still holds by that lease, locked; none once it is fenced off."""
    alive = exists().where(worker.c.id == worker_id, worker.c.fenced_at.is_(None))
    rows = await tx.execute(
        select(call.c.id, call.c.task_id, call.c.trunk_id, call.c.lease_no)
        .where(
            among(call.c.id, list(lease_numbers)),
            call.c.worker_id == worker_id,
            call.c.state.in_(states),
            *([] if by_settler else [alive]),
        )
        .order_by(call.c.id)
        .with_for_update(of=call, key_share=True)
    )
    return [row for row in rows if row.lease_no == lease_numbers[row.id]]


async def _lock_tasks(tx: Tx, task_ids: list[int]) -> dict[int, Any]:
    rows = await tx.execute(
        select(task.c.id, task.c.state, task.c.account_id)
        .where(among(task.c.id, task_ids))
        .order_by(task.c.id)
        .with_for_update(key_share=True)
    )
    return {row.id: row for row in rows}


async def _back_to_lanes(tx: Tx, rows: Sequence[Any], owners: dict[int, Any]) -> None:
    """Routes may have changed since the calls were leased."""
    for account_id in sorted({owners[row.task_id].account_id for row in rows}):
        ids = [row.id for row in rows if owners[row.task_id].account_id == account_id]
        prefix = routes.prefix_column(await routes.prefixes(tx, account_id), account_id)
        await tx.execute(update(call).where(among(call.c.id, ids)).values(route_prefix=prefix))
        found = await tx.execute(
            select(call.c.id, call.c.task_id, call.c.zone, call.c.route_prefix).where(among(call.c.id, ids))
        )
        by_lane: dict[tuple[int, str, str], list[int]] = {}
        for row in found:
            by_lane.setdefault((row.task_id, row.zone, row.route_prefix), []).append(row.id)
        for of_lane in sorted(by_lane):
            await lanes.give_back(tx, *of_lane, by_lane[of_lane])


async def _free_lines(tx: Tx, lines: Counter[int]) -> None:
    for trunk_id in sorted(lines):
        await tx.execute(update(trunk).where(trunk.c.id == trunk_id).values(busy=trunk.c.busy - lines[trunk_id]))


def _values(result: CallResult) -> dict[str, object]:
    values = msgspec.structs.asdict(result)
    values["id"] = values.pop("call_id")
    del values["verdict"], values["trunk_rang"], values["lease_no"]
    return values | {"state": CallState.ENDED}
