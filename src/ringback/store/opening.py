"""Opens the database that a URL names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringback.store.database import LOCK_WAIT_SECONDS, Store, StoreUnavailable, parsed_url
from ringback.store.dialects import names_postgresql
from ringback.store.postgres import migrate_postgres, open_postgres
from ringback.store.sqlite import open_sqlite

if TYPE_CHECKING:
    from ringback.clock import Clock


async def open_store(url: str, clock: Clock, *, lock_wait_seconds: float = LOCK_WAIT_SECONDS) -> Store:
    """Open the database at an SQLAlchemy ``url``: ``sqlite:///FILE``, ``sqlite://`` for memory, or ``postgresql://…``.

    SQLite is migrated on the way; PostgreSQL by :func:`migrate` only, since other processes may be using it.

    Raises:
        StoreUnavailable: it cannot be used; the text says why and what to do.
    """
    match parsed_url(url).get_backend_name():
        case "sqlite":
            return await open_sqlite(url, clock, lock_wait_seconds=lock_wait_seconds)
        case "postgresql":
            return await open_postgres(url, clock, lock_wait_seconds=lock_wait_seconds)
        case other:
            raise StoreUnavailable(
                f"database {other!r} is not supported; use sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
            )


async def migrate(url: str, clock: Clock) -> None:
    """Bring the database to the schema of this version. Raises :class:`StoreUnavailable`."""
    if names_postgresql(url):
        await migrate_postgres(url)
    await (await open_store(url, clock)).close()
