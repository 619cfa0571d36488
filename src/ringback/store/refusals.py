"""Which errors of the database pass by themselves, so that trying again can help."""

from __future__ import annotations

from typing import Final

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

#: Classes of SQLSTATE, by their first two characters. Source: PostgreSQL's manual, appendix A.
_PASSING_CLASSES: Final = (
    "08",  # connection exceptions
    "53",  # insufficient resources: disk full, out of memory, too many connections
    "57",  # operator intervention: shutdown, crash of another session, cannot connect now
    "58",  # system errors outside of PostgreSQL
)
_PASSING_STATES: Final = frozenset(
    {
        "25006",  # read-only: a standby that is about to be promoted, or a primary that is no longer one
        "25P03",  # idle in transaction for too long: this process stood still
        "40001",  # serialisation failure
        "40P01",  # deadlock
        "55P03",  # a lock was not to be had in time
    }
)


def is_passing(error: BaseException) -> bool:
    """Whether the database refused for now (locked, disk full, restarting, no free connection).

    What became of the transaction is then not always known: when the connection broke at its very end it may have been
    committed.
    """
    if isinstance(error, PoolTimeout | OSError | TimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return state.startswith(_PASSING_CLASSES) or state in _PASSING_STATES
    if error.connection_invalidated:
        return True
    # SQLite's plain "error" is a statement that never works, such as one with too many parameters.
    return isinstance(error, OperationalError) and getattr(error.orig, "sqlite_errorname", None) != "SQLITE_ERROR"
