"""Places the leased calls of one trunk in the order of their slots, never faster than its rate allows.

Slots are planned on the wall clock, in the database. From the moment a lease arrives here only monotonic time counts,
so a wall clock that is set meanwhile neither holds a call back nor lets it leave late. While the engine confirms one
call the next may be on its way; how many at once is bounded by the pacing guard.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec

from ringback.model.pacing import MICROSECONDS, PacingGuard
from ringback.store.leases import Lease, Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ringback.clock import Clock

#: How long after its slot a call leaves when no more should be leased, microseconds.
MOST_BEHIND_US = 100_000


class Placement(msgspec.Struct, frozen=True):
    """A leased call with its times, monotonic microseconds: ``at_us`` its slot, ``leave_by_us`` when it is too late."""

    lease: Lease
    route: Route
    at_us: int
    leave_by_us: int


class Placer:
    """A queue of leased calls in the order of their slots.

    ``prepare`` gets ready what a call needs and returns whether it can be placed; when not, it has given it back.
    ``place`` sends the INVITE and returns when the engine has confirmed it. ``give_back`` takes a call that can no
    longer leave in time, or that was still waiting when the placer was closed. ``headroom``: how many more calls may
    leave before the trunk responds; a probe needs none. ``caught_up`` is called when it was behind and is no longer.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        prepare: Callable[[Placement], Awaitable[bool]],
        place: Callable[[Placement], Awaitable[None]],
        give_back: Callable[[Lease], None],
        headroom: Callable[[], int],
        caught_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock = clock
        self._prepare = prepare
        self._place = place
        self._give_back = give_back
        self._headroom = headroom
        self._caught_up = caught_up
        self._next_at_us: int | None = None  # the slot of the call whose turn is next
        self._told_behind = False
        self._queue: asyncio.Queue[Placement] = asyncio.Queue()
        self._guard = PacingGuard()
        self._closing = asyncio.Event()
        self._news = asyncio.Event()  # a confirmation or headroom has come, or it is closing
        self._held = 0
        self._under_way: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._task = asyncio.create_task(self._run())

    @property
    def waiting(self) -> int:
        """Leased calls whose INVITE has not been confirmed yet."""
        return self._queue.qsize() + self._held + len(self._under_way)

    def is_behind(self) -> bool:
        """Whether calls leave so late that more of them would leave too late. If so, it tells when that is over."""
        self._told_behind = self._next_at_us is not None and self._now_us() - self._next_at_us > MOST_BEHIND_US
        return self._told_behind

    @property
    def broken(self) -> BaseException | None:
        """Why it places nothing any more, or lost a call; ``None`` while it works."""
        if self._task.done() and not self._task.cancelled():
            return self._task.exception()
        return self._failure

    def put(self, placement: Placement) -> None:
        """One more call, whose slot is not before that of the last one."""
        self._queue.put_nowait(placement)

    def look(self) -> None:
        """There may be headroom again."""
        self._news.set()

    async def close(self) -> None:
        """Give back what has not been placed, wait for what is being placed, and end."""
        self._closing.set()
        self._news.set()
        if not self._task.done():
            await self._queue.join()
        if self._under_way:
            await asyncio.wait(self._under_way)
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await self._task

    async def _run(self) -> None:
        while True:
            placement = await self._queue.get()
            self._held = 1
            self._next_at_us = placement.at_us
            if self._told_behind and not self.is_behind():
                self._caught_up()
            if self._closing.is_set():
                self._give_back(placement.lease)
            elif await self._prepare(placement):
                if await self._its_turn(placement):
                    self._start(placement)
                else:
                    self._give_back(placement.lease)
            self._held = 0
            self._queue.task_done()
            if self._queue.empty():
                self._next_at_us = None
                if self._told_behind:
                    self._told_behind = False
                    self._caught_up()

    async def _its_turn(self, placement: Placement) -> bool:
        """Wait until the call may start. False when that is too late, or the placer is being closed."""
        while not self._closing.is_set():
            self._news.clear()
            now_us = self._now_us()
            opens_us: int | None = None
            if placement.lease.probe or self._headroom() > len(self._under_way):
                opens_us = self._guard.opens_at(placement.at_us, placement.route.calls_per_second)
            if max(now_us, opens_us or 0) > placement.leave_by_us:
                return False
            if opens_us is not None and opens_us <= now_us:
                return True
            await self._wait_until(placement.leave_by_us + 1 if opens_us is None else opens_us)
        return False

    def _start(self, placement: Placement) -> None:
        confirmed = self._guard.started(self._now_us(), placement.route.calls_per_second)

        async def place() -> None:
            try:
                await self._place(placement)
            except Exception as error:  # noqa: BLE001 - the dialler finds it and ends in good order
                self._failure = error
            finally:
                confirmed(self._now_us())
                self._news.set()
                self._under_way.discard(placing)

        placing = asyncio.create_task(place())
        self._under_way.add(placing)

    async def _wait_until(self, at_us: int) -> None:
        """Until that instant, or news."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout((at_us - self._now_us()) / MICROSECONDS):
                await self._news.wait()

    def _now_us(self) -> int:
        return round(self._clock.monotonic() * MICROSECONDS)
