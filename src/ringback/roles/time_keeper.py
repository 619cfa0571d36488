"""The time keeper: processes on several machines use one wall clock, that of their database.

Each measures how far its own clock is off, as by NTP: the database's time belongs to the middle of the question's way
there and back, so the answer that came soonest errs least. Time that only passes is the machine's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from ringback.model.pacing import MICROSECONDS
from ringback.store.database import Bell
from ringback.store.refusals import is_passing
from ringback.store.server_time import server_now_us

if TYPE_CHECKING:
    from ringback.clock import ShiftedClock
    from ringback.store.database import Store

log = structlog.get_logger(__name__)

EVERY_SECONDS: Final = 10.0
#: How many questions make a measurement.
_QUESTIONS: Final = 5
#: A change of more than this is worth a word, microseconds.
_NOTABLE_US: Final = 100_000


async def keep_time(store: Store, clock: ShiftedClock) -> int:
    """Set the clock by the database. Returns how far the answer may err at most, microseconds."""
    errs_us, shift_us = min([await _ask(store, clock) for _ in range(_QUESTIONS)])
    if abs(shift_us - clock.shift_us) > _NOTABLE_US:
        log.warning("clock_differs_from_the_database", seconds=shift_us / MICROSECONDS)
    clock.shift_us = shift_us
    return errs_us


async def _ask(store: Store, clock: ShiftedClock) -> tuple[int, int]:
    async with store.read() as tx:
        asked, own_us = clock.monotonic(), clock.now_us() - clock.shift_us
        theirs_us = await server_now_us(tx)
        way_us = round((clock.monotonic() - asked) * MICROSECONDS)
    return way_us // 2, theirs_us - own_us - way_us // 2


class TimeKeeper:
    """:meth:`run` works until :meth:`stop` is called."""

    def __init__(self, store: Store, clock: ShiftedClock) -> None:
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
