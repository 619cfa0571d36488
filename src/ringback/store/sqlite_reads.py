"""Reads of a SQLite file on the event loop itself: single statements that find a few rows by their key.

Such a read takes some ten microseconds. Handing it to the driver's thread and back takes many times that, and a
transaction does so four times. In WAL mode a reader waits for nobody, and this one never waits at all.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy.dialects import sqlite

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Select

    from ringback.store.database import Store

_DIALECT = sqlite.dialect(json_deserializer=msgspec.json.decode)


class Refused(Exception):
    """The database did not answer at once."""


class SqliteReads:
    """A connection of its own, each statement of which sees all that was committed before it."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        self._connection.execute("PRAGMA query_only = ON")
        self._prepared: dict[int, _Prepared] = {}

    def rows(self, statement: Select[Any], key: object) -> list[Any]:
        """The rows of a constant statement with one parameter, columns by name. Raises :class:`Refused`."""
        prepared = self._prepared.get(id(statement))
        if prepared is None:
            prepared = self._prepared[id(statement)] = _Prepared(statement)
        try:
            return prepared.rows(self._connection.execute(prepared.sql, (key,)).fetchall())
        except (sqlite3.Error, OverflowError) as error:
            raise Refused(str(error)) from error

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


async def of(store: Store) -> SqliteReads | None:
    """Reads of the file that an open store keeps its tables in; ``None`` when it is no SQLite file."""
    async with store.read() as tx:
        path = tx.engine.url.database
        if tx.dialect.name != "sqlite" or path in (None, "", ":memory:"):
            return None
    return SqliteReads(path)


class _Prepared:
    """A statement in SQLite's words, and what SQLAlchemy would make of its columns (JSON, and nothing else here)."""

    def __init__(self, statement: Select[Any]) -> None:
        # Kept, so that no other statement can get its id.
        self._statement = statement
        self.sql = str(statement.compile(dialect=_DIALECT))
        columns = list(statement.selected_columns)
        self._row: Any = msgspec.defstruct("Row", [str(column.key) for column in columns])
        self._convert: list[tuple[int, Callable[[Any], Any]]] = []
        for place, column in enumerate(columns):
            convert = column.type.dialect_impl(_DIALECT).result_processor(_DIALECT, None)
            if convert is not None:
                self._convert.append((place, convert))

    def rows(self, found: list[Any]) -> list[Any]:
        """The rows by the names of their columns."""
        if self._convert:
            found = [list(row) for row in found]
            for row in found:
                for place, convert in self._convert:
                    row[place] = convert(row[place])
        return [self._row(*row) for row in found]
