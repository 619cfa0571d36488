"""SQLite statements that cost one trip to the database's thread each.

The asynchronous driver makes four: for the cursor, the statement, its rows, and closing. Each is a change of threads,
which on a busy machine may take longer than the statement. Here the thread does all four at once.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Self

import aiosqlite

if TYPE_CHECKING:
    from collections.abc import Iterable


class _Cursor:
    """What SQLAlchemy's adapter uses of the driver's cursor."""

    def __init__(self, connection: OneTripConnection) -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, sql: str, parameters: Any = ()) -> Self:
        """Run a statement, and fetch all its rows."""
        await self._connection.trip(self._run, sql, parameters)
        return self

    async def executemany(self, sql: str, parameters: Iterable[Any]) -> Self:
        """Run a statement for each of the parameters."""
        await self._connection.trip(self._run_many, sql, parameters)
        return self

    async def fetchall(self) -> list[Any]:
        """The rows, once."""
        rows, self._rows = self._rows, []
        return rows

    async def close(self) -> None:
        """Nothing is open any more."""

    def _run(self, connection: sqlite3.Connection, sql: str, parameters: Any) -> None:
        self._keep(connection.execute(sql, parameters))

    def _run_many(self, connection: sqlite3.Connection, sql: str, parameters: Iterable[Any]) -> None:
        self._keep(connection.executemany(sql, parameters))

    def _keep(self, cursor: sqlite3.Cursor) -> None:
        self.description = cursor.description
        self._rows = cursor.fetchall() if cursor.description else []
        # With RETURNING, how many rows there were is known only now.
        self.rowcount, self.lastrowid = cursor.rowcount, cursor.lastrowid
        cursor.close()


class OneTripConnection(aiosqlite.Connection):
    """A connection of the driver, with other cursors."""

    def cursor(self) -> _Cursor:  # type: ignore[override]  # awaited as the driver's is
        """A new cursor. No trip."""
        return _Cursor(self)

    async def trip(self, work: Any, *arguments: Any) -> None:
        """Have the thread do something with the connection."""
        await self._execute(work, self._conn, *arguments)  # type: ignore[no-untyped-call]  # the driver has no types


def connect(database: str, **options: Any) -> OneTripConnection:
    """The driver's ``connect``; the connection opens when it is awaited."""
    connection = OneTripConnection(lambda: sqlite3.connect(database, **options), iter_chunk_size=64)
    # As SQLAlchemy does with the driver's own: a connection that nobody closed must not keep the process alive.
    connection._thread.daemon = True  # noqa: SLF001 - there is no public way
    return connection
