"""Calling windows against a minute-by-minute walk, over the days on which clocks change too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringback.model.windows import MINUTES_A_DAY, Window, is_open, next_opening, parse_window

ZONES = [
    "UTC",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "America/New_York",
    "Europe/London",
    "Australia/Lord_Howe",  # moves by half an hour
    "Africa/Cairo",  # moves at midnight
    "America/Santiago",  # moves at midnight, southern summer
    "Pacific/Chatham",  # at 02:45 local time
]
YEAR = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE_MS = 60_000


def transitions(name: str) -> list[datetime]:
    """The instants of the year at which the zone's clocks change, found by looking at every quarter of an hour."""
    zone = ZoneInfo(name)
    quarters = [YEAR + timedelta(minutes=15 * number) for number in range(366 * 96)]
    offsets = [instant.astimezone(zone).utcoffset() for instant in quarters]
    return [
        instant for instant, before, after in zip(quarters[1:], offsets, offsets[1:], strict=False) if before != after
    ]


CHANGES = {name: transitions(name) for name in ZONES}

minutes = st.integers(0, MINUTES_A_DAY) | st.integers(0, 300)
windows = (
    st.tuples(minutes, minutes)
    .filter(lambda ends: ends[0] != ends[1] and ends[0] < MINUTES_A_DAY and ends[1] > 0)
    .map(lambda ends: Window(*ends))
)
Case = tuple[tuple[Window, ...], str, int]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Windows, a key, and epoch ms: mostly in the hours before or after the clocks of a zone of that key change."""
    names = draw(
        st.lists(st.sampled_from(ZONES), min_size=1, max_size=draw(st.sampled_from([1, 1, 2, 3])), unique=True)
    )
    allowed = draw(st.lists(windows, min_size=1, max_size=draw(st.sampled_from([1, 1, 2, 3]))))
    changes = [instant for name in names for instant in CHANGES[name]]
    if changes and draw(st.integers(0, 4)) > 0:
        instant = draw(st.sampled_from(changes)) + timedelta(minutes=draw(st.integers(-400, 120)))
    else:
        instant = YEAR + timedelta(minutes=draw(st.integers(0, 365 * MINUTES_A_DAY)))
    now_ms = int(instant.timestamp()) * 1000 + draw(st.sampled_from([0, 1, 30_000, 59_999]))
    return tuple(allowed), ",".join(sorted(names)), now_ms


def open_by_the_clock_on_the_wall(allowed: tuple[Window, ...], key: str, instant: datetime) -> bool:
    for name in key.split(","):
        wall = instant.astimezone(ZoneInfo(name))
        text = f"{wall:%H:%M}"
        inside = False
        for window in allowed:
            start, end = (f"{edge // 60:02}:{edge % 60:02}" for edge in (window.start, window.end))
            inside |= start <= text < end if start < end else text >= start or text < end
        if not inside:
            return False
    return True


def test_the_year_has_the_changes_that_are_meant() -> None:
    assert {name: len(found) for name, found in CHANGES.items()} == {
        "UTC": 0,
        "Asia/Kolkata": 0,
        "Asia/Kathmandu": 0,
        "America/New_York": 2,
        "Europe/London": 2,
        "Australia/Lord_Howe": 2,
        "Africa/Cairo": 2,
        "America/Santiago": 2,
        "Pacific/Chatham": 2,
    }


@settings(deadline=None, max_examples=200)
@given(cases())
def test_open_is_what_the_clock_on_the_wall_says(case: Case) -> None:
    allowed, key, now_ms = case
    instant = datetime.fromtimestamp(now_ms / 1000, UTC)
    assert is_open(allowed, key, now_ms) == open_by_the_clock_on_the_wall(allowed, key, instant)


@settings(deadline=None, max_examples=200)
@given(cases())
def test_the_next_opening_is_the_first_open_minute(case: Case) -> None:
    allowed, key, now_ms = case
    this_minute = now_ms - now_ms % MINUTE_MS
    walk = (this_minute + step * MINUTE_MS for step in range(2 * MINUTES_A_DAY + 1))
    first = next(
        (at for at in walk if open_by_the_clock_on_the_wall(allowed, key, datetime.fromtimestamp(at / 1000, UTC))),
        None,
    )
    expected = now_ms if first == this_minute else first
    assert next_opening(allowed, key, now_ms) == expected


@pytest.mark.parametrize(
    ("key", "window", "now", "opens"),
    [
        # The gap from 02:00 to 03:00 swallows the start: it opens at 03:00, which is the first local minute after it.
        ("America/New_York", Window(150, 210), "2026-03-08T06:00", "2026-03-08T07:00"),
        # The whole window falls into the gap: not that night.
        ("America/New_York", Window(120, 180), "2026-03-08T06:00", "2026-03-09T06:00"),
        # 01:00 to 01:30 comes twice: the second time begins when the clocks go back.
        ("America/New_York", Window(60, 90), "2026-11-01T05:45", "2026-11-01T06:00"),
        # It closed at 01:30, and the clocks going back reopen it at 01:00.
        ("America/New_York", Window(1380, 90), "2026-11-01T05:31", "2026-11-01T06:00"),
        # Half an hour back at 02:00.
        ("Australia/Lord_Howe", Window(60, 105), "2026-04-04T14:50", "2026-04-04T15:00"),
        # Both must be open: London's morning has to wait for New York's.
        ("America/New_York,Europe/London", Window(540, 1080), "2026-06-01T08:30", "2026-06-01T13:00"),
        # Open where one is closed, for ever: never.
        ("Asia/Kolkata,UTC", Window(0, 60), "2026-06-01T00:30", None),
    ],
)
def test_when_clocks_change(key: str, window: Window, now: str, opens: str | None) -> None:
    def ms(text: str) -> int:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000

    assert next_opening((window,), key, ms(now)) == (None if opens is None else ms(opens))


@pytest.mark.parametrize("key", ["", "Mars/Phobos", "UTC,Mars/Phobos", "UTC,", "America", "../UTC", "/etc/localtime"])
def test_an_unknown_zone_is_never_open(key: str) -> None:
    always = (Window(0, MINUTES_A_DAY),)
    assert not is_open(always, key, 1_800_000_000_000)
    assert next_opening(always, key, 1_800_000_000_000) is None


@pytest.mark.parametrize("key", ["", "Mars/Phobos", "UTC"])
def test_without_windows_the_zone_does_not_matter(key: str) -> None:
    assert is_open((), key, 1_800_000_000_123)
    assert next_opening((), key, 1_800_000_000_123) == 1_800_000_000_123


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("09:00", "18:00", Window(540, 1080)),
        ("9:00", " 18:30 ", Window(540, 1110)),
        ("00:00", "24:00", Window(0, 1440)),
        ("22:00", "06:00", Window(1320, 360)),
    ],
)
def test_a_window_is_written_with_two_times(start: str, end: str, expected: Window) -> None:
    assert parse_window(start, end) == expected


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("24:00", "06:00"),
        ("09:00", "00:00"),
        ("09:00", "09:00"),
        ("09:00", "24:01"),
        ("09:60", "10:00"),
        ("25:00", "26:00"),
        ("9", "10"),
        ("", "10:00"),
        ("09:0", "10:00"),
        (":00", "10:00"),
        ("09:00:00", "10:00"),
        ("-1:00", "10:00"),
        ("+9:00", "10:00"),
        ("٠٩:٠٠", "10:00"),
        ("0９:00", "10:00"),
        ("9 :00", "10:00"),
    ],
)
def test_what_is_no_window_is_refused(start: str, end: str) -> None:
    with pytest.raises(ValueError, match=r"time of day|a window"):
        parse_window(start, end)


@pytest.mark.parametrize(("start", "end"), [(-1, 60), (1440, 60), (0, 0), (60, 60), (0, 1441), (60, 0)])
def test_a_window_lies_inside_a_day(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="a window"):
        Window(start, end)
