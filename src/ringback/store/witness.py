"""The witness: a small file outside of the database that says how many leases it had committed.

It is written after the commit of a lease and before its first INVITE, so what it says was never more than the database
had. It must outlive the process, not the power: a lost page makes it say less, and then it notices less, of the last
seconds before the cut only. It must not travel with the database: hence a hidden folder, which no ``cp ringback.db*``
takes along, or another disk.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ringback.store.dialects import names_postgresql
from ringback.store.sqlite import sqlite_file

if TYPE_CHECKING:
    from typing import Self

#: Always as long, so that it is overwritten in place.
_DIGITS = 20


class Witness:
    """Of any database, in one folder. ``required``: a database that has dialled must find its own there."""

    def __init__(self, folder: Path, *, required: bool) -> None:
        self._folder = folder
        self.required = required
        self._latest: dict[str, int] = {}

    @classmethod
    def of(cls, database_url: str, state: str) -> Self | None:
        """The witness of these settings; ``None`` for a database in memory.

        A relative ``state`` folder is beside an SQLite file, else in the working folder. A database server has many
        machines that dial, and a new one has seen nothing yet. Raises
        :class:`~ringback.store.database.StoreUnavailable`.
        """
        if names_postgresql(database_url):
            return cls(Path(state).absolute(), required=False)
        file = sqlite_file(database_url)
        return None if file is None else cls(Path(file).resolve().parent / state, required=True)

    def path(self, database_id: str) -> Path:
        """The file of a database."""
        return self._folder / f"{database_id}.witness"

    def seen(self, database_id: str) -> int | None:
        """The highest number of a lease that was committed; ``None`` when there is no file that says so."""
        try:
            text = self.path(database_id).read_text()
            stored = int(text) if len(text) == _DIGITS + 1 else None
        except (OSError, ValueError):
            stored = None
        numbers = [number for number in (stored, self._latest.get(database_id)) if number is not None]
        return max(numbers, default=None)

    def saw(self, database_id: str, number: int) -> None:
        """The lease of that number has been committed. Raises OSError when that cannot be written."""
        path = self.path(database_id)
        if number <= self._latest.get(database_id, -1) and path.exists():
            return
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            before = os.pread(file, _DIGITS + 1, 0)
            # Another worker on this machine may have been later.
            stored = int(before) if len(before) == _DIGITS + 1 and before.strip().isdigit() else -1
            if stored < number:
                os.pwrite(file, f"{number:0{_DIGITS}}\n".encode(), 0)
            if not before:
                # An empty file after a power cut would look like a lost one.
                os.fsync(file)
        finally:
            os.close(file)
        self._latest[database_id] = max(number, stored)
