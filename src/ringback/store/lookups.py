"""Lookups by key, for requests that come by the thousand: a transaction for each would cost far more than it reads.

Nothing is remembered: every lookup begins after it was asked for, so it sees all that was committed before. Where the
database is a file of SQLite it is one statement, on the event loop itself (:mod:`.sqlite_reads`). Elsewhere, and when
that is refused, one reading transaction answers all who wait at that moment.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import bindparam

from ringback.store import sqlite_reads
from ringback.store.sqlite_reads import Refused, SqliteReads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping

    from sqlalchemy import ColumnElement, Select

    from ringback.store.database import Store, Tx

K = TypeVar("K")
V = TypeVar("V")

#: So many keys at most are looked up in one transaction.
KEYS_AT_ONCE = 200


class ByKey(Generic[K, V]):
    """What can be looked up: a statement, the column that is its key, and how its rows become values by key."""

    def __init__(
        self, statement: Select[Any], key: ColumnElement[K], values: Callable[[Iterable[Any]], dict[K, V]]
    ) -> None:
        self._many = statement.where(key.in_(bindparam("keys", expanding=True)))
        self._one = statement.where(key == bindparam("key"))
        self._values = values

    async def find(self, tx: Tx, keys: Collection[K]) -> dict[K, V]:
        """Those of the values that there are, in one statement."""
        return self._values(await tx.execute(self._many, {"keys": keys}))

    def find_now(self, reads: SqliteReads, key: K) -> V | None:
        """One value, or ``None``. Raises :class:`~ringback.store.sqlite_reads.Refused`."""
        return self._values(reads.rows(self._one, key)).get(key)


class Lookups(Generic[K, V]):
    """Looks up values for whoever asks."""

    def __init__(self, store: Store, what: ByKey[K, V]) -> None:
        self._store = store
        self._what = what
        self._waiting: dict[K, asyncio.Future[V | None]] = {}
        self._work: asyncio.Task[None] | None = None
        #: The quicker way, while there is one.
        self.reads: SqliteReads | None = None

    async def get(self, key: K) -> V | None:
        """The value of a key, ``None`` when there is none. Raises what the database raises."""
        if self.reads is not None:
            try:
                return self._what.find_now(self.reads, key)
            except Refused:
                # The other way waits for locks, or says what is wrong.
                pass
        asked = self._waiting.get(key)
        if asked is None:
            asked = self._waiting[key] = asyncio.get_running_loop().create_future()
            if self._work is None:
                self._work = asyncio.create_task(self._answer_all())
        # Others may wait for the same: one who gives up must not take it from them.
        return await asyncio.shield(asked)

    async def _answer_all(self) -> None:
        try:
            while self._waiting:
                keys = list(self._waiting)[:KEYS_AT_ONCE]
                await self._answer({key: self._waiting.pop(key) for key in keys})
        finally:
            self._work = None

    async def _answer(self, asked: Mapping[K, asyncio.Future[V | None]]) -> None:
        try:
            async with self._store.read() as tx:
                found = await self._what.find(tx, list(asked))
        except Exception as error:  # noqa: BLE001 - whoever asked gets it
            if len(asked) == 1:
                for future in asked.values():
                    future.set_exception(error)
                    # It may be that nobody waits any more, which is no fault to tell of.
                    future.exception()
                return
            # Perhaps one key alone cannot be looked up, and nobody pays for another's.
            for key, future in asked.items():
                await self._answer({key: future})
        else:
            for key, future in asked.items():
                future.set_result(found.get(key))


@asynccontextmanager
async def quickened(store: Store, *lookups: Lookups[Any, Any]) -> AsyncIterator[None]:
    """Inside this block they take the quicker way, where the database has one; all on one connection."""
    reads = await sqlite_reads.of(store)
    for one in lookups:
        one.reads = reads
    try:
        yield
    finally:
        for one in lookups:
            one.reads = None
        if reads is not None:
            reads.close()
