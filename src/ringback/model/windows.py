"""Calling windows: the times of day at which a callee may be called, in the callee's own time zone.

A number that may be in several zones is called only when the window is open in all of them; one whose zone is unknown
is not called at all while its task has windows: what cannot be decided is not dialled.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

MAX_WINDOWS = 3
MINUTES_A_DAY = 24 * 60
_MINUTE_MS = 60_000
_LOOK_AHEAD_MINUTES = 2 * MINUTES_A_DAY
_TIME_OF_DAY = re.compile(r"([0-9]{1,2}):([0-5][0-9])")


class Window(msgspec.Struct, frozen=True):
    """``start`` (included) to ``end`` (excluded), minutes after local midnight; an end before the start spans it."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not (0 <= self.start < MINUTES_A_DAY and 0 < self.end <= MINUTES_A_DAY):
            raise ValueError("a window starts between 00:00 and 23:59 and ends between 00:01 and 24:00")
        if self.start == self.end:
            raise ValueError("a window must not end when it starts")

    def holds(self, minute: int) -> bool:
        """Whether the minute of the day lies inside."""
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


def parse_window(start: str, end: str) -> Window:
    """A window from two ``HH:MM`` texts. Raises ValueError with a text for people."""
    return Window(_minute_of_day(start), _minute_of_day(end))


def is_open(windows: tuple[Window, ...], zone_key: str, now_ms: int) -> bool:
    """Whether numbers of that zone key may be called now. Without windows: always. Unknown zone: never."""
    return not windows or _is_open_in(windows, zone_key, now_ms // _MINUTE_MS)


def next_opening(windows: tuple[Window, ...], zone_key: str, now_ms: int) -> int | None:
    """The first instant at or after now when the window is open, epoch ms: now itself, or the start of a minute.

    ``None`` when it does not open within two days.
    """
    if is_open(windows, zone_key, now_ms):
        return now_ms
    minute = _opening_after(windows, zone_key, now_ms // _MINUTE_MS)
    return None if minute is None else minute * _MINUTE_MS


# A lease asks for every zone of every task, many times a second, and the answer changes by the minute only.
@lru_cache(maxsize=16_384)
def _is_open_in(windows: tuple[Window, ...], zone_key: str, minute: int) -> bool:
    zones = zones_of(zone_key)
    return bool(zones) and _closed_minutes(windows, zones, minute) == 0


@lru_cache(maxsize=16_384)
def _opening_after(windows: tuple[Window, ...], zone_key: str, minute: int) -> int | None:
    zones = zones_of(zone_key)
    last = minute + _LOOK_AHEAD_MINUTES
    while zones and minute <= last:
        wait = _closed_minutes(windows, zones, minute)
        if wait == 0:
            return minute
        minute += wait
    return None


def _closed_minutes(windows: tuple[Window, ...], zones: tuple[ZoneInfo, ...], minute: int) -> int:
    """0 when every zone is open in this minute (of the epoch), else for how many minutes one of them is surely not."""
    return max(_closed_minutes_in(windows, zone, minute) for zone in zones)


def _closed_minutes_in(windows: tuple[Window, ...], zone: ZoneInfo, minute: int) -> int:
    local = _local(zone, minute)
    of_day = local.hour * 60 + local.minute
    if any(window.holds(of_day) for window in windows):
        return 0
    wait = min((window.start - of_day) % MINUTES_A_DAY for window in windows)
    if _local(zone, minute + wait).utcoffset() == local.utcoffset():
        return wait
    # The clocks change before then, and the window may open with that: changes happen on quarters of an hour.
    return min(wait, 15 - minute % 15)


def _local(zone: ZoneInfo, minute: int) -> datetime:
    return datetime.fromtimestamp(minute * 60, zone)


def _minute_of_day(text: str) -> int:
    written = _TIME_OF_DAY.fullmatch(text.strip())
    value = int(written[1]) * 60 + int(written[2]) if written else None
    if value is None or value > MINUTES_A_DAY:
        raise ValueError(f"must be a time of day HH:MM, got {text!r}")
    return value


@lru_cache(maxsize=512)
def zones_of(zone_key: str) -> tuple[ZoneInfo, ...]:
    """The zones of a key; none when one of them is not known here, so that what cannot be decided is not dialled."""
    try:
        return tuple(ZoneInfo(name) for name in zone_key.split(",")) if zone_key else ()
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ()
