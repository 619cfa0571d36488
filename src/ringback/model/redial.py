"""Redial by number inside a job: whether a number is called again after a call, and from when on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from ringback.model.result_status import ResultStatus, outcomes_of

if TYPE_CHECKING:
    from ringback.model.outcome import Outcome


class Redial(msgspec.Struct, frozen=True):
    """``conditions``: results after which a number is called again. ``interval_minutes``: recall minutes from the end
    of a call to the next one. ``times``: redials of one number at most, its first call not counted.
    """

    conditions: frozenset[ResultStatus]
    interval_minutes: int
    times: int

    def __post_init__(self) -> None:
        if self.interval_minutes < 0:
            raise ValueError(f"redialInterval: must not be negative, got {self.interval_minutes}")
        if self.times < 0:
            raise ValueError(f"redialTimes: must not be negative, got {self.times}")

    def due_at(self, outcome: Outcome, ended_ms: int, *, redials_made: int, minute_seconds: float) -> int | None:
        """The instant (epoch ms) from which the number may be called again: never early, so a part of a millisecond
        counts as a whole one. ``None`` when it is not called again.

        ``redials_made``: how many redials the ended call and those before it were. ``minute_seconds``: the length of a
        recall minute.
        """
        if redials_made >= self.times or outcome not in outcomes_of(self.conditions):
            return None
        return math.ceil(ended_ms + self.interval_minutes * minute_seconds * 1000)
