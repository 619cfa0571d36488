"""Places the leased calls of one trunk one after the other, never closer together than its rate allows.

Slots are planned on the wall clock, in the database. From the moment a lease arrives here only monotonic time counts,
so a wall clock that is set meanwhile neither holds a call back nor lets it leave late.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec

from ringback.model.pacing import MICROSECONDS, Gate, spacing_us
from ringback.store.leases import Lease, Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ringback.clock import Clock


class Placement(msgspec.Struct, frozen=True):
    """A leased call with its times, monotonic microseconds: ``at_us`` its slot, ``leave_by_us`` when it is too late."""

    lease: Lease
    route: Route
    at_us: int
    leave_by_us: int


class Placer:
    """A queue of leased calls in the order of their slots.

    ``place`` sends the INVITE; ``give_back`` takes a call that can no longer leave in time, or that was still waiting
    when the placer was closed.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        place: Callable[[Placement], Awaitable[None]],
        give_back: Callable[[Lease], None],
    ) -> None:
        self._clock = clock
        self._place = place
        self._give_back = give_back
        self._queue: asyncio.Queue[Placement] = asyncio.Queue()
        self._gate = Gate()
        self._closing = asyncio.Event()
        self._placing = 0
        self._task = asyncio.create_task(self._run())

    @property
    def waiting(self) -> int:
        """Leased calls that have not been placed yet."""
        return self._queue.qsize() + self._placing

    @property
    def broken(self) -> BaseException | None:
        """Why it places nothing any more; ``None`` while it works."""
        return self._task.exception() if self._task.done() and not self._task.cancelled() else None

    def put(self, placement: Placement) -> None:
        """One more call, whose slot is not before that of the last one."""
        self._queue.put_nowait(placement)

    async def close(self) -> None:
        """Give back what has not been placed, and end."""
        self._closing.set()
        if self.broken is None:
            await self._queue.join()
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await self._task

    async def _run(self) -> None:
        while True:
            placement = await self._queue.get()
            self._placing = 1
            rate = placement.route.calls_per_second
            await self._wait_until(self._gate.opens_at(placement.at_us, rate))
            started_us = self._now_us()
            if self._closing.is_set() or started_us > placement.leave_by_us:
                self._give_back(placement.lease)
            else:
                self._gate.passed(started_us)
                await self._place(placement)
                ended_us = self._now_us()
                if ended_us - started_us > spacing_us(rate):
                    # The INVITE left somewhere in between: the next one keeps its distance from the latest instant.
                    self._gate.passed(ended_us)
            self._placing = 0
            self._queue.task_done()

    async def _wait_until(self, at_us: int) -> None:
        seconds = (at_us - self._now_us()) / MICROSECONDS
        if self._closing.is_set() or seconds <= 0:
            return
        sleeping = asyncio.ensure_future(self._clock.sleep(seconds))
        closing = asyncio.ensure_future(self._closing.wait())
        await asyncio.wait({sleeping, closing}, return_when=asyncio.FIRST_COMPLETED)
        sleeping.cancel()
        closing.cancel()

    def _now_us(self) -> int:
        return round(self._clock.monotonic() * MICROSECONDS)
