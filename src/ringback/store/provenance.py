"""Knowing a restored database: it dials nothing, until somebody has told what it dialled after the copy was made.

Two signs, each enough. *Origin*: the row says where the database was when it was last looked at, and a copy is
elsewhere. *Witness*: a file outside the database says how many leases it had committed, and an older state has fewer.
A held database refuses every lease in the transaction that would make it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import case, exists, func, select, update

from ringback.model.instants import instant
from ringback.store import dialects
from ringback.store.schema import call, flow, node, task
from ringback.store.schema_engine import worker
from ringback.store.schema_provenance import provenance

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from ringback.store.database import Tx
    from ringback.store.witness import Witness

#: The origin that :mod:`ringback.store.backup` writes into a copy: no database is there.
BACKUP = "a backup"


class DatabaseHeld(Exception):
    """Nothing may be dialled from this database; the text says why."""


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """The database as its row describes it. Instants are epoch ms; see the table."""

    database_id: str
    leases: int
    origin: str | None
    copied_at: int | None
    held_since: int | None
    held_reason: str | None


class Checked(msgspec.Struct, frozen=True):
    """What the witness is to know of a database, and why nothing is dialled from it (empty: it may be)."""

    database_id: str
    leases: int
    why_held: str


class Lost(msgspec.Struct, frozen=True):
    """The hours that a restored database does not know, epoch ms: both ends lie outside of what may be true."""

    since: int
    until: int


def free() -> ColumnElement[bool]:
    """The condition that the database is not held, for statements that find work."""
    return ~exists().where(provenance.c.held_since.is_not(None))


async def read(tx: Tx) -> Provenance:
    """The row."""
    return msgspec.convert((await tx.execute(select(provenance))).one(), Provenance, from_attributes=True)


async def why_held(tx: Tx) -> str:
    """Why nothing is dialled, for people; empty when the database is not held."""
    return _for_people(await tx.scalar(select(provenance.c.held_reason)))


async def count_lease(tx: Tx) -> int:
    """A lease that gives out calls is being made. Returns its number.

    Raises :class:`DatabaseHeld`: the transaction must be rolled back.
    """
    row = (
        await tx.execute(
            update(provenance)
            .values(leases=provenance.c.leases + 1)
            .returning(provenance.c.leases, provenance.c.held_reason)
        )
    ).one()
    if row.held_reason is not None:
        raise DatabaseHeld(_for_people(row.held_reason))
    return int(row.leases)


async def check(tx: Tx, witness: Witness | None, now_ms: int) -> Checked:
    """Look whether the database goes on where it stopped; hold it when it does not.

    Without a ``witness`` its origin alone is compared. To be called before anything of it is dialled; what comes of it
    goes to the witness when it is committed, or a missing witness would be noticed only once.
    """
    row = msgspec.convert(
        (await tx.execute(select(provenance).with_for_update())).one(), Provenance, from_attributes=True
    )
    here = await dialects.origin(tx)
    if not here:
        return Checked(row.database_id, row.leases, _for_people(row.held_reason))
    seen = None if witness is None else witness.seen(row.database_id)
    reason = _suspicion(row, here, seen, witness)
    known = max(row.leases, seen or 0)
    values: dict[str, Any] = {}
    if reason:
        # From now on it is known where it is and what was dialled: a second restore is noticed again.
        values = {"origin": here, "leases": known, "held_since": now_ms, "held_reason": reason}
    elif row.origin is None:
        values = {"origin": here}
    if values:
        await tx.execute(update(provenance).values(**values))
    return Checked(row.database_id, known, _for_people(reason or row.held_reason))


def _suspicion(row: Provenance, here: str, seen: int | None, witness: Witness | None) -> str:
    """Why the database cannot be taken for the one that dialled last; empty when it can."""
    if row.origin == BACKUP:
        return f"it is a backup that was made at {instant(row.copied_at or 0)}"
    if row.origin is not None and row.origin != here:
        return f"it is a copy, restored, moved or promoted: it was {row.origin}, and is {here}"
    if seen is not None and seen > row.leases:
        return f"an older state of it has been restored: its last lease is {row.leases}, and {seen} were dialled"
    if seen is None and row.leases > 0 and witness is not None and witness.required:
        return f"how much it has dialled cannot be checked: {witness.path(row.database_id)} is missing or damaged"
    return ""


async def hold(tx: Tx, reason: str, now_ms: int) -> bool:
    """Hold the database. False when it is held already: that reason stays."""
    held = await tx.execute(
        update(provenance).where(provenance.c.held_since.is_(None)).values(held_since=now_ms, held_reason=reason)
    )
    return held.rowcount == 1


async def latest_to_leave(tx: Tx) -> int:
    """The instant (epoch ms) after which no call that has been leased can leave any more."""
    return int(await tx.scalar(select(func.max(task.c.leaves_until)).where(task.c.active > 0)) or 0)


async def release(tx: Tx, now_ms: int) -> int:
    """Let the database dial again. Returns the number from which its leases count.

    That number is the time in microseconds. Leases come slower than microseconds, so no earlier life of the database
    has got that far, and a copy of such a life is known as older.
    """
    ahead = now_ms * 1000
    counted = await tx.execute(
        update(provenance)
        .values(
            leases=case((provenance.c.leases >= ahead, provenance.c.leases + 1), else_=ahead),
            copied_at=None,
            held_since=None,
            held_reason=None,
        )
        .returning(provenance.c.leases)
    )
    return int(counted.scalar_one())


async def lost_hours(tx: Tx) -> Lost:
    """What a held database does not know. Where the copy does not say when it was made, its newest entry does."""
    row = await read(tx)
    assert row.held_since is not None, "only a held database has lost hours"
    since = row.copied_at
    if since is None:
        newest = [await tx.scalar(select(func.max(column))) for column in _HAPPENED]
        since = max((at for at in newest if at is not None), default=row.held_since)
    return Lost(min(since, row.held_since), row.held_since)


def _for_people(reason: str | None) -> str:
    return f"the database is held: {reason} (see `ringback settle`)" if reason else ""


#: What is written when something happens.
_HAPPENED = (
    call.c.started_at,
    call.c.ended_at,
    task.c.modified_at,
    flow.c.modified_at,
    node.c.started_at,
    node.c.ended_at,
    worker.c.started_at,
    worker.c.ended_at,
)
