"""The caller ids that a trunk owns, used in turn: the least recently used goes next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, func, insert, or_, select, update

from ringback.model.routing import checked_caller_id
from ringback.store.schema_routing import caller_id

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ringback.store.database import Tx


async def of_trunk(tx: Tx, trunk_id: int) -> list[str]:
    """All of a trunk's numbers, the least recently used first."""
    return list(
        await tx.scalars(
            select(caller_id.c.number)
            .where(caller_id.c.trunk_id == trunk_id)
            .order_by(caller_id.c.turn, caller_id.c.number)
        )
    )


async def add(tx: Tx, trunk_id: int, numbers: Collection[str]) -> None:
    """The trunk owns these numbers too; those that it has already stay as they are. Raises ValueError."""
    known = set(await of_trunk(tx, trunk_id))
    new = [checked_caller_id(number) for number in dict.fromkeys(numbers) if number not in known]
    if new:
        await tx.execute(insert(caller_id), [{"trunk_id": trunk_id, "number": number} for number in new])


async def remove(tx: Tx, trunk_id: int, numbers: Collection[str]) -> set[str]:
    """The trunk owns these numbers no more. Returns those that it did not own."""
    missing = set()
    for number in numbers:
        gone = await tx.execute(delete(caller_id).where(caller_id.c.trunk_id == trunk_id, caller_id.c.number == number))
        if gone.rowcount == 0:
            missing.add(number)
    return missing


async def owners(tx: Tx, numbers: Collection[str]) -> set[tuple[int, str]]:
    """Which trunks own which of the numbers."""
    rows = await tx.execute(
        select(caller_id.c.trunk_id, caller_id.c.number).where(caller_id.c.number.in_(sorted(numbers)))
    )
    return {(row.trunk_id, row.number) for row in rows}


async def next_in_turn(tx: Tx, trunk_id: int, count: int, named: Collection[str]) -> list[str]:
    """The next ``count`` numbers of the trunk, and behind them those of ``named`` that it owns."""
    of_it = caller_id.c.trunk_id == trunk_id
    turn = (caller_id.c.turn, caller_id.c.number)
    first = select(caller_id.c.number).where(of_it).order_by(*turn).limit(count)
    rows = await tx.scalars(
        select(caller_id.c.number)
        .where(of_it, or_(caller_id.c.number.in_(first), caller_id.c.number.in_(list(named))))
        .order_by(*turn)
    )
    return list(rows)


async def mark_used(tx: Tx, trunk_id: int, numbers: Sequence[str]) -> None:
    """Calls show these numbers now, each once, the latest last."""
    if not numbers:
        return
    last = int(await tx.scalar(select(func.max(caller_id.c.turn)).where(caller_id.c.trunk_id == trunk_id)) or 0)
    await tx.execute(
        update(caller_id)
        .where(caller_id.c.trunk_id == trunk_id, caller_id.c.number == bindparam("used"))
        .values(turn=bindparam("at")),
        [{"used": number, "at": last + place} for place, number in enumerate(numbers, start=1)],
    )
