"""The time keeper: processes on several machines use one wall clock, that of their database.

Each measures how far its own clock is off, as by NTP: the database's time belongs to the middle of the question's way
there and back, so the answer that came soonest errs least. Time that only passes is the machine's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from ringback.model.pacing import MICROSECONDS
from ringback.store.database import Bell
from ringback.store.refusals import is_passing
from ringback.store.server_time import server_now_us

if TYPE_CHECKING:
    from ringback.clock import KeptClock
    from ringback.store.database import Store

log = structlog.get_logger(__name__)

EVERY_SECONDS: Final = 10.0
#: How many questions make a measurement.
_QUESTIONS: Final = 5
#: A change of more than this is worth a word, microseconds.
_NOTABLE_US: Final = 100_000


async def keep_time(store: Store, clock: KeptClock) -> int:
    """Set the clock by the database. Returns how far the answer may err at most, microseconds."""
    best = min([await _ask(store, clock) for _ in range(_QUESTIONS)])
    off_us = best.theirs_us - (clock.now_us() - round((clock.monotonic() - best.at) * MICROSECONDS))
    if abs(off_us) > _NOTABLE_US:
        log.warning("clock_differs_from_the_database", seconds=off_us / MICROSECONDS)
    clock.keep(best.theirs_us, best.at)
    return best.errs_us


class _Answer(msgspec.Struct, frozen=True, order=True):
    """The database's time when monotonic time was ``at``, seconds, give or take ``errs_us``."""

    errs_us: int
    theirs_us: int
    at: float


async def _ask(store: Store, clock: KeptClock) -> _Answer:
    async with store.read() as tx:
        asked = clock.monotonic()
        theirs_us = await server_now_us(tx)
        answered = clock.monotonic()
    return _Answer(round((answered - asked) * MICROSECONDS / 2), theirs_us, (asked + answered) / 2)


class TimeKeeper:
    """:meth:`run` works until :meth:`stop` is called."""

    def __init__(self, store: Store, clock: KeptClock) -> None:
        self._store = store
        self._clock = clock
        self._bell = Bell()
        self._stopping = False

    def stop(self) -> None:
        """Measure no more."""
        self._stopping = True
        self._bell.ring()

    async def run(self) -> None:
        """Work until stopped."""
        while True:
            await self._bell.wait(EVERY_SECONDS)
            if self._stopping:
                return
            try:
                await keep_time(self._store, self._clock)
            except Exception as error:
                if not is_passing(error):
                    raise
                log.warning("time_not_kept", error=str(error) or type(error).__name__)
