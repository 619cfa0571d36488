"""What a lease plan is told of those who want calls: accounts, tasks, and the lanes of their queued numbers."""

from __future__ import annotations

import math

import msgspec

from ringback.model import calendar
from ringback.model.calendar import Calendar
from ringback.model.routing import Choice
from ringback.model.windows import Window, is_open, next_opening


class LaneView(msgspec.Struct, frozen=True):
    """The queued numbers of a task that share a time zone and a route.

    ``choices`` are the trunks that may carry them; without any, ``problem`` says why there is none.
    """

    zone: str
    queued: int
    prefix: str = ""
    choices: tuple[Choice, ...] = ()
    problem: str = ""


class TaskView(msgspec.Struct, frozen=True, kw_only=True):
    """What the plan needs of a task that is calling. ``served_us``: its latest slot, epoch microseconds."""

    id: int
    lines: int | None
    active: int
    windows: tuple[Window, ...]
    lanes: tuple[LaneView, ...]
    served_us: int
    account_id: int = 0
    calendar: Calendar | None = None

    def is_open(self, zone: str, now_ms: int) -> bool:
        """Whether numbers of that zone key may be called now."""
        if self.calendar is not None and not calendar.is_open(self.calendar, zone, now_ms):
            return False
        return is_open(self.windows, zone, now_ms)

    def next_opening(self, zone: str, now_ms: int) -> int | None:
        """The first instant at or after now when they may be called, as far as can be told; ``None``: not soon."""
        opening = next_opening(self.windows, zone, now_ms)
        if self.calendar is None or opening is None:
            return opening
        return calendar.next_opening(self.calendar, zone, opening)


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """What the plan needs of an account: most calls at once (``None``: any number), calls it has, its latest slot.

    ``stopped``: why it may start no call at all, for people; empty when it may.
    """

    id: int
    lines: int | None = None
    active: int = 0
    served_us: int = 0
    stopped: str = ""

    def left(self) -> float:
        """How many more calls it may have."""
        if self.stopped:
            return 0
        return math.inf if self.lines is None else max(0, self.lines - self.active)

    def why_none(self) -> str:
        """Why it may have no more calls."""
        return self.stopped or f"all {self.lines} lines of the account are in use"
