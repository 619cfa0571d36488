"""Taking leases: when the next is due, and what is done about one whose commit was never confirmed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ringback.model.pacing import MICROSECONDS
from ringback.store import leases

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringback.clock import Clock
    from ringback.roles.hold import Permit
    from ringback.roles.pulse import Pulse
    from ringback.store.database import Store
    from ringback.store.leases import LeaseBatch
    from ringback.telephony.port import Engine

#: How far ahead calls are leased, microseconds. Twice as far as a lease takes, up to the longest: one that covered less
#: time than it takes would cost a trunk its rate, on a busy database or with many workers.
HORIZON_US = 100_000
LONGEST_HORIZON_US = 400_000
#: How late a leased call may still leave, microseconds. A pause or cancel waits that long.
GRACE_US = 250_000
#: Slots begin when the lease is expected to be committed, but never later than this from now, microseconds.
LONGEST_LEASE_DELAY_US = 2_000_000
#: How far ahead a lease of any worker ends, at most, microseconds.
REACH_US = LONGEST_LEASE_DELAY_US + LONGEST_HORIZON_US
#: The shortest wait between two lease transactions, seconds.
SHORTEST_TICK_SECONDS = 0.005


def horizon_us(delay_us: int) -> int:
    """How far ahead to lease when that takes ``delay_us``, microseconds."""
    return min(LONGEST_HORIZON_US, max(HORIZON_US, 2 * delay_us))


class Leasing:
    """The leases of one worker, each with a number of its own."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        clock: Clock,
        pulse: Pulse,
        permit: Permit,
        *,
        worker_id: int,
        minute_seconds: float,
    ) -> None:
        self._store = store
        self._engine = engine
        self._clock = clock
        self._pulse = pulse
        self._permit = permit
        self._worker_id = worker_id
        self._minute_seconds = minute_seconds
        self._number = 0
        self._delay_us = 0
        self._in_doubt: int | None = None

    @property
    def in_doubt(self) -> bool:
        """Whether calls may be held of which nobody here knows."""
        return self._in_doubt is not None

    async def take(self, *, not_placed: int, headroom: Callable[[int], int]) -> LeaseBatch:
        """One lease transaction. ``not_placed``: calls that are leased and will take lines of the engine yet.

        Raises :class:`~ringback.store.workers.Fenced`, :class:`~ringback.store.provenance.DatabaseHeld`, and whatever
        the database refuses with.
        """
        await self.undo_doubtful()
        started = self._clock.monotonic()
        self._number += 1
        # Until the commit is confirmed: when the connection breaks in the middle of it, nobody knows.
        self._in_doubt = self._number
        async with self._store.write() as tx:
            batch = await leases.lease(
                tx,
                worker_id=self._worker_id,
                lease_no=self._number,
                engine=self._engine.name,
                now_us=self._clock.now_us() + self._delay_us,
                horizon_us=horizon_us(self._delay_us),
                grace_us=GRACE_US,
                reach_us=REACH_US,
                free_lines=max(0, self._engine.free_lines() - not_placed),
                engine_trouble=self._engine.trouble(),
                headroom=headroom,
                minute_seconds=self._minute_seconds,
            )
            if batch.leases:
                self._permit.follows(batch.number)
        self._in_doubt = None
        self._pulse.leased(Counter(lease.trunk_id for lease in batch.leases), batch.closed_at)
        if batch.leases:
            took_us = round((self._clock.monotonic() - started) * MICROSECONDS)
            # Follows a slow database at once and forgets it slowly, or every other lease would come too late.
            self._delay_us = min(LONGEST_LEASE_DELAY_US, max(took_us, (4 * self._delay_us + took_us) // 5))
        return batch

    async def undo_doubtful(self) -> None:
        """Give back what a lease gave out that was never confirmed. Raises as :meth:`take`."""
        if self._in_doubt is not None:
            async with self._store.write() as tx:
                await leases.undo(tx, self._worker_id, self._in_doubt)
            self._in_doubt = None

    def seconds_until(self, wake_us: int | None, poll_seconds: float) -> float:
        """How long to wait for the next lease when the plan says that time alone changes something at ``wake_us``."""
        if wake_us is None:
            return poll_seconds
        # Wake when the slot is half a horizon away: early enough to lease it, late enough to lease several at once.
        ahead = (wake_us - self._clock.now_us() - self._delay_us - horizon_us(self._delay_us) / 2) / MICROSECONDS
        return min(poll_seconds, max(SHORTEST_TICK_SECONDS, ahead))
