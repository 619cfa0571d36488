"""One dialler per SQLite database, whatever is started twice: an advisory lock on a file beside it.

The operating system drops the lock with the process, so after a crash the next start gets it at once and knows that
whoever held calls is dead.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from sqlalchemy.engine import make_url

from ringback.store.database import StoreUnavailable


class DiallerLock:
    """Held from :meth:`acquire` until :meth:`release` or the end of the process."""

    def __init__(self, database_url: str) -> None:
        database = make_url(database_url).database
        self._path = None if database in (None, "", ":memory:") else Path(f"{database}.lock")
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock. Raises :class:`~ringback.store.database.StoreUnavailable` when another process has it."""
        if self._path is None:
            return
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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
