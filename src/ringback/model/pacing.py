"""Pacing: when the next calls of a trunk may start. Spread evenly, so a carrier never sees a burst.

Each trunk keeps the instant of its next free slot. Slots are 1/rate apart; time that passed unused is lost, not saved
up, so any rolling second holds at most rate + 1 starts. Times are epoch microseconds.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

MICROSECONDS = 1_000_000
#: How late a busy machine may wake us without costing a trunk its rate, microseconds.
SLACK_US = 10_000


def spacing_us(rate: float) -> int:
    """The distance between two starts, in microseconds, rounded up so that the rate is never exceeded.

    ``rate`` is in calls per second. Raises ValueError unless it is positive and finite, and so is the distance.
    """
    if not (rate > 0 and math.isfinite(rate) and math.isfinite(MICROSECONDS / rate)):
        raise ValueError(f"rate must be a positive number of calls per second, got {rate!r}")
    return math.ceil(MICROSECONDS / rate)


def take_slots(
    *, now_us: int, next_slot_us: int, rate: float, horizon_us: int, limit: int, reach_us: int | None = None
) -> tuple[list[int], int]:
    """Take at most ``limit`` slots that start within ``horizon_us`` from now.

    Returns the slots in order and the next free slot afterwards. ``reach_us`` is how far ahead any worker takes slots
    (``horizon_us`` unless given): a next slot beyond that means that the clock was set back; it is drawn in, for a
    trunk must not stand still because of that. The caller keeps the next slot even when there were no slots, or it
    would be drawn in anew each time.
    """
    step = spacing_us(rate)
    reach_us = horizon_us if reach_us is None else reach_us
    slot = max(now_us, next_slot_us if next_slot_us <= now_us + reach_us + step else now_us + horizon_us + step)
    slots: list[int] = []
    while len(slots) < limit and slot <= now_us + horizon_us:
        slots.append(slot)
        slot += step
    return slots, slot


class _Start(msgspec.Struct):
    """The INVITE of a call left at some instant from ``started_us`` to ``confirmed_us`` (``None``: not known yet)."""

    started_us: int
    confirmed_us: int | None = None


class PacingGuard:
    """Keeps the starts of one trunk in one process within the rate, whatever is late: we or the engine.

    When exactly an INVITE leaves is not known, only that it lies between handing the call to the engine and the
    engine's confirmation. With ``c = floor(rate + 1)``, a call may start when the one ``c`` before it, and all before
    that, were confirmed more than a second ago. So no second holds more than ``c`` INVITEs. After a hiccup the trunk
    catches up at twice its rate: ``n`` calls after one another take at least ``n - 1`` half distances, less the slack.
    Without that slack every call would cost a sleep, and a machine with much to do wakes us later than the next slot.
    Instants are monotonic microseconds.
    """

    def __init__(self) -> None:
        self._starts: deque[_Start] = deque()
        self._next_us: int | None = None

    def opens_at(self, slot_us: int, rate: float) -> int | None:
        """When a call planned for ``slot_us`` may start; ``None``: not before another confirmation has come."""
        earliest = slot_us
        if self._next_us is not None:
            earliest = max(earliest, self._next_us)
        in_a_second = math.floor(rate + 1)
        for before in islice(self._starts, max(0, len(self._starts) - in_a_second + 1)):
            if before.confirmed_us is None:
                return None
            earliest = max(earliest, before.confirmed_us + MICROSECONDS + 1)
        return earliest

    def started(self, at_us: int, rate: float) -> Callable[[int], None]:
        """A call is handed to the engine. Returns what to call with the instant of its confirmation, once."""
        while self._starts and (done := self._starts[0].confirmed_us) is not None and done + MICROSECONDS < at_us:
            self._starts.popleft()
        start = _Start(at_us)
        self._starts.append(start)
        due_us = at_us - SLACK_US
        self._next_us = (due_us if self._next_us is None else max(due_us, self._next_us)) + spacing_us(rate) // 2

        def confirmed(at_us: int) -> None:
            start.confirmed_us = at_us

        return confirmed
