"""The open database and its transactions. The SQL of each subject is in the module of that name beside this one.

How a database is opened is told by :mod:`ringback.store.sqlite` and :mod:`ringback.store.postgres`; everything else
is the same for both.
"""

from __future__ import annotations

import asyncio
import contextlib
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ringback.clock import Clock

#: One open transaction: what every function of the subject modules takes first.
Tx = AsyncConnection

#: How long a statement waits for another program that holds the database, or a row of it.
LOCK_WAIT_SECONDS = 5.0


class StoreUnavailable(Exception):
    """The database cannot be used; the text says why and what to do."""


class News(Enum):
    """What was committed, for those who wait for it."""

    WORK = "work"  # a task or node may be due, or a task may dial (again)
    LINES = "lines"  # calls ended: lines are free


class Bell:
    """Wakes one role when the store has something new for it."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake the waiter, now or when it next waits."""
        self._rung.set()

    async def wait(self, seconds: float | None) -> None:
        """Return when rung, or after ``seconds`` (``None``: only when rung)."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        self._rung.clear()


class Wire(Protocol):
    """Carries news between the processes that share a database."""

    def send(self, *news: News) -> None:
        """Tell the others, soon."""

    async def close(self) -> None:
        """Send what is still to be sent, and end."""


class Store:
    """An open database. Make one with :func:`ringback.store.opening.open_store`.

    ``one_writer``: writing transactions wait for each other here, since the database takes one at a time.
    ``in_memory``: there is a single connection, so that readers wait too. ``shared``: other workers may dial with the
    database at the same time, so none of them is dead only because this one has started.
    """

    #: Set by whoever opened the store, when other processes share it.
    wire: Wire | None = None

    def __init__(
        self,
        writer: AsyncEngine,
        reader: AsyncEngine,
        clock: Clock,
        *,
        in_memory: bool,
        one_writer: bool = True,
        shared: bool = False,
    ) -> None:
        self.shared = shared
        self._writer = writer
        self._reader = reader
        self._clock = clock
        self._closed = False
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        turn = asyncio.Lock()
        nobody: contextlib.AbstractAsyncContextManager[Any] = contextlib.nullcontext()
        self._write_turn: contextlib.AbstractAsyncContextManager[Any] = turn if one_writer else nobody
        self._read_turn: contextlib.AbstractAsyncContextManager[Any] = turn if in_memory else nobody
        self._bells: list[tuple[Bell, frozenset[News]]] = []

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[Tx]:
        """One writing transaction: committed at the end of the block, rolled back when it raises."""
        async with self._write_turn:
            with self._transaction():
                async with self._writer.begin() as tx:
                    yield tx

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        """One reading transaction: a consistent view."""
        async with self._read_turn:
            with self._transaction():
                async with self._reader.connect() as tx:
                    yield tx

    def subscribe(self, *news: News) -> Bell:
        """A bell that :meth:`announce` rings for these kinds of news, whichever process announces them."""
        bell = Bell()
        self._bells.append((bell, frozenset(news)))
        return bell

    def unsubscribe(self, bell: Bell) -> None:
        """Ring it no more."""
        self._bells = [(known, news) for known, news in self._bells if known is not bell]

    def announce(self, *news: News) -> None:
        """Something was committed that roles should look at now, here and in other processes."""
        self.ring(*news)
        if self.wire is not None:
            self.wire.send(*news)

    def ring(self, *news: News) -> None:
        """Wake those of this process who wait for the news."""
        for bell, wanted in self._bells:
            if not wanted.isdisjoint(news):
                bell.ring()

    async def close(self) -> None:
        """Close every connection, when the transactions that have begun are over.

        Whoever asks for one from now on gets :class:`StoreUnavailable`.
        """
        self._closed = True
        await self._idle.wait()
        with self._clock.holding():
            if self.wire is not None:
                await self.wire.close()
            await self._writer.dispose()
            if self._reader is not self._writer:
                await self._reader.dispose()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        # The engines would quietly connect again.
        if self._closed:
            raise StoreUnavailable("the database has been closed")
        self._running += 1
        self._idle.clear()
        try:
            with self._clock.holding():
                yield
        finally:
            self._running -= 1
            if self._running == 0:
                self._idle.set()


def parsed_url(url: str) -> URL:
    """The database URL in its parts. Raises :class:`StoreUnavailable`."""
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        # Not quoted: it may hold a password.
        raise StoreUnavailable(
            "the database URL cannot be read; use sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
        ) from None


def shown_url(url: str) -> str:
    """The database URL for people: without its password."""
    return parsed_url(url).render_as_string(hide_password=True)
