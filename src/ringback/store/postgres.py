"""Opening a database in PostgreSQL: for many processes on many machines.

Writing transactions are *read committed*: every statement sees what was committed before it, and whoever changes a row
by what it holds locks it first. Reading ones are *repeatable read*, one consistent view.

**The order of locks**, so that no two transactions wait for each other: a worker's own row; routes (an advisory
lock); calls that a worker holds, by id; trunks and their breakers, by id; tasks, by id; accounts, by id; flows, by id,
and then their nodes; lanes and queued numbers, which belong to whoever has locked their task; the row of leases. A
transaction may leave out steps, never go back. A lease passes over tasks that others hold, a start of nodes over flows
and nodes. Phones are taken and freed in transactions that lock nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from ringback.store.database import LOCK_WAIT_SECONDS, Store, StoreUnavailable, parsed_url
from ringback.store.migrate import SchemaTooNew, SchemaTooOld, check_newest, upgrade_to_newest
from ringback.store.notify import NotifyWire

if TYPE_CHECKING:
    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncEngine

    from ringback.clock import Clock

_WRITERS: Final = 8
_READERS: Final = 8
_CONNECT_SECONDS: Final = 5.0
#: The oldest that is tried.
_OLDEST_VERSION: Final = 150000
#: A process that stands still inside a transaction holds locks that everybody waits for: PostgreSQL ends the
#: transaction after so long. Far less than the time after which a worker counts as dead.
IDLE_IN_TRANSACTION_SECONDS: Final = 5.0
#: Of the advisory lock that only one migration at a time holds. Any number, always the same.
_MIGRATION_LOCK: Final = 7_241_500_001


async def open_postgres(url: str, clock: Clock, *, lock_wait_seconds: float = LOCK_WAIT_SECONDS) -> Store:
    """Open the database at ``postgresql://USER:PASSWORD@HOST:PORT/NAME``.

    Raises:
        StoreUnavailable: it cannot be reached, or its schema is not that of this version.
    """
    target = _target(url)
    writer = _engine(target, lock_wait_seconds, pool_size=_WRITERS, max_overflow=_WRITERS)
    reader = _engine(target, lock_wait_seconds, pool_size=_READERS, max_overflow=_READERS).execution_options(
        isolation_level="REPEATABLE READ", postgresql_readonly=True
    )
    store = Store(writer, reader, clock, in_memory=False, one_writer=False, shared=True)
    try:
        async with store.read() as tx:
            await _check_version(tx)
            await tx.run_sync(check_newest)
        store.wire = await NotifyWire.connect(target.render_as_string(hide_password=False), clock, store.ring)
    except SchemaTooOld as error:
        await store.close()
        raise StoreUnavailable(f"{_shown(target)}: {error}; run `ringback migrate`") from None
    except SchemaTooNew as error:
        await store.close()
        raise StoreUnavailable(f"{_shown(target)}: {error}") from None
    except (OSError, TimeoutError, DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        await store.close()
        raise StoreUnavailable(_explain(target, error)) from error
    return store


async def migrate_postgres(url: str) -> None:
    """Bring the database to the schema of this version; two that try at once wait for each other.

    Raises:
        StoreUnavailable: it cannot be reached, this user must not, or it comes from a newer version.
    """
    target = _target(url)
    engine = _engine(target, lock_wait_seconds=0, poolclass=NullPool)
    try:
        async with engine.begin() as tx:
            await _check_version(tx)
            await tx.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            await tx.run_sync(upgrade_to_newest)
    except SchemaTooNew as error:
        raise StoreUnavailable(f"{_shown(target)}: {error}") from None
    except (OSError, TimeoutError, DBAPIError) as error:
        raise StoreUnavailable(_explain(target, error)) from error
    finally:
        await engine.dispose()


def _target(url: str) -> URL:
    target = parsed_url(url)
    if not target.database:
        raise StoreUnavailable("the database URL names no database; use postgresql://USER:PASSWORD@HOST/NAME")
    return target.set(drivername="postgresql")


def _engine(target: URL, lock_wait_seconds: float, **pool: Any) -> AsyncEngine:
    settings = {
        "application_name": "ringback",
        "lock_timeout": str(round(lock_wait_seconds * 1000)),
        "idle_in_transaction_session_timeout": str(round(IDLE_IN_TRANSACTION_SECONDS * 1000)),
        # Plans that fit a task of ten numbers must not be kept for one of 200,000, and statements are short.
        "jit": "off",
    }
    return create_async_engine(
        target.set(drivername="postgresql+asyncpg"),
        # Values of statements are phone numbers and secrets: errors, and so logs, must not show them.
        hide_parameters=True,
        connect_args={
            "timeout": _CONNECT_SECONDS,
            "server_settings": settings,
            "prepared_statement_cache_size": 500,
        },
        **pool,
    )


async def _check_version(tx: Any) -> None:
    version = int(await tx.scalar(text("SELECT current_setting('server_version_num')")))
    if version < _OLDEST_VERSION:
        raise StoreUnavailable(f"PostgreSQL {version // 10000} is too old; 15 or newer is needed")


def _shown(target: URL) -> str:
    return target.render_as_string(hide_password=True)


def _explain(target: URL, error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    cause = cause.__cause__ or cause
    if isinstance(cause, TimeoutError):
        why = f"no answer within {_CONNECT_SECONDS:g} s"
    else:
        why = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
    return f"{_shown(target)}: the database cannot be used: {why}"
