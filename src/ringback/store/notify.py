"""News between the processes that share a PostgreSQL: LISTEN and NOTIFY, on a connection of their own.

News only wake. Who missed some, since the connection was down, looks by himself after ``idle_poll_seconds``, and is
woken when the connection is back. News of the same kind within a few milliseconds are sent once.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, Self

import asyncpg
import structlog

from ringback.store.database import News

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringback.clock import Clock

log = structlog.get_logger(__name__)

CHANNEL: Final = "ringback"
#: How long news are gathered, seconds.
_GATHER_SECONDS: Final = 0.005
_CONNECT_SECONDS: Final = 5.0
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 5.0
_KNOWN: Final = {news.value: news for news in News}
_REFUSALS: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


class NotifyWire:
    """Made by :meth:`connect`. ``ring`` is called with the news of other processes."""

    def __init__(self, url: str, clock: Clock, ring: Callable[..., None]) -> None:
        self._url = url
        self._clock = clock
        self._ring = ring
        self._to_send: set[News] = set()
        self._wanted = asyncio.Event()
        self._lost = asyncio.Event()
        self._connection: asyncpg.Connection[Any] | None = None
        self._running: asyncio.Task[None] | None = None

    @classmethod
    async def connect(cls, url: str, clock: Clock, ring: Callable[..., None]) -> Self:
        """Listen. Raises what the driver raises when the database cannot be reached."""
        wire = cls(url, clock, ring)
        await wire._open()
        wire._running = asyncio.create_task(wire._run())
        return wire

    def send(self, *news: News) -> None:
        """Tell the other processes, soon."""
        self._to_send.update(news)
        self._wanted.set()

    async def close(self) -> None:
        """Send what is still to be sent, when that is possible, and end."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        with contextlib.suppress(Exception):
            await self._send_all()
        await self._hang_up()

    async def _run(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                if self._connection is None:
                    await self._open()
                    # What was announced meanwhile is not known.
                    self._ring(*News)
                pause = _FIRST_PAUSE_SECONDS
                await self._wanted.wait()
                await self._clock.sleep(_GATHER_SECONDS)
                await self._send_all()
            except Exception as error:
                log.warning(
                    "news_not_sent",
                    error=str(error) or type(error).__name__,
                    retry_in=pause,
                    exc_info=not isinstance(error, _REFUSALS),
                )
                await self._hang_up()
                await self._clock.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _open(self) -> None:
        self._connection = connection = await asyncpg.connect(
            self._url, timeout=_CONNECT_SECONDS, server_settings={"application_name": "ringback news"}
        )
        connection.add_termination_listener(self._on_lost)
        await connection.add_listener(CHANNEL, self._on_news)

    def _on_news(self, _connection: Any, sender: int, _channel: str, payload: object) -> None:
        connection = self._connection
        if connection is not None and sender == connection.get_server_pid():
            return  # those here have been told
        self._ring(*(_KNOWN[word] for word in str(payload).split(",") if word in _KNOWN))

    def _on_lost(self, connection: Any) -> None:
        if connection is self._connection:
            self._connection = None
            self._wanted.set()  # the loop wakes, and connects again

    async def _send_all(self) -> None:
        self._wanted.clear()
        if self._connection is None:
            raise ConnectionError("not connected")
        if self._to_send:
            words = ",".join(sorted(news.value for news in self._to_send))
            await self._connection.execute("SELECT pg_notify($1, $2)", CHANNEL, words)
            self._to_send.clear()

    async def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            with contextlib.suppress(Exception):
                await connection.close(timeout=1.0)
            connection.terminate()
