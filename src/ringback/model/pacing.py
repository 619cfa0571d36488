"""Pacing: when the next calls of a trunk may start. Spread evenly, so a carrier never sees a burst.

Each trunk keeps the instant of its next free slot. Slots are 1/rate apart; time that passed unused is lost, not saved
up, so any rolling second holds at most rate + 1 starts. Times are epoch microseconds.
"""

from __future__ import annotations

import math

MICROSECONDS = 1_000_000


def spacing_us(rate: float) -> int:
    """The distance between two starts, in microseconds, rounded up so that the rate is never exceeded.

    ``rate`` is in calls per second. Raises ValueError unless it is positive and finite, and so is the distance.
    """
    if not (rate > 0 and math.isfinite(rate) and math.isfinite(MICROSECONDS / rate)):
        raise ValueError(f"rate must be a positive number of calls per second, got {rate!r}")
    return math.ceil(MICROSECONDS / rate)


def take_slots(*, now_us: int, next_slot_us: int, rate: float, horizon_us: int, limit: int) -> tuple[list[int], int]:
    """Take at most ``limit`` slots that start within ``horizon_us`` from now.

    Returns the slots in order and the next free slot afterwards. A next slot beyond what an earlier call could have
    taken means that the clock was set back; it is drawn in, for a trunk must not stand still because of that. The
    caller keeps the next slot even when there were no slots, or it would be drawn in anew each time.
    """
    step = spacing_us(rate)
    slot = max(now_us, min(next_slot_us, now_us + horizon_us + step))
    slots: list[int] = []
    while len(slots) < limit and slot <= now_us + horizon_us:
        slots.append(slot)
        slot += step
    return slots, slot


class Gate:
    """Keeps the starts of one trunk in one process apart even when the process was late.

    A late process would send all its overdue calls at once; the gate spaces them again.
    """

    def __init__(self) -> None:
        self._last_us: int | None = None

    def opens_at(self, slot_us: int, rate: float) -> int:
        """When a call planned for ``slot_us`` may leave, epoch microseconds."""
        if self._last_us is None:
            return slot_us
        earliest = self._last_us + spacing_us(rate)
        # A last start far in the future means that the clock was set back.
        return slot_us if earliest > slot_us + 10 * MICROSECONDS + spacing_us(rate) else max(slot_us, earliest)

    def passed(self, at_us: int) -> None:
        """A call left at ``at_us``."""
        self._last_us = at_us
