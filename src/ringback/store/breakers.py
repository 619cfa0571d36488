"""The circuit breaker of each trunk: changed with results and leases, in their transaction, or closed by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import insert, select, update

from ringback.model.breaker import (
    Breaker,
    Verdict,
    after_call,
    closed,
    probe_alive,
    probe_released,
    probing,
    without_strikes,
)
from ringback.store.bulk import among
from ringback.store.schema_breaker import breaker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy import Select

    from ringback.store.database import Tx


class Judged(msgspec.Struct, frozen=True):
    """An ended call as evidence. ``trunk_rang``: another call rang, or more, since the trunk's last evidence."""

    trunk_id: int
    call_id: int
    verdict: Verdict
    sip_code: int | None
    trunk_rang: bool


async def create(tx: Tx, trunk_id: int) -> None:
    """The closed breaker of a new trunk."""
    await tx.execute(insert(breaker).values(trunk_id=trunk_id))


async def of_trunks(tx: Tx, trunk_ids: Iterable[int]) -> dict[int, Breaker]:
    """The breakers of these trunks, by trunk id."""
    return await _found(tx, select(breaker), trunk_ids)


async def locked(tx: Tx, trunk_ids: Iterable[int]) -> dict[int, Breaker]:
    """The same, locked until the end of the transaction."""
    return await _found(tx, select(breaker).with_for_update(), trunk_ids)


async def _found(tx: Tx, query: Select[Any], trunk_ids: Iterable[int]) -> dict[int, Breaker]:
    rows = await tx.execute(query.where(among(breaker.c.trunk_id, list(trunk_ids))).order_by(breaker.c.trunk_id))
    return {row.trunk_id: msgspec.convert(row, Breaker, from_attributes=True) for row in rows}


async def judged(tx: Tx, evidence: Sequence[Judged], now_ms: int) -> None:
    """Calls have ended, in this order."""
    before = await locked(tx, {one.trunk_id for one in evidence})
    after = dict(before)
    for one in evidence:
        value = after[one.trunk_id]
        if one.trunk_rang:
            value = without_strikes(value)
        after[one.trunk_id] = after_call(value, one.call_id, one.verdict, one.sip_code, now_ms)
    for trunk_id, value in after.items():
        if value != before[trunk_id]:
            await _save(tx, trunk_id, value)


async def probe_leased(tx: Tx, trunk_id: int, call_id: int, slot_ms: int) -> None:
    """The call has been leased to try an open trunk; it leaves at ``slot_ms``."""
    await _change(tx, trunk_id, lambda value: probing(value, call_id, slot_ms))


async def call_rings(tx: Tx, trunk_id: int, call_id: int, now_ms: int) -> None:
    """The call rings, or more: when it is the probe of the trunk, the trunk is back."""
    await _change(tx, trunk_id, lambda value: probe_alive(value, call_id, now_ms))


async def calls_released(tx: Tx, calls: Iterable[tuple[int, int]]) -> None:
    """Calls (trunk id, call id) were not placed: where one was the probe of its trunk, the next may follow at once."""
    held = list(calls)
    for trunk_id, before in (await locked(tx, {trunk_id for trunk_id, _ in held})).items():
        after = before
        for of_trunk, call_id in held:
            if of_trunk == trunk_id:
                after = probe_released(after, call_id)
        if after != before:
            await _save(tx, trunk_id, after)


async def close(tx: Tx, trunk_id: int, now_ms: int) -> None:
    """Close it by hand: nothing is held against the trunk any more."""
    await _change(tx, trunk_id, lambda value: closed(value, now_ms))


async def _change(tx: Tx, trunk_id: int, change: Callable[[Breaker], Breaker]) -> None:
    before = (await locked(tx, [trunk_id]))[trunk_id]
    after = change(before)
    if after != before:
        await _save(tx, trunk_id, after)


async def _save(tx: Tx, trunk_id: int, value: Breaker) -> None:
    await tx.execute(update(breaker).where(breaker.c.trunk_id == trunk_id).values(**msgspec.structs.asdict(value)))
