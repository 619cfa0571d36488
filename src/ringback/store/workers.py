"""Workers: who dials, whether he lives, and who settles what a dead one held.

A worker shows that it lives by a number that grows. Who watches sees it stand still, by his own monotonic clock; so the
clocks of two machines are never compared. A worker that was fenced off can lease nothing and store nothing any more:
its row is locked, or looked at, in each transaction that would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import exists, insert, select, update

from ringback.model.states import ON_THE_LINE
from ringback.store.schema import call
from ringback.store.schema_engine import worker

if TYPE_CHECKING:
    from sqlalchemy import Exists

    from ringback.store.database import Tx

#: How long a worker that holds no call may be silent before it counts as gone.
FORGOTTEN_AFTER_MS: Final = 3_600_000


class Fenced(Exception):
    """Others took this worker for dead and settled its calls: it must start again under a new id."""


class OtherWorker(msgspec.Struct, frozen=True):
    """Another worker that has not ended. ``name``: see the schema. ``fenced_by``: the worker that settles its calls."""

    id: int
    engine: str
    name: str
    beats: int
    idle: bool
    fenced_by: int | None


async def register(tx: Tx, *, engine: str, pid: int, now_ms: int, name: str = "") -> int:
    """A new worker's id: never used before, so nothing held by an earlier process can be taken for its own.

    Workers that held nothing when they were last seen, long ago, are forgotten on the way.
    """
    gone = (worker.c.ended_at.is_(None), worker.c.idle, worker.c.seen_at < now_ms - FORGOTTEN_AFTER_MS)
    await tx.execute(update(worker).where(*gone).values(fenced_at=now_ms, ended_at=now_ms))
    values = {"engine": engine, "pid": pid, "name": name, "started_at": now_ms, "seen_at": now_ms}
    inserted = await tx.execute(insert(worker).values(**values).returning(worker.c.id))
    return int(inserted.scalar_one())


async def ended(tx: Tx, worker_id: int, now_ms: int) -> None:
    """It stopped in good order. One that was fenced off, or still holds a call, does not end: others settle that."""
    await tx.execute(
        update(worker)
        .where(worker.c.id == worker_id, worker.c.fenced_at.is_(None), ~_holds(worker_id))
        .values(ended_at=now_ms)
    )


async def settled(tx: Tx, worker_id: int, now_ms: int) -> None:
    """What a fenced worker held has been settled."""
    await tx.execute(update(worker).where(worker.c.id == worker_id).values(ended_at=now_ms))


def _holds(worker_id: int) -> Exists:
    return exists().where(call.c.worker_id == worker_id, call.c.state.in_(ON_THE_LINE))


async def beat(tx: Tx, worker_id: int, now_ms: int, *, idle: bool) -> None:
    """It lives. ``idle``: it holds no call, which is looked up here. Raises :class:`Fenced`."""
    if idle:
        idle = not await tx.scalar(select(_holds(worker_id)))
    beaten = await tx.execute(
        update(worker)
        .where(worker.c.id == worker_id, worker.c.fenced_at.is_(None))
        .values(beats=worker.c.beats + 1, seen_at=now_ms, idle=idle)
    )
    if beaten.rowcount == 0:
        raise Fenced(f"worker {worker_id} was taken for dead")


class Own(msgspec.Struct, frozen=True):
    """A worker's own row: the number of its latest lease, and whether others of its engine hold calls too."""

    lease_no: int
    has_company: bool


async def lock_own(tx: Tx, worker_id: int) -> Own:
    """Lock its row against being fenced off until the end of the transaction. Raises :class:`Fenced`."""
    other = worker.alias("other")
    company = exists().where(
        other.c.engine == worker.c.engine,
        other.c.id != worker.c.id,
        other.c.ended_at.is_(None),
        other.c.fenced_at.is_(None),
        ~other.c.idle,
    )
    found = await tx.execute(
        select(worker.c.lease_no, company.label("has_company"))
        .where(worker.c.id == worker_id, worker.c.fenced_at.is_(None))
        .with_for_update(of=worker)
    )
    row = found.one_or_none()
    if row is None:
        raise Fenced(f"worker {worker_id} was taken for dead")
    return msgspec.convert(row, Own, from_attributes=True)


async def leased(tx: Tx, worker_id: int, lease_no: int) -> None:
    """Its lease of that number gave out calls. A sign of life too."""
    await tx.execute(
        update(worker).where(worker.c.id == worker_id).values(lease_no=lease_no, beats=worker.c.beats + 1, idle=False)
    )


async def others(tx: Tx, worker_id: int) -> list[OtherWorker]:
    """The workers that have not ended, oldest first."""
    rows = await tx.execute(
        select(worker.c.id, worker.c.engine, worker.c.name, worker.c.beats, worker.c.idle, worker.c.fenced_by)
        .where(worker.c.ended_at.is_(None), worker.c.id != worker_id)
        .order_by(worker.c.id)
    )
    return [msgspec.convert(row, OtherWorker, from_attributes=True) for row in rows]


async def fence(tx: Tx, dead: OtherWorker, by: int, now_ms: int) -> bool:
    """Shut a worker out, and take what it held for ``by`` to settle. False when it lives, or another was first.

    It waits for a lease of that worker that is being committed. Whoever settles is watched until he has done so.
    """
    before = worker.c.fenced_by.is_(None) if dead.fenced_by is None else worker.c.fenced_by == dead.fenced_by
    fenced = await tx.execute(
        update(worker)
        .where(worker.c.id == dead.id, worker.c.ended_at.is_(None), worker.c.beats == dead.beats, before)
        .values(fenced_at=now_ms, fenced_by=by)
    )
    if fenced.rowcount == 1:
        await tx.execute(update(worker).where(worker.c.id == by).values(idle=False))
    return fenced.rowcount == 1


async def busy_lately(tx: Tx, since_ms: int) -> bool:
    """Whether a worker of any engine that may hold calls has shown that it lives since then."""
    alive = exists().where(
        worker.c.ended_at.is_(None), worker.c.fenced_at.is_(None), ~worker.c.idle, worker.c.seen_at >= since_ms
    )
    return bool(await tx.scalar(select(alive)))


async def seen_lately(tx: Tx, engine: str, since_ms: int) -> bool:
    """Whether a worker of that engine has shown that it lives since then."""
    alive = exists().where(
        worker.c.engine == engine,
        worker.c.ended_at.is_(None),
        worker.c.fenced_at.is_(None),
        worker.c.seen_at >= since_ms,
    )
    return bool(await tx.scalar(select(alive)))
