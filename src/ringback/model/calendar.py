"""When a job may call: days of the week, dates, times of day and a period, beside the plain windows of a task.

Days, dates and times of day are those of the callee. As with :mod:`.windows`, a number in several zones is called only
when all of them are open, and one whose zone is unknown is not called: what cannot be decided is not dialled.
"""

from __future__ import annotations

from datetime import date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from ringback.model.windows import MINUTES_A_DAY, Window, zones_of

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_MINUTE_MS = 60_000
#: A year of closed dates, and a week over it for the days of the week.
LOOK_AHEAD_DAYS = 373


class Dates(msgspec.Struct, frozen=True):
    """``first`` to ``last``, both included."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError("a range of dates must not end before it starts")


class Calendar(msgspec.Struct, frozen=True, kw_only=True):
    """``windows``: times of day to call in, none for all day. ``pauses``: times of day not to. ``days``: days of
    the week to call on (ISO: Monday is 1), none for all. ``closed``: dates not to. ``from_ms`` (included) and
    ``until_ms`` (excluded): the period, epoch ms, ``None`` for no end.
    """

    windows: tuple[Window, ...] = ()
    pauses: tuple[Window, ...] = ()
    days: frozenset[int] = frozenset()
    closed: tuple[Dates, ...] = ()
    from_ms: int | None = None
    until_ms: int | None = None

    def __post_init__(self) -> None:
        if not self.days <= frozenset(range(1, 8)):
            raise ValueError("days of the week are 1 (Monday) to 7 (Sunday)")
        if self.from_ms is not None and self.until_ms is not None and self.until_ms <= self.from_ms:
            raise ValueError("a period must end after it starts")

    @property
    def is_local(self) -> bool:
        """Whether it asks for the callee's day or time at all."""
        return bool(self.windows or self.pauses or self.days or self.closed)


def is_open(calendar: Calendar, zone_key: str, now_ms: int) -> bool:
    """Whether numbers of that zone key may be called now."""
    if calendar.from_ms is not None and now_ms < calendar.from_ms:
        return False
    if _is_over(calendar, now_ms):
        return False
    return not calendar.is_local or _is_open_in(calendar, zone_key, now_ms // _MINUTE_MS)


def next_opening(calendar: Calendar, zone_key: str, now_ms: int) -> int | None:
    """The first instant at or after now when it is open, epoch ms; ``None`` when there is none in the look-ahead, which
    is counted from the start of the period when that is still to come.
    """
    start = now_ms if calendar.from_ms is None else max(now_ms, calendar.from_ms)
    if is_open(calendar, zone_key, start):
        return start
    if _is_over(calendar, start):
        # Its last minute may have begun inside the period: that is no opening to come.
        return None
    minute = _opening_after(calendar, zone_key, start // _MINUTE_MS)
    if minute is None or _is_over(calendar, minute * _MINUTE_MS):
        return None
    return minute * _MINUTE_MS


def _is_over(calendar: Calendar, at_ms: int) -> bool:
    return calendar.until_ms is not None and at_ms >= calendar.until_ms


# As with windows: every lease asks for every zone, and the answer changes by the minute only.
@lru_cache(maxsize=16_384)
def _is_open_in(calendar: Calendar, zone_key: str, minute: int) -> bool:
    zones = zones_of(zone_key)
    return bool(zones) and all(_closed_minutes(calendar, zone, minute) == 0 for zone in zones)


@lru_cache(maxsize=16_384)
def _opening_after(calendar: Calendar, zone_key: str, minute: int) -> int | None:
    zones = zones_of(zone_key)
    last = minute + LOOK_AHEAD_DAYS * MINUTES_A_DAY
    while zones and minute <= last:
        wait = max(_closed_minutes(calendar, zone, minute) for zone in zones)
        if wait == 0:
            return minute
        minute += wait
    return None


def _closed_minutes(calendar: Calendar, zone: ZoneInfo, minute: int) -> int:
    """0 when open in this minute (of the epoch), else for how many minutes it surely is not."""
    local = datetime.fromtimestamp(minute * 60, zone)
    of_day = local.hour * 60 + local.minute
    if not _is_day_open(calendar, local.date()):
        changes = {0}
    elif _is_time_open(calendar, of_day):
        return 0
    else:
        changes = {0, *(window.start for window in calendar.windows), *(pause.end for pause in calendar.pauses)}
    wait = min((change - of_day - 1) % MINUTES_A_DAY + 1 for change in changes)
    if datetime.fromtimestamp((minute + wait) * 60, zone).utcoffset() == local.utcoffset():
        return wait
    # The clocks change before then, and it may open with that: changes happen on quarters of an hour.
    return min(wait, 15 - minute % 15)


def _is_day_open(calendar: Calendar, day: date) -> bool:
    if calendar.days and day.isoweekday() not in calendar.days:
        return False
    return not any(dates.first <= day <= dates.last for dates in calendar.closed)


def _is_time_open(calendar: Calendar, of_day: int) -> bool:
    if any(pause.holds(of_day) for pause in calendar.pauses):
        return False
    return not calendar.windows or any(window.holds(of_day) for window in calendar.windows)
