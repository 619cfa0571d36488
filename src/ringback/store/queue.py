"""The queue: takes the next numbers of granted lanes, and looks at each once more before it may leave.

The lease plan counts numbers without seeing them. Here each gets what a call needs: the number as its trunk wants it,
and a caller id. One that is denied, or that its trunk cannot dial, is skipped: fail closed.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import select, update

from ringback.model.routing import CallerIds, Denied, denied_reason, rewritten
from ringback.model.states import CallState
from ringback.store import caller_ids, candidates, denials
from ringback.store.schema import call, lane, task

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ringback.model.dispatch import Grant
    from ringback.store.database import Tx


class Calling(msgspec.Struct, frozen=True):
    """Whose numbers: an account, the caller id that its task wants ('' for none) and its application's usual one."""

    account_id: int
    wanted: str
    usual: str


class Picked(msgspec.Struct, frozen=True, kw_only=True):
    """A number that may leave at ``slot_us`` (epoch microseconds) through a trunk, written and shown so."""

    call_id: int
    task_id: int
    trunk_id: int
    callee: str
    dialled: str
    caller_id: str
    texts: str | None
    slot_us: int


class Skipped(msgspec.Struct, frozen=True):
    """A number that left its lane and must not be dialled."""

    call_id: int
    task_id: int
    reason: str


class _Next(msgspec.Struct, frozen=True):
    slot_us: int
    trunk_id: int
    task_id: int
    row: Any


async def pick(
    tx: Tx, grants: list[Grant], by_task: Mapping[int, Calling], trunks: Iterable[Any]
) -> tuple[list[Picked], list[Skipped]]:
    """The numbers of the granted lanes in the order of their slots, and those that must be skipped instead."""
    rules = {row.id: row for row in trunks}
    following = await _next_numbers(tx, grants)
    denied = await denials.of_accounts(tx, {by_task[one.task_id].account_id for one in following})
    pools = await _pools(tx, following, by_task, rules)
    picked: list[Picked] = []
    skipped: list[Skipped] = []
    for one in following:
        of, rule = by_task[one.task_id], rules[one.trunk_id]
        dialled, problem = _written(one.row.callee, rule, denied[of.account_id])
        if problem:
            skipped.append(Skipped(one.row.id, one.task_id, problem))
            continue
        shown = pools[one.trunk_id].choose(of.wanted, of.usual)
        assert shown is not None, "no lane may choose a trunk that refuses its caller id"
        picked.append(
            Picked(
                call_id=one.row.id,
                task_id=one.task_id,
                trunk_id=one.trunk_id,
                callee=one.row.callee,
                dialled=dialled,
                caller_id=shown,
                texts=one.row.texts,
                slot_us=one.slot_us,
            )
        )
    for trunk_id, pool in pools.items():
        await caller_ids.mark_used(tx, trunk_id, pool.used)
    return picked, skipped


async def skip(tx: Tx, numbers: list[Skipped]) -> set[int]:
    """The numbers, already out of their lanes, are skipped. Returns their tasks, which may be done now."""
    for one in numbers:
        await tx.execute(
            update(call)
            .where(call.c.id == one.call_id, call.c.state == CallState.QUEUED)
            .values(state=CallState.SKIPPED, reason=one.reason)
        )
    by_task = Counter(one.task_id for one in numbers)
    for task_id, count in by_task.items():
        await tx.execute(
            update(task)
            .where(task.c.id == task_id)
            .values(queued=task.c.queued - count, skipped=task.c.skipped + count)
        )
    return set(by_task)


async def _next_numbers(tx: Tx, grants: list[Grant]) -> list[_Next]:
    starts: dict[tuple[int, str, str], list[tuple[int, int]]] = {}
    for grant in grants:
        of_lane = starts.setdefault((grant.task_id, grant.zone, grant.prefix), [])
        of_lane.extend((slot_us, grant.trunk_id) for slot_us in grant.slots_us)
    found: list[_Next] = []
    for (task_id, zone, prefix), slots in starts.items():
        slots.sort()
        rows = await _take(tx, task_id, zone, prefix, len(slots))
        found.extend(
            _Next(slot_us, trunk_id, task_id, row) for (slot_us, trunk_id), row in zip(slots, rows, strict=True)
        )
    return sorted(found, key=lambda one: one.slot_us)


async def _take(tx: Tx, task_id: int, zone: str, prefix: str, wanted: int) -> list[Any]:
    """The next calls of a lane: id, callee, texts. Moves the lane's cursor behind them."""
    of_lane = (lane.c.task_id == task_id, lane.c.zone == zone, lane.c.route_prefix == prefix)
    cursor = select(lane.c.cursor).where(*of_lane).scalar_subquery()
    rows = (
        await tx.execute(
            select(call.c.id, call.c.callee, call.c.texts)
            .where(
                call.c.task_id == task_id,
                call.c.zone == zone,
                call.c.route_prefix == prefix,
                call.c.state == CallState.QUEUED,
                call.c.id > cursor,
            )
            .order_by(call.c.id)
            .limit(wanted)
        )
    ).all()
    await tx.execute(update(lane).where(*of_lane).values(cursor=rows[-1].id, queued=lane.c.queued - len(rows)))
    return list(rows)


async def _pools(
    tx: Tx, following: list[_Next], by_task: Mapping[int, Calling], rules: Mapping[int, Any]
) -> dict[int, CallerIds]:
    """The caller ids of the trunks in question: as many as calls may take in turn, and those asked for by name."""
    named = sorted({name for one in following for name in (by_task[one.task_id].wanted, by_task[one.task_id].usual)})
    pools: dict[int, CallerIds] = {}
    for trunk_id, count in sorted(Counter(one.trunk_id for one in following).items()):
        rule = rules[trunk_id]
        numbers = await caller_ids.next_in_turn(tx, trunk_id, count, named) if rule.has_pool else []
        pools[trunk_id] = CallerIds(numbers, any_allowed=candidates.any_caller_id(rule))
    return pools


def _written(callee: str, rule: Any, denied: Denied) -> tuple[str, str]:
    """The number as the trunk wants it; or why it cannot be dialled."""
    try:
        dialled = rewritten(callee, rule.strip, rule.prefix)
    except ValueError as error:
        return "", f"trunk {rule.name} cannot dial it: {error}"
    prefix = denied.by_as_dialled(callee, dialled)
    return dialled, denied_reason(prefix) if prefix else ""
