"""A store in memory whose transactions run at once, in the thread of the event loop: for the simulator and for tests.

The same statements and the same SQLite as in :mod:`ringback.store.sqlite`, without the driver's thread. A whole
transaction runs without giving other tasks a turn, so that a run under the virtual clock is the same every time, and
fast. Several stores may share a database, as several processes do.
"""

from __future__ import annotations

import contextlib
import sqlite3
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from ringback.store.database import Store
from ringback.store.migrate import upgrade_to_newest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from sqlalchemy import CursorResult, Dialect, ScalarResult
    from sqlalchemy.ext.asyncio import AsyncEngine

    from ringback.clock import Clock


class InlineDatabase:
    """A database in memory with the newest schema; close it when its stores are closed."""

    def __init__(self) -> None:
        self._raw = sqlite3.connect(":memory:", isolation_level=None, factory=_Buffered)
        self._raw.deserialize(_newest_schema())
        self._raw.execute("PRAGMA foreign_keys = ON")
        self._connection = _connected(self._raw)

    def engine(self) -> AsyncEngine:
        """What a :class:`Store` uses of an engine, over this database."""
        return cast("AsyncEngine", _InlineEngine(self._raw, self._connection))

    def rows(self, sql: str, *values: Any) -> list[Any]:
        """Read with plain SQL, in whatever transaction there is."""
        return self._raw.execute(sql, values).fetchall()

    def close(self) -> None:
        """Free it."""
        self._connection.close()


def open_inline_store(clock: Clock, database: InlineDatabase | None = None, *, shared: bool = False) -> Store:
    """A store over that database, or over a new one of its own. ``shared``: other workers may dial with it too."""
    engine = (database or InlineDatabase()).engine()
    return Store(engine, engine, clock, in_memory=True, shared=shared)


def refusal(text: str) -> OperationalError:
    """What a database raises that refuses for now: to make trouble in tests and simulations."""
    return OperationalError("COMMIT", {}, sqlite3.OperationalError(text))


class _InlineEngine:
    """The part of an asynchronous engine that a store uses."""

    def __init__(self, raw: sqlite3.Connection, connection: Connection) -> None:
        self._raw = raw
        self._connection = connection
        self._tx = _InlineTx(connection)

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[_InlineTx]:
        self._raw.execute("BEGIN IMMEDIATE")
        with self._connection.begin():
            yield self._tx

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[_InlineTx]:
        self._raw.execute("BEGIN")
        transaction = self._connection.begin()
        try:
            yield self._tx
        finally:
            transaction.rollback()

    async def dispose(self) -> None:
        """The database is its owner's."""


class _InlineTx:
    """A transaction with the methods that the store's statements are run by."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def dialect(self) -> Dialect:
        return self._connection.dialect

    @contextlib.asynccontextmanager
    async def begin_nested(self) -> AsyncIterator[None]:
        with self._connection.begin_nested():
            yield

    async def execute(self, statement: Any, parameters: Any = None) -> CursorResult[Any]:
        return self._connection.execute(statement, parameters)

    async def exec_driver_sql(self, statement: str, parameters: Any = None) -> CursorResult[Any]:
        return self._connection.exec_driver_sql(statement, parameters)

    async def scalar(self, statement: Any, parameters: Any = None) -> Any:
        return self._connection.scalar(statement, parameters)

    async def scalars(self, statement: Any, parameters: Any = None) -> ScalarResult[Any]:
        return self._connection.scalars(statement, parameters)

    async def run_sync(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return work(self._connection, *arguments)


class _BufferedCursor(sqlite3.Cursor):
    """Fetches all rows at once, as the asynchronous driver does: a result may outlive its transaction."""

    _rows: list[Any]

    def execute(self, sql: str, parameters: Any = (), /) -> _BufferedCursor:
        super().execute(sql, parameters)
        self._rows = super().fetchall() if self.description else []
        return self

    def fetchall(self) -> list[Any]:
        rows, self._rows = self._rows, []
        return rows

    def fetchone(self) -> Any:
        return self._rows.pop(0) if self._rows else None

    def fetchmany(self, size: int | None = 1) -> list[Any]:
        rows, self._rows = self._rows[:size], self._rows[size or 1 :]
        return rows


class _Buffered(sqlite3.Connection):
    def cursor(self, factory: Any = None) -> Any:
        del factory
        return super().cursor(_BufferedCursor)


_waiting: list[sqlite3.Connection] = []


@cache
def _engine() -> Engine:
    """One for the whole process: what it has compiled serves every database."""
    return create_engine("sqlite://", creator=_waiting.pop, poolclass=NullPool, hide_parameters=True)


def _connected(raw: sqlite3.Connection) -> Connection:
    _waiting.append(raw)
    return _engine().connect()


@cache
def _newest_schema() -> bytes:
    raw = sqlite3.connect(":memory:", isolation_level=None)
    with _connected(raw) as connection, connection.begin():
        upgrade_to_newest(connection)
        connection.commit()
        return raw.serialize()
