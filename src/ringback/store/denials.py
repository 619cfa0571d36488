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
    from ringback.store.database import Tx


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
    return Denied(await _prefixes(tx, account_id))


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


async def skip_denied(tx: Tx, task_id: int) -> int:
    """Skip what is queued of a task and denied to its account. Returns how many numbers that is."""
    account_id = await tx.scalar(select(task.c.account_id).where(task.c.id == task_id))
    assert account_id is not None
    # The order of Denied.by: a number has one reason, whoever looks at it.
    found = sorted(await _prefixes(tx, account_id), key=len)
    ranges = [
        {
            "first": code + prefix,
            # Callees are digits only, so this is the last one that begins so.
            "last": (code + prefix).ljust(MAX_DIGITS, "9"),
            "why": denied_reason(code + prefix),
        }
        for code in ACCESS_CODES
        for prefix in found
    ]
    if not ranges:
        return 0
    await tx.execute(
        update(call)
        .where(
            call.c.task_id == task_id,
            call.c.state == CallState.QUEUED,
            call.c.callee.between(bindparam("first"), bindparam("last")),
        )
        .values(state=CallState.SKIPPED, reason=bindparam("why")),
        ranges,
    )
    still = select(func.count()).where(call.c.task_id == task_id, call.c.state == CallState.QUEUED)
    left = int(await tx.scalar(still) or 0)
    before = int(await tx.scalar(select(task.c.queued).where(task.c.id == task_id)) or 0)
    if left < before:
        await lanes.recount(tx, task_id)
        await tx.execute(
            update(task).where(task.c.id == task_id).values(queued=left, skipped=task.c.skipped + before - left)
        )
    return before - left


async def _prefixes(tx: Tx, account_id: int) -> list[str]:
    return list(
        await tx.scalars(
            select(denied.c.prefix)
            .where(or_(denied.c.account_id.is_(None), denied.c.account_id == account_id))
            .distinct()
        )
    )


def _of(account_id: int | None) -> Any:
    return denied.c.account_id.is_(None) if account_id is None else denied.c.account_id == account_id
