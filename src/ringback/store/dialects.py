"""What SQLite and PostgreSQL are asked differently about the database itself: a function a question and dialect."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringback.store.database import Tx

POSTGRESQL = "postgresql"
_MACHINE = Path("/etc/machine-id")


def is_postgresql(tx: Tx) -> bool:
    """Whether the transaction is one of PostgreSQL."""
    return tx.dialect.name == POSTGRESQL


def names_postgresql(url: str) -> bool:
    """Whether a database URL names PostgreSQL; false also when it cannot be read."""
    try:
        return make_url(url).get_backend_name() == POSTGRESQL
    except (ArgumentError, ValueError):
        return False


async def origin(tx: Tx) -> str:
    """Where the database physically is: another text for a copy, the same one after a restart.

    Empty for a database in memory: it cannot be copied.
    """
    return await (_origin_postgresql(tx) if is_postgresql(tx) else _origin_sqlite(tx))


async def leave_ids(tx: Tx, gaps: Mapping[str, int]) -> None:
    """Let the next id of each table be so much higher, so that no id of lost rows is given a second time."""
    if is_postgresql(tx):
        for table, gap in gaps.items():
            sequence = await tx.scalar(_SEQUENCE, {"table_name": table})
            await tx.execute(_MOVE_SEQUENCE, {"sequence": sequence, "gap": gap})
        return
    await tx.execute(
        text("UPDATE sqlite_sequence SET seq = seq + :gap WHERE name = :table_name"),
        [{"table_name": table, "gap": gap} for table, gap in gaps.items()],
    )


async def lock_routes(tx: Tx, *, to_change: bool) -> None:
    """Routes do not change while new numbers are given their lanes: a task that nobody sees yet would keep old ones.

    Until the end of the transaction. Nothing to do for SQLite, whose transactions are one after another.
    """
    if is_postgresql(tx):
        await tx.execute(_LOCK_ROUTES_TO_CHANGE if to_change else _LOCK_ROUTES, {"key": _ROUTES_LOCK})


#: Of the advisory lock. Any number, always the same.
_ROUTES_LOCK = 7_241_500_002
_LOCK_ROUTES = text("SELECT pg_advisory_xact_lock_shared(:key)")
_LOCK_ROUTES_TO_CHANGE = text("SELECT pg_advisory_xact_lock(:key)")


async def set_last_id(tx: Tx, table: str, last: int) -> None:
    """Let the next id of a table be the one after ``last``. For PostgreSQL only."""
    sequence = await tx.scalar(_SEQUENCE, {"table_name": table})
    await tx.execute(_SET_SEQUENCE, {"sequence": sequence, "last": last})


_SET_SEQUENCE = text("SELECT setval(CAST(CAST(:sequence AS text) AS regclass), CAST(:last AS bigint))")
_SEQUENCE = text("SELECT pg_get_serial_sequence(:table_name, 'id')")
_MOVE_SEQUENCE = text(
    "SELECT setval(CAST(CAST(:sequence AS text) AS regclass), "
    "nextval(CAST(CAST(:sequence AS text) AS regclass)) + CAST(:gap AS bigint))"
)


async def _origin_sqlite(tx: Tx) -> str:
    """The file's inode, its file system and the machine.

    Not the device number: some file systems get another one at every start of the machine.
    """
    files = {row.name: row.file for row in await tx.exec_driver_sql("PRAGMA database_list")}
    path = files["main"]
    if not Path(path).is_absolute():  # in memory: without a name, or with one that is no path
        return ""
    inode, file_system = os.stat(path).st_ino, os.statvfs(path).f_fsid  # noqa: PTH116 - as statvfs, which has no Path
    return f"file {inode} of file system {file_system:x} on machine {_machine()}"


async def _origin_postgresql(tx: Tx) -> str:
    """The cluster, the database in it, and the timeline, which a promotion or a restore to a point in time changes.

    The timeline is that of the next byte to be written: the control file has it only after the next checkpoint.
    """
    row = (
        await tx.execute(
            text(
                "SELECT (SELECT system_identifier FROM pg_control_system()) AS cluster, "
                "(SELECT oid FROM pg_database WHERE datname = current_database()) AS database, "
                "substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) AS timeline"
            )
        )
    ).one()
    return f"database {row.database} of cluster {row.cluster} on timeline {int(row.timeline, 16)}"


def _machine() -> str:
    """The machine's id, hashed, for it is nobody else's business; ``unknown`` where there is none."""
    try:
        known = _MACHINE.read_text().strip()
    except OSError:
        known = ""
    return hashlib.sha256(f"ringback {known}".encode()).hexdigest()[:16] if known else "unknown"
