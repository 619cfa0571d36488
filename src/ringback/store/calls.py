"""Calls after their lease: answered, ended, given back, or held by a worker that died."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import bindparam, case, select, update

from ringback.model.breaker import Verdict
from ringback.model.outcome import ANSWERED_OUTCOMES, Outcome
from ringback.model.states import ON_THE_LINE, TASK, CallState
from ringback.store import breakers, tasks
from ringback.store.breakers import Judged
from ringback.store.schema import call, lane, task, trunk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ringback.store.database import Tx


#: SQLite takes 32,766 parameters, as it is usually built; after an outage more results than that may wait.
_IDS_A_STATEMENT = 10_000


class CallResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a call. Times are epoch ms; ``ring_ms`` and ``talk_ms`` are durations.

    ``recording`` is the path of its file inside the folder of recordings.
    ``verdict`` and ``trunk_rang`` are evidence about the trunk: see :class:`~ringback.store.breakers.Judged`.
    """

    call_id: int
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


class Held(msgspec.Struct, frozen=True):
    """A call that a worker holds."""

    call_id: int
    state: CallState
    started_at: int
    answered_at: int | None


async def answered(tx: Tx, worker_id: int, answers: Sequence[tuple[int, int]]) -> None:
    """Calls of this worker were answered: pairs of call id and epoch ms."""
    await tx.execute(
        update(call)
        .where(
            call.c.id == bindparam("answered_id"),
            call.c.worker_id == worker_id,
            call.c.state == CallState.DIALLING,
        )
        .values(state=CallState.IN_PROGRESS, answered_at=bindparam("at")),
        [{"answered_id": call_id, "at": at} for call_id, at in answers],
    )


async def ended(
    tx: Tx, worker_id: int, results: Sequence[CallResult], now_ms: int, *, minute_seconds: float
) -> list[int]:
    """Store results of this worker, in the order in which they happened, with all that they change: counters, the
    breakers of their trunks, and tasks whose last call this was.

    A result of a call that the worker does not hold (any more) changes nothing: the worker was fenced off. Returns the
    ids of the tasks that finished. ``minute_seconds`` is the length of a recall minute.
    """
    by_id = {result.call_id: result for result in results}
    held: list[Any] = []
    for ids in _parts(by_id):
        held += await tx.execute(
            select(call.c.id, call.c.task_id, call.c.trunk_id)
            .where(call.c.id.in_(ids), call.c.worker_id == worker_id, call.c.state.in_(ON_THE_LINE))
            .order_by(call.c.id)
            .with_for_update()
        )
    if not held:
        return []
    await tx.execute(
        update(call)
        .where(call.c.id == bindparam("ended_id"))
        .values(
            state=CallState.ENDED,
            outcome=bindparam("outcome"),
            ended_at=bindparam("ended_at"),
            answered_at=bindparam("answered_at"),
            sip_code=bindparam("sip_code"),
            q850_cause=bindparam("q850_cause"),
            ring_ms=bindparam("ring_ms"),
            talk_ms=bindparam("talk_ms"),
            hung_up_by=bindparam("hung_up_by"),
            keys=bindparam("keys"),
            intent=bindparam("intent"),
            reason=bindparam("reason"),
            recording=bindparam("recording"),
        ),
        [_values(by_id[row.id]) for row in held],
    )
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
    for task_id in sorted({row.task_id for row in held}):
        mine = [by_id[row.id] for row in held if row.task_id == task_id]
        answers = sum(result.outcome in ANSWERED_OUTCOMES for result in mine)
        await tx.execute(
            update(task)
            .where(task.c.id == task_id)
            .values(
                active=task.c.active - len(mine),
                answered=task.c.answered + answers,
                failed=task.c.failed + len(mine) - answers,
                talk_ms=task.c.talk_ms + sum(result.talk_ms or 0 for result in mine),
            )
        )
    return await tasks.finish_done(tx, {row.task_id for row in held}, now_ms, minute_seconds=minute_seconds)


async def released(tx: Tx, worker_id: int, call_ids: Sequence[int]) -> None:
    """Give back calls whose INVITE never left this worker: queued again, or cancelled with their task."""
    rows: list[Any] = []
    for ids in _parts(call_ids):
        rows += await tx.execute(
            select(call.c.id, call.c.task_id, call.c.zone, call.c.trunk_id, task.c.state.label("task_state"))
            .join(task, task.c.id == call.c.task_id)
            .where(call.c.id.in_(ids), call.c.worker_id == worker_id, call.c.state == CallState.DIALLING)
            .order_by(call.c.id)
            .with_for_update(of=call)
        )
    over = [row for row in rows if row.task_state in TASK.final_states()]
    back = [row for row in rows if row.task_state not in TASK.final_states()]
    for ids in _parts([row.id for row in rows]):
        await tx.execute(
            update(call)
            .where(call.c.id.in_(ids))
            .values(state=CallState.QUEUED, worker_id=None, trunk_id=None, started_at=None)
        )
    for ids in _parts([row.id for row in over]):
        await tx.execute(update(call).where(call.c.id.in_(ids)).values(state=CallState.CANCELLED))
    await _free_lines(tx, Counter(row.trunk_id for row in rows))
    await breakers.calls_released(tx, [(row.trunk_id, row.id) for row in rows])
    for task_id, count in Counter(row.task_id for row in over).items():
        await tx.execute(
            update(task)
            .where(task.c.id == task_id)
            .values(active=task.c.active - count, cancelled=task.c.cancelled + count)
        )
    for task_id, count in Counter(row.task_id for row in back).items():
        await tx.execute(
            update(task).where(task.c.id == task_id).values(active=task.c.active - count, queued=task.c.queued + count)
        )
    for (task_id, zone), count in Counter((row.task_id, row.zone) for row in back).items():
        first = min(row.id for row in back if (row.task_id, row.zone) == (task_id, zone))
        # The cursor goes back behind the first of them, or the lease would never see them again.
        await tx.execute(
            update(lane)
            .where(lane.c.task_id == task_id, lane.c.zone == zone)
            .values(
                queued=lane.c.queued + count, cursor=case((lane.c.cursor < first - 1, lane.c.cursor), else_=first - 1)
            )
        )


async def held_by_others(tx: Tx, worker_id: int) -> dict[int, list[Held]]:
    """Calls that other workers hold, by worker: after a crash, those of dead ones."""
    rows = await tx.execute(
        select(call.c.id, call.c.worker_id, call.c.state, call.c.started_at, call.c.answered_at)
        .where(call.c.state.in_(ON_THE_LINE), call.c.worker_id != worker_id)
        .order_by(call.c.id)
    )
    held: dict[int, list[Held]] = {}
    for row in rows:
        held.setdefault(row.worker_id, []).append(Held(row.id, CallState(row.state), row.started_at, row.answered_at))
    return held


def _parts(call_ids: Iterable[int]) -> Iterator[list[int]]:
    """The ids, each once, in lists that fit the parameters of one statement."""
    ids = list(dict.fromkeys(call_ids))
    for start in range(0, len(ids), _IDS_A_STATEMENT):
        yield ids[start : start + _IDS_A_STATEMENT]


async def _free_lines(tx: Tx, lines: Counter[int]) -> None:
    for trunk_id in sorted(lines):
        await tx.execute(update(trunk).where(trunk.c.id == trunk_id).values(busy=trunk.c.busy - lines[trunk_id]))


def _values(result: CallResult) -> dict[str, object]:
    values = msgspec.structs.asdict(result)
    values["ended_id"] = values.pop("call_id")
    del values["verdict"], values["trunk_rang"]
    return values
