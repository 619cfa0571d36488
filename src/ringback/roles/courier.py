"""The courier: delivers what is on the outbox, each receiver by a task of its own.

It holds receivers by a lease that it renews. While the database is held, nothing is sent: a restored copy must not
report to the receivers of the original.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from typing import TYPE_CHECKING

import msgspec
import structlog

from ringback.roles.report_notes import Notes
from ringback.roles.sender import Sender
from ringback.roles.sockets import Sockets
from ringback.store import deliveries, provenance, report_endpoints
from ringback.store.database import News
from ringback.store.refusals import is_passing

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringback.clock import Clock
    from ringback.roles.post import Post
    from ringback.store.database import Store

log = structlog.get_logger(__name__)

#: How long a receiver stays with a courier that shows no life.
LEASE_SECONDS = 15.0
RENEW_SECONDS = 5.0
#: It looks at most so often, however much is written.
LOOK_SECONDS = 0.1
#: How many reports it looks at at once to take old ones away, and how often it begins.
FORGET_AT_ONCE = 1_000
FORGET_SECONDS = 60.0
DAY_MS = 86_400_000


class CourierSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``idle_poll_seconds``: how often to look without being rung. ``keep_days``: how long delivered reports stay."""

    idle_poll_seconds: float = 1.0
    keep_days: float = 7.0


class Courier:
    """:meth:`run` works until :meth:`stop` is called. ``make_post`` opens what sends."""

    def __init__(
        self, store: Store, clock: Clock, make_post: Callable[[], Post], settings: CourierSettings | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._make_post = make_post
        self._settings = settings or CourierSettings()
        self._token = secrets.token_hex(8)
        self._rng = random.Random()  # noqa: S311 - it spreads waits, and guards nothing
        self._stopping = asyncio.Event()
        self._bell = store.subscribe(News.WORK, News.LINES)
        self._senders: dict[int, tuple[Sender, asyncio.Task[None]]] = {}
        self._sockets = Sockets()
        self._notes = Notes(store, clock, self._token)
        self._renew_at = 0.0
        self._forget_at = 0.0
        self._forgotten_to = 0

    def stop(self) -> None:
        """Send nothing more; :meth:`run` returns when what is in flight has been noted."""
        self._stopping.set()
        self._bell.ring()

    async def run(self) -> None:
        """Deliver until stopped."""
        post = self._make_post()
        notes = asyncio.create_task(self._notes.run())
        try:
            while not self._stopping.is_set():
                try:
                    await self._look(post)
                except Exception as error:
                    if not is_passing(error):
                        raise
                    log.warning("outbox_not_read", error=str(error) or type(error).__name__)
                await self._clock.sleep(LOOK_SECONDS)
                if not self._stopping.is_set():
                    await self._bell.wait(self._settings.idle_poll_seconds)
        finally:
            self._store.unsubscribe(self._bell)
            await self._end_senders()
            self._notes.close()
            await notes
            await post.close()
        await self._release()

    async def _look(self, post: Post) -> None:
        now_ms = self._clock.now_ms()
        async with self._store.read() as tx:
            held = await provenance.why_held(tx)
            waiting = {} if held else await deliveries.waiting(tx, self._token, now_ms)
        if held:
            await self._end_senders()
            return
        now = self._clock.monotonic()
        if now >= self._renew_at or not all(waiting.values()):
            await self._claim(post, now_ms)
            self._renew_at = now + RENEW_SECONDS
        for endpoint_id in waiting:
            if endpoint_id in self._senders:
                self._senders[endpoint_id][0].wake()
        if now >= self._forget_at:
            await self._forget(now_ms)
            if not self._forgotten_to:
                self._forget_at = now + FORGET_SECONDS

    async def _claim(self, post: Post, now_ms: int) -> None:
        async with self._store.write() as tx:
            held = await deliveries.claim(tx, self._token, now_ms, now_ms + round(LEASE_SECONDS * 1000))
        for endpoint_id, (sender, task) in list(self._senders.items()):
            if task.done():
                del self._senders[endpoint_id]
                self._see_why(endpoint_id, task)
            elif endpoint_id not in held:
                sender.stop()
        for endpoint_id in held:
            if endpoint_id not in self._senders:
                await self._serve(post, endpoint_id)

    async def _serve(self, post: Post, endpoint_id: int) -> None:
        async with self._store.read() as tx:
            endpoint = await report_endpoints.get(tx, endpoint_id)
        if endpoint is None:
            return
        sender = Sender(
            self._store,
            self._clock,
            post,
            sockets=self._sockets,
            notes=self._notes,
            rng=self._rng,
            courier=self._token,
            endpoint=endpoint,
        )
        self._senders[endpoint_id] = (sender, asyncio.create_task(sender.run()))

    def _see_why(self, endpoint_id: int, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("sender_broke", endpoint=endpoint_id, exc_info=task.exception())

    async def _forget(self, now_ms: int) -> None:
        async with self._store.write() as tx:
            before_ms = now_ms - round(self._settings.keep_days * DAY_MS)
            self._forgotten_to = await deliveries.forget_delivered(tx, before_ms, self._forgotten_to, FORGET_AT_ONCE)

    async def _end_senders(self) -> None:
        for sender, _ in self._senders.values():
            sender.stop()
        tasks = [task for _, task in self._senders.values()]
        if tasks:
            await asyncio.wait(tasks)
        for endpoint_id, (_, task) in self._senders.items():
            self._see_why(endpoint_id, task)
        self._senders.clear()

    async def _release(self) -> None:
        try:
            async with self._store.write() as tx:
                await deliveries.release(tx, self._token)
        except Exception as error:
            if not is_passing(error):
                raise
            log.warning(
                "receivers_not_released", error=str(error), hint="another courier takes them when the lease ends"
            )
