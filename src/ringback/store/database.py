"""Opening the database and its transactions. The SQL of each subject is in the module of that name beside this one.

SQLite: WAL, ``synchronous=FULL``, one writing connection (transactions queue for it), a few reading ones. Statements
are written so that PostgreSQL needs other opening code only.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool

from ringback.store.migrate import SchemaTooNew, upgrade_to_newest
from ringback.store.one_trip import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from sqlalchemy.engine import ExceptionContext

    from ringback.clock import Clock

#: One open transaction: what every function of the subject modules takes first.
Tx = AsyncConnection

_READERS = 4
_WAL_ATTEMPTS = 20
#: How long a statement waits for another program that holds the database.
LOCK_WAIT_SECONDS = 5.0


class StoreUnavailable(Exception):
    """The database cannot be used; the text says why and what to do."""


class News(Enum):
    """What was committed, for those who wait for it."""

    WORK = "work"  # a task or node may be due, or a task may dial (again)
    LINES = "lines"  # calls ended: lines are free


class Bell:
    """Wakes one role when the store has something new for it."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake the waiter, now or when it next waits."""
        self._rung.set()

    async def wait(self, seconds: float | None) -> None:
        """Return when rung, or after ``seconds`` (``None``: only when rung)."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        self._rung.clear()


class Store:
    """An open database. Make one with :func:`open_store`."""

    def __init__(self, writer: AsyncEngine, reader: AsyncEngine, clock: Clock, *, in_memory: bool) -> None:
        self._writer = writer
        self._reader = reader
        self._clock = clock
        self._closed = False
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._write_turn = asyncio.Lock()
        # In memory there is a single connection, so readers wait for the writer.
        self._read_turn: contextlib.AbstractAsyncContextManager[Any] = (
            self._write_turn if in_memory else contextlib.nullcontext()
        )
        self._bells: list[tuple[Bell, frozenset[News]]] = []

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[Tx]:
        """One writing transaction: committed at the end of the block, rolled back when it raises."""
        async with self._write_turn:
            with self._transaction():
                async with self._writer.begin() as tx:
                    yield tx

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        """One reading transaction: a consistent view."""
        async with self._read_turn:
            with self._transaction():
                async with self._reader.connect() as tx:
                    yield tx

    def subscribe(self, *news: News) -> Bell:
        """A bell that :meth:`announce` rings for these kinds of news."""
        bell = Bell()
        self._bells.append((bell, frozenset(news)))
        return bell

    def unsubscribe(self, bell: Bell) -> None:
        """Ring it no more."""
        self._bells = [(known, news) for known, news in self._bells if known is not bell]

    def announce(self, *news: News) -> None:
        """Something was committed that roles should look at now."""
        for bell, wanted in self._bells:
            if not wanted.isdisjoint(news):
                bell.ring()

    async def close(self) -> None:
        """Close every connection, when the transactions that have begun are over.

        Whoever asks for one from now on gets :class:`StoreUnavailable`.
        """
        self._closed = True
        await self._idle.wait()
        with self._clock.holding():
            await self._writer.dispose()
            if self._reader is not self._writer:
                await self._reader.dispose()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        # The engines would quietly connect again.
        if self._closed:
            raise StoreUnavailable("the database has been closed")
        self._running += 1
        self._idle.clear()
        try:
            with self._clock.holding():
                yield
        finally:
            self._running -= 1
            if self._running == 0:
                self._idle.set()


def is_passing(error: BaseException) -> bool:
    """Whether the database refused for now (locked, disk full, no free connection), so that trying again can help."""
    if isinstance(error, OperationalError):
        # SQLite's plain "error" is a statement that never works, such as one with too many parameters.
        return getattr(error.orig, "sqlite_errorname", None) != "SQLITE_ERROR"
    return isinstance(error, PoolTimeout)


async def open_store(url: str, clock: Clock, *, lock_wait_seconds: float = LOCK_WAIT_SECONDS) -> Store:
    """Open the database at an SQLAlchemy ``url`` (``sqlite:///FILE`` or ``sqlite://`` for memory) and migrate it.

    Raises:
        StoreUnavailable: not there, read-only, locked by another program for longer than ``lock_wait_seconds``,
            no database, or from a newer version.
    """
    path = sqlite_file(url)
    in_memory = path is None
    target = make_url(url).set(drivername="sqlite+aiosqlite")
    if path is None:
        writer = reader = _engine(target, poolclass=StaticPool)
    else:
        _check_file(path)
        writer = _engine(target, pool_size=1, max_overflow=0)
        reader = _engine(target, pool_size=_READERS, max_overflow=_READERS)
        _prepare_sqlite(reader, begin="BEGIN", lock_wait_seconds=lock_wait_seconds)
    _prepare_sqlite(writer, begin="BEGIN IMMEDIATE", lock_wait_seconds=lock_wait_seconds)
    store = Store(writer, reader, clock, in_memory=in_memory)
    try:
        async with store.write() as tx:
            await tx.run_sync(upgrade_to_newest)
    except SchemaTooNew as error:
        await store.close()
        raise StoreUnavailable(f"{path}: {error}") from None
    except (DatabaseError, sqlite3.Error) as error:
        await store.close()
        raise StoreUnavailable(_explain(str(path), error)) from error
    return store


def sqlite_file(url: str) -> str | None:
    """The path of the database file that ``url`` names; ``None`` for a database in memory.

    Raises:
        StoreUnavailable: it names no SQLite database.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Not quoted: it may hold a password.
        raise StoreUnavailable("the database URL cannot be read; use sqlite:///FILE") from None
    if parsed.get_backend_name() != "sqlite":
        raise StoreUnavailable(f"database {parsed.get_backend_name()!r} is not supported; use sqlite:///FILE")
    path = parsed.database
    if parsed.host or (path or "").startswith("file:"):
        raise StoreUnavailable("the database URL names no file; use sqlite:///FILE, with three slashes")
    return None if path in (None, "", ":memory:") else path


def _engine(target: URL, **pool: Any) -> AsyncEngine:
    # Values of statements are phone numbers and secrets: errors, and so logs, must not show them.
    return create_async_engine(target, hide_parameters=True, connect_args={"async_creator_fn": connect}, **pool)


def _check_file(path: str) -> None:
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise StoreUnavailable(f"the folder of the database does not exist: {folder}")
    with contextlib.suppress(OSError):
        # A new file is its owner's alone: it will hold API secrets and phone numbers.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        # Tried without the asynchronous driver, whose thread breaks noisily when it cannot open the file.
        sqlite3.connect(path).close()
    except sqlite3.Error as error:
        raise StoreUnavailable(_explain(path, error)) from error


def _prepare_sqlite(engine: AsyncEngine, *, begin: str, lock_wait_seconds: float) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        try:
            # The driver must not open transactions by itself: "begin" below does.
            connection.isolation_level = None
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout = {round(lock_wait_seconds * 1000)}")
            _switch_to_wal(cursor)
            cursor.execute("PRAGMA synchronous = FULL")
            cursor.execute("PRAGMA foreign_keys = ON")
            cursor.close()
        except BaseException:
            # The pool does not know the connection yet, and its thread would outlive the event loop.
            connection.close()
            raise

    @event.listens_for(engine.sync_engine, "handle_error")
    def _on_error(context: ExceptionContext) -> None:
        # Whoever waited for a statement was cancelled; the driver's thread still finishes it, and the rollback queues
        # behind. The connection is sound, and throwing it away, the default, would throw away a database in memory.
        if isinstance(context.original_exception, asyncio.CancelledError):
            context.is_disconnect = False

    @event.listens_for(engine.sync_engine, "begin")
    def _on_begin(connection: Any) -> None:
        connection.exec_driver_sql(begin)


def _switch_to_wal(cursor: Any) -> None:
    """Turn write-ahead logging on, for good. Only a new file needs it, and several programs may have found it new."""
    for _ in range(_WAL_ATTEMPTS):
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            # This statement does not wait for another program's lock, but one that begins a transaction does.
            cursor.execute("BEGIN IMMEDIATE")
            cursor.execute("ROLLBACK")
        else:
            return
    cursor.execute("PRAGMA journal_mode = WAL")


def _explain(path: str, error: Exception) -> str:
    text = str(error.orig) if isinstance(error, DatabaseError) else str(error)
    if "readonly" in text or "read-only" in text:
        return f"{path}: the database is read-only; give this user the right to write the file and its folder"
    if "locked" in text:
        return f"{path}: the database is locked by another program; stop it and try again"
    if "unable to open" in text:
        return f"{path}: the database cannot be opened; check the folder and its permissions"
    if "not a database" in text:
        return f"{path}: the file is not a Ringback database"
    if isinstance(error, OperationalError):
        return f"{path}: {text}"
    return f"{path}: the database is damaged or not ours ({text})"
