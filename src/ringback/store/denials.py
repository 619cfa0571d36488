"""Denied prefixes: numbers that are never dialled, whoever asks and whatever route there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import bindparam, delete, exists, func, insert, or_, select, update

from ringback.model.numbers import MAX_DIGITS
from ringback.model.routing import ACCESS_CODES, Denied, checked_denial, denied_reason
from ringback.model.states import CallState, TaskState
from ringback.store import lanes
from ringback.store.schema import account, call, task
from ringback.store.schema_routing import denied

if TYPE_CHECKING:
    from collections.abc import Collection

    from ringback.store.database import Tx

#: One statement looks for so many ranges of denied numbers.
_RANGES_A_STATEMENT = 100


class Denial(msgspec.Struct, frozen=True):
    """A denied prefix; ``account`` is the name of the only account that it holds for, or ``None``."""

    prefix: str
    account: str | None
    note: str


async def everyone(tx: Tx) -> list[Denial]:
    """All denied prefixes, in the order of their digits."""
    rows = await tx.execute(
        select(denied.c.prefix, account.c.name.label("account"), denied.c.note)
        .join(account, account.c.id == denied.c.account_id, isouter=True)
        .order_by(denied.c.prefix, denied.c.id)
    )
    return [msgspec.convert(row, Denial, from_attributes=True) for row in rows]


async def of_account(tx: Tx, account_id: int) -> Denied:
    """What an account must not dial."""
    return (await of_accounts(tx, [account_id]))[account_id]


async def of_accounts(tx: Tx, account_ids: Collection[int]) -> dict[int, Denied]:
    """The same of many accounts."""
    found = await _prefixes_of(tx, account_ids) if account_ids else {}
    return {account_id: Denied(found.get(account_id, ())) for account_id in account_ids}


async def add(tx: Tx, account_id: int | None, prefix: str) -> bool:
    """Deny a prefix to an account, or to all. False when it is denied already.

    Numbers that are queued go with :func:`skip_denied`. Raises ValueError for what is no prefix.
    """
    checked_denial(prefix)
    if await tx.scalar(select(exists().where(_of(account_id), denied.c.prefix == prefix))):
        return False
    await tx.execute(insert(denied).values(account_id=account_id, prefix=prefix))
    return True


async def remove(tx: Tx, account_id: int | None, prefix: str) -> bool:
    """Deny it no more. False when it was not denied. Numbers that have been skipped stay so."""
    gone = await tx.execute(delete(denied).where(_of(account_id), denied.c.prefix == prefix))
    return gone.rowcount > 0


async def tasks_on_the_way(tx: Tx, account_id: int | None) -> list[int]:
    """The tasks, of an account or all, that have been submitted and have numbers queued."""
    of = [] if account_id is None else [task.c.account_id == account_id]
    return list(
        await tx.scalars(
            select(task.c.id)
            .where(task.c.state.in_([TaskState.CALLING, TaskState.SUSPENDED]), task.c.queued > 0, *of)
            .order_by(task.c.id)
        )
    )


async def skip_denied(tx: Tx, task_ids: Collection[int]) -> int:
    """Skip what is queued of tasks and denied to their account. Returns how many numbers that is."""
    rows = await tx.execute(
        select(task.c.id, task.c.account_id).where(task.c.id.in_(task_ids)).order_by(task.c.id).with_for_update()
    )
    accounts: dict[int, list[int]] = {}
    for row in rows:
        accounts.setdefault(row.account_id, []).append(row.id)
    skipped = 0
    for account_id, prefixes in (await _prefixes_of(tx, accounts)).items():
        ranges = _ranges(prefixes)
        for task_id in await _with_denied(tx, accounts[account_id], ranges):
            skipped += await _skip(tx, task_id, ranges)
    return skipped


class _Range(msgspec.Struct, frozen=True):
    """Callees from ``first`` to ``last``, which all begin so."""

    first: str
    last: str
    why: str


def _ranges(prefixes: list[str]) -> list[_Range]:
    # The order of Denied.by: a number has one reason, whoever looks at it.
    begins = [code + prefix for code in ACCESS_CODES for prefix in sorted(prefixes, key=len)]
    # Callees are digits only, so the last one that begins so ends in nines.
    return [_Range(begin, begin.ljust(MAX_DIGITS, "9"), denied_reason(begin)) for begin in begins]


async def _with_denied(tx: Tx, task_ids: list[int], ranges: list[_Range]) -> list[int]:
    """Those of the tasks that have a denied number: hardly ever one, and then one look is all there is to do."""
    found: set[int] = set()
    for start in range(0, len(ranges), _RANGES_A_STATEMENT):
        # Values and not EXISTS, which PostgreSQL may answer by reading every call there is; and whatever the state, or
        # it may read all that are queued.
        has_one = [
            select(call.c.id)
            .where(call.c.task_id == task.c.id, call.c.callee.between(one.first, one.last))
            .limit(1)
            .scalar_subquery()
            .is_not(None)
            for one in ranges[start : start + _RANGES_A_STATEMENT]
        ]
        found |= set(await tx.scalars(select(task.c.id).where(task.c.id.in_(task_ids), or_(*has_one))))
    return sorted(found)


async def _skip(tx: Tx, task_id: int, ranges: list[_Range]) -> int:
    await tx.execute(
        update(call)
        .where(
            call.c.task_id == task_id,
            call.c.state == CallState.QUEUED,
            call.c.callee.between(bindparam("first"), bindparam("last")),
        )
        .values(state=CallState.SKIPPED, reason=bindparam("why")),
        [msgspec.structs.asdict(one) for one in ranges],
    )
    still = select(func.count()).where(call.c.task_id == task_id, call.c.state == CallState.QUEUED)
    left = int(await tx.scalar(still) or 0)
    before = int(await tx.scalar(select(task.c.queued).where(task.c.id == task_id)) or 0)
    await lanes.recount(tx, task_id)
    await tx.execute(
        update(task).where(task.c.id == task_id).values(queued=left, skipped=task.c.skipped + before - left)
    )
    return before - left


async def _prefixes_of(tx: Tx, account_ids: Collection[int]) -> dict[int, list[str]]:
    """The prefixes denied to each of the accounts, without those that have none."""
    rows = await tx.execute(
        select(denied.c.account_id, denied.c.prefix).where(
            or_(denied.c.account_id.is_(None), denied.c.account_id.in_(account_ids))
        )
    )
    by_owner: dict[int | None, set[str]] = {}
    for row in rows:
        by_owner.setdefault(row.account_id, set()).add(row.prefix)
    of = {one: by_owner.get(None, set()) | by_owner.get(one, set()) for one in account_ids}
    return {one: sorted(prefixes) for one, prefixes in of.items() if prefixes}


def _of(account_id: int | None) -> Any:
    return denied.c.account_id.is_(None) if account_id is None else denied.c.account_id == account_id
