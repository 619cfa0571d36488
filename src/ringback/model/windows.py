"""Calling windows: the times of day at which a callee may be called, in the callee's own time zone.

A number that may be in several zones is called only when the window is open in all of them; one whose zone is unknown
is not called at all while its task has windows: what cannot be decided is not dialled.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

MAX_WINDOWS = 3
MINUTES_A_DAY = 24 * 60


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
    if not windows:
        return True
    if not zone_key:
        return False
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    for name in zone_key.split(","):
        local = now.astimezone(_zone(name))
        minute = local.hour * 60 + local.minute
        if not any(window.holds(minute) for window in windows):
            return False
    return True


def next_opening(windows: tuple[Window, ...], zone_key: str, now_ms: int) -> int | None:
    """The first full minute at or after now when the window is open, epoch ms; ``None`` when not within two days."""
    if is_open(windows, zone_key, now_ms):
        return now_ms
    if not zone_key:
        return None
    minute = 60_000
    at = now_ms - now_ms % minute + minute
    # Edges are the only instants where the answer can change: local window starts, in each zone.
    for candidate in _starts_after(windows, zone_key, at):
        if is_open(windows, zone_key, candidate):
            return candidate
    return None


def _starts_after(windows: tuple[Window, ...], zone_key: str, at_ms: int) -> list[int]:
    starts = set()
    base = datetime.fromtimestamp(at_ms / 1000, UTC)
    for name in zone_key.split(","):
        zone = _zone(name)
        today = base.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
        for day in range(3):
            for window in windows:
                local = (today + timedelta(days=day)).replace(
                    hour=window.start // 60, minute=window.start % 60
                )
                # A local time that a DST change skips is read as the instant after the gap; one hour later is
                # tried too, for zones whose gap moves the opening.
                instant = int(local.timestamp() * 1000)
                starts.update({instant, instant + 3_600_000})
    return sorted(start for start in starts if start >= at_ms)


def _minute_of_day(text: str) -> int:
    hour, colon, minute = text.strip().partition(":")
    if not (colon and hour.isdecimal() and minute.isdecimal() and len(hour) <= 2 and len(minute) == 2):
        raise ValueError(f"must be a time of day HH:MM, got {text!r}")
    value = int(hour) * 60 + int(minute)
    if int(minute) > 59 or value > MINUTES_A_DAY:
        raise ValueError(f"must be a time of day HH:MM, got {text!r}")
    return value


@lru_cache(maxsize=512)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
