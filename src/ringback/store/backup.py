"""A backup of an SQLite database while it is in use: consistent, checked, and held until it is settled."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from ringback.model.instants import instant
from ringback.store.database import LOCK_WAIT_SECONDS
from ringback.store.provenance import BACKUP


class BackupFailed(Exception):
    """No backup was made, and nothing is left behind; the text says why."""


def back_up(database: str, target: Path, now_ms: int) -> int:
    """Copy the database file to ``target``, a file that must not exist yet. Returns its size, bytes.

    The copy is its owner's alone, on the disk when this returns, and whole: under its name there is never a part of it.
    It says of itself that it is a backup, so however it is put back, it is known as one.

    Raises :class:`BackupFailed`.
    """
    if target.exists():
        raise BackupFailed(f"{target} exists already; a backup overwrites nothing")
    part = target.with_name(f"{target.name}.part")
    try:
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise BackupFailed(f"{part} is there: another backup runs, or one was killed; remove it then") from None
    except OSError as error:
        raise BackupFailed(f"{part}: {error.strerror}") from None
    try:
        _copy(database, part, now_ms)
        _flush(part)
        _name(part, target)
        _flush(target.absolute().parent)
        return target.stat().st_size
    except sqlite3.Error as error:
        raise BackupFailed(f"{database}: {error}") from None
    except OSError as error:
        raise BackupFailed(f"{target}: {error.strerror or error}") from None
    finally:
        for leftover in (part, *(part.with_name(part.name + tail) for tail in ("-wal", "-shm", "-journal"))):
            leftover.unlink(missing_ok=True)


def _copy(database: str, part: Path, now_ms: int) -> None:
    with (
        contextlib.closing(sqlite3.connect(f"{Path(database).absolute().as_uri()}?mode=ro", uri=True)) as source,
        contextlib.closing(sqlite3.connect(part)) as copy,
    ):
        source.execute(f"PRAGMA busy_timeout = {round(LOCK_WAIT_SECONDS * 1000)}")
        # All pages in one step: one reading transaction, so one moment, and in WAL no writer waits for it.
        source.backup(copy)
        # A copy in one file; the first who opens it turns the log on again.
        copy.execute("PRAGMA journal_mode = DELETE")
        problems = [row[0] for row in copy.execute("PRAGMA integrity_check(10)")]
        if problems != ["ok"]:
            raise BackupFailed(f"{database} is damaged, or the copy is: {'; '.join(problems)}")
        if copy.execute("PRAGMA foreign_key_check").fetchone() is not None:
            raise BackupFailed(f"{database} is damaged, or the copy is: rows are missing")
        with copy:
            copy.execute(
                "UPDATE provenance SET origin = ?, copied_at = ?, held_since = ?, held_reason = ?",
                (BACKUP, now_ms, now_ms, f"it is a backup that was made at {instant(now_ms)}"),
            )


def _name(part: Path, target: Path) -> None:
    """Give the whole file its name, unless somebody has taken it meanwhile."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise BackupFailed(f"{target} exists already; a backup overwrites nothing") from None
    except OSError:
        # A file system without hard links.
        if target.exists():
            raise BackupFailed(f"{target} exists already; a backup overwrites nothing") from None
        part.rename(target)


def _flush(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
