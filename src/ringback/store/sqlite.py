"""Opening a database in SQLite: WAL, ``synchronous=FULL``, one writing connection, a few reading ones.

Its transactions are one after another, so that locks on rows are not needed and not taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import StaticPool

from ringback.store.database import LOCK_WAIT_SECONDS, Store, StoreUnavailable, parsed_url
from ringback.store.migrate import SchemaTooNew, upgrade_to_newest
from ringback.store.sqlite_driver import connect

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, ExceptionContext
    from sqlalchemy.ext.asyncio import AsyncEngine

    from ringback.clock import Clock

_READERS = 4
_WAL_ATTEMPTS = 20


async def open_sqlite(url: str, clock: Clock, *, lock_wait_seconds: float = LOCK_WAIT_SECONDS) -> Store:
    """Open the database at ``sqlite:///FILE``, or ``sqlite://`` for memory, and migrate it.

    Raises:
        StoreUnavailable: not there, read-only, locked by another program for longer than ``lock_wait_seconds``,
            no database, or from a newer version.
    """
    path = sqlite_file(url)
    in_memory = path is None
    target = parsed_url(url).set(drivername="sqlite+aiosqlite")
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
    """The path of the database file that ``url`` names; ``None`` for one in memory, and for PostgreSQL.

    Raises:
        StoreUnavailable: the URL cannot be read, or is one of SQLite that names no file.
    """
    parsed = parsed_url(url)
    if parsed.get_backend_name() != "sqlite":
        return None
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
