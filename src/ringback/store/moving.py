"""Moving everything from SQLite into PostgreSQL: tasks, flows and calls that are under way go on there.

The rows are copied as they are, with their ids. What a worker held stays held by it; it is dead, and the first dialler
on the new database settles that as after a crash. The old database is held first, so that it dials nobody any more,
whatever happens on the way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import JSON, delete, func, insert, select, text, update

from ringback.store import dialects, provenance
from ringback.store.bulk import insert_plain
from ringback.store.schema import metadata
from ringback.store.schema_provenance import provenance as provenance_table
from ringback.store.schema_routing import denied

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sqlalchemy import Table

    from ringback.store.database import Store, Tx

#: How the reason begins for which a database is held that was moved away.
MOVED: Final = "it was moved to "
_ROWS_AT_ONCE: Final = 20_000
#: What a migrated database holds from the start.
_FROM_THE_START: Final = (denied, provenance_table)


class CannotMove(Exception):
    """Nothing was moved; the text says why."""


class Moved(msgspec.Struct, frozen=True):
    """How many rows of each table were moved."""

    rows: dict[str, int]


async def move(source: Store, target: Store, *, shown_target: str, now_ms: int) -> Moved:
    """Copy everything. No dialler may run on ``source``. One that was held for another reason is held there too.

    Raises :class:`CannotMove`.
    """
    async with source.write() as tx:
        before = await provenance.read(tx)
        if before.held_since is None:
            await provenance.hold(tx, MOVED + shown_target, now_ms)
    already_moved = (before.held_reason or "").startswith(MOVED)
    if already_moved and before.held_reason != MOVED + shown_target:
        raise CannotMove(f"the database is held: {before.held_reason}")
    held: dict[str, Any] = {"held_since": None, "held_reason": None}
    if before.held_since is not None and not already_moved:
        held = {"held_since": before.held_since, "held_reason": before.held_reason}
    async with source.read() as old, target.write() as new:
        await _check_empty(new)
        for table in _FROM_THE_START:
            await new.execute(delete(table))
        rows: dict[str, int] = {}
        for table in metadata.sorted_tables:
            rows[table.name] = await _copy(old, new, table)
        await new.execute(update(provenance_table).values(origin=await dialects.origin(new), **held))
        await _move_sequences(old, new)
        for name, count in rows.items():
            table = metadata.tables[name]
            there = await new.scalar(select(func.count()).select_from(table))
            assert there == count, f"{there} of {count} rows of {name} arrived"
    return Moved(rows)


async def _check_empty(new: Tx) -> None:
    for table in metadata.sorted_tables:
        if table not in _FROM_THE_START and await new.scalar(select(select(table).exists())):
            raise CannotMove(f"the database to move to is not empty: it has rows in {table.name}")


async def _copy(old: Tx, new: Tx, table: Table) -> int:
    columns = [column.name for column in table.columns]
    has_json = any(isinstance(column.type, JSON) for column in table.columns)
    count = 0
    async for rows in _pages(old, table):
        if has_json:  # which a bulk copy cannot convert
            await new.execute(insert(table), [dict(zip(columns, row, strict=True)) for row in rows])
        else:
            await insert_plain(new, table, columns, [tuple(row) for row in rows])
        count += len(rows)
    return count


async def _pages(old: Tx, table: Table) -> AsyncIterator[Sequence[Any]]:
    keys = list(table.primary_key.columns)
    by_id = [column.name for column in keys] == ["id"]
    query = select(table).order_by(*keys).limit(_ROWS_AT_ONCE)
    last, count = 0, 0
    while True:
        page = query.where(table.c.id > last) if by_id else query.offset(count)
        rows = (await old.execute(page)).all()
        if not rows:
            return
        yield rows
        count += len(rows)
        if by_id:
            last = rows[-1].id


async def _move_sequences(old: Tx, new: Tx) -> None:
    """Ids go on from where they were: none that was ever given out is given out again."""
    for name, last in (await old.execute(text("SELECT name, seq FROM sqlite_sequence"))).all():
        if name in metadata.tables and last > 0:
            await dialects.set_last_id(new, name, last)
