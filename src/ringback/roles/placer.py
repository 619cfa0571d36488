"""Places the leased calls of one trunk one after the other, never closer together than its rate allows."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from ringback.model.pacing import Gate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ringback.clock import Clock
    from ringback.store.leases import Lease, Route


class Placer:
    """A queue of leased calls in the order of their slots.

    ``place`` sends the INVITE; ``give_back`` takes a call that can no longer leave in time (``grace_us`` after its
    slot) or that was still waiting when the placer was closed.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        grace_us: int,
        place: Callable[[Lease, Route], Awaitable[None]],
        give_back: Callable[[Lease], None],
    ) -> None:
        self._clock = clock
        self._grace_us = grace_us
        self._place = place
        self._give_back = give_back
        self._queue: asyncio.Queue[tuple[Lease, Route]] = asyncio.Queue()
        self._gate = Gate()
        self._closing = False
        self._placing = 0
        self._task = asyncio.create_task(self._run())

    @property
    def waiting(self) -> int:
        """Leased calls that have not been placed yet."""
        return self._queue.qsize() + self._placing

    def put(self, lease: Lease, route: Route) -> None:
        """One more call, whose slot is not before that of the last one."""
        self._queue.put_nowait((lease, route))

    async def close(self) -> None:
        """Give back what has not been placed, and end."""
        self._closing = True
        await self._queue.join()
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        while True:
            lease, route = await self._queue.get()
            self._placing = 1
            if not self._closing:
                opens_us = self._gate.opens_at(lease.slot_us, route.calls_per_second)
                await self._clock.sleep((opens_us - self._clock.now_us()) / 1_000_000)
            now_us = self._clock.now_us()
            if self._closing or now_us > lease.slot_us + self._grace_us:
                self._give_back(lease)
            else:
                self._gate.passed(now_us)
                await self._place(lease, route)
            self._placing = 0
            self._queue.task_done()
