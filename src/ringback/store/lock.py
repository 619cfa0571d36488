"""One dialler per SQLite database, whatever is started twice: an advisory lock on a file beside it.

The operating system drops the lock with the process, so after a crash the next start gets it at once and knows that
whoever held calls is dead.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ringback.store.database import StoreUnavailable
from ringback.store.sqlite import sqlite_file


class DiallerLock:
    """Held from :meth:`acquire` until :meth:`release` or the end of the process."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock; a database in memory needs none, and in PostgreSQL many may dial.

        Raises:
            StoreUnavailable: another process has it, or the file beside the database cannot be made.
        """
        database = sqlite_file(self._database_url)
        if database is None:
            return
        # Beside the real file, or another name for the same database would have a lock of its own.
        path = Path(f"{Path(database).resolve()}.lock")
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"{path}: the lock file cannot be opened: {error.strerror}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 32).decode(errors="replace").strip() or "unknown"
            os.close(file)
            raise StoreUnavailable(
                f"another Ringback process (pid {holder}) already dials with this database; stop it first"
            ) from None
        os.ftruncate(file, 0)
        os.write(file, str(os.getpid()).encode())
        self._file = file

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
