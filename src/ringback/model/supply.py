"""What a trunk can give a plan: slots its rate apart, lines, and after trouble a single probe."""

from __future__ import annotations

import msgspec

from ringback.model.breaker import MOST_UNANSWERED, PROBE_PATIENCE_MS, Breaker
from ringback.model.pacing import spacing_us, take_slots


class TrunkView(msgspec.Struct, frozen=True, kw_only=True):
    """What the plan needs of a trunk. ``rate`` in calls per second; ``next_slot_us`` epoch microseconds.

    While its breaker is open it is out of service, and routes go on to trunks of a higher priority number.
    ``headroom``: how many more calls may leave before one gets a response; ``None`` when nobody counts.
    """

    id: int
    name: str
    rate: float
    channels: int
    busy: int
    next_slot_us: int
    breaker: Breaker = Breaker()
    headroom: int | None = None


class Supply:
    """The slots and lines of one trunk, taken one by one. One that is shut has a single line: the probe's, when due."""

    def __init__(self, trunk: TrunkView, now_us: int, horizon_us: int, reach_us: int) -> None:
        self.trunk = trunk
        self.taken = 0
        self.retry_us: int | None = None
        self._now_ms = now_us // 1000
        self._last_us = now_us + horizon_us
        self._step_us = spacing_us(trunk.rate)
        self._most = max(0, trunk.channels - trunk.busy)
        _, self.slot_us = take_slots(
            now_us=now_us,
            next_slot_us=trunk.next_slot_us,
            rate=trunk.rate,
            horizon_us=horizon_us,
            reach_us=reach_us,
            limit=0,
        )
        retry_ms = trunk.breaker.retry_ms(self._now_ms)
        if retry_ms is not None:
            self.retry_us = max(now_us, retry_ms * 1000)
            self.slot_us = max(self.slot_us, self.retry_us)
            self._most = min(self._most, 1)
        elif trunk.headroom is not None:
            self._most = min(self._most, trunk.headroom)

    @property
    def in_service(self) -> bool:
        """Whether it takes calls now: its breaker is closed, or its probe is due and has not been given out."""
        return self.retry_us is None or (self.retry_us <= self._last_us and not self.taken)

    @property
    def busy(self) -> int:
        """Lines in use, with those given out here."""
        return self.trunk.busy + self.taken

    @property
    def full(self) -> bool:
        """Whether it has no line left."""
        return self.taken >= self._most

    @property
    def has_slot(self) -> bool:
        """Whether it has a line and a slot before the horizon."""
        return not self.full and self.slot_us <= self._last_us

    @property
    def moved(self) -> bool:
        """Whether its next slot is another one than before."""
        # Drawn in after the clock was set back, or handed out.
        return self.taken > 0 or self.slot_us < self.trunk.next_slot_us

    def take(self) -> int:
        """Give out the earliest slot, epoch microseconds."""
        slot_us = self.slot_us
        self.slot_us += self._step_us
        self.taken += 1
        return slot_us

    def why_none(self) -> str:
        """Why it has no line; empty when all of them are busy."""
        trunk = self.trunk
        if self.retry_us is not None and (self.taken or not self.in_service or trunk.busy < trunk.channels):
            return f"trunk {trunk.name} is shut: {trunk.breaker.reason}; {trunk.breaker.next_try(self._now_ms)}"
        if self.retry_us is None and self.busy < trunk.channels:
            return f"trunk {trunk.name} has not responded to the last {MOST_UNANSWERED} calls"
        return ""

    def retry_after_us(self) -> int | None:
        """When time alone lets it be tried again, if it is shut."""
        if self.retry_us is not None and self.taken:
            return ((self.slot_us - self._step_us) // 1000 + PROBE_PATIENCE_MS) * 1000  # as the store will keep it
        return None if self.in_service else self.retry_us
