"""The calendar of a job against a minute-by-minute walk, over the days on which clocks change too."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringback.model.calendar import Calendar, Dates, is_open, next_opening
from ringback.model.windows import MINUTES_A_DAY, Window

ZONES = ["UTC", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Pacific/Chatham"]
#: Near the changes of clocks of 2026 in those zones.
STARTS = [datetime(2026, *day, tzinfo=UTC) for day in ((3, 7), (4, 3), (9, 5), (9, 25), (10, 2), (10, 31), (6, 10))]
MINUTE_MS = 60_000
WALK_DAYS = 4

minutes = st.integers(0, MINUTES_A_DAY) | st.integers(0, 240)
windows = (
    st.tuples(minutes, minutes)
    .filter(lambda ends: ends[0] != ends[1] and ends[0] < MINUTES_A_DAY and ends[1] > 0)
    .map(lambda ends: Window(*ends))
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Calendar, list[str], int]:
    start = draw(st.sampled_from(STARTS)) + timedelta(minutes=draw(st.integers(0, 2 * MINUTES_A_DAY)))
    now_ms = round(start.timestamp() * 1000) + draw(st.integers(0, MINUTE_MS - 1))
    firsts = st.integers(-1, 4).map(lambda days: start.date() + timedelta(days=days))
    closed = st.tuples(firsts, st.integers(0, 2)).map(lambda of: Dates(of[0], of[0] + timedelta(days=of[1])))
    begins = draw(st.none() | st.integers(-MINUTE_MS, MINUTES_A_DAY * MINUTE_MS))
    lasts = draw(st.none() | st.integers(1, 3 * MINUTES_A_DAY * MINUTE_MS))
    calendar = Calendar(
        windows=tuple(draw(st.lists(windows, max_size=2))),
        pauses=tuple(draw(st.lists(windows, max_size=2))),
        days=draw(st.frozensets(st.integers(1, 7))),
        closed=tuple(draw(st.lists(closed, max_size=2))),
        from_ms=None if begins is None else now_ms + begins,
        until_ms=None if lasts is None else now_ms + (begins or 0) + lasts,
    )
    return calendar, draw(st.lists(st.sampled_from(ZONES), min_size=1, max_size=2, unique=True)), now_ms


def holds(window: Window, minute: int) -> bool:
    inside = [(window.start + step) % MINUTES_A_DAY for step in range((window.end - window.start) % MINUTES_A_DAY)]
    return minute in inside or (window.start == 0 and window.end == MINUTES_A_DAY)


def allowed(calendar: Calendar, names: list[str], at_ms: int) -> bool:
    """The rules, written out again."""
    begun = calendar.from_ms is None or at_ms >= calendar.from_ms
    over = calendar.until_ms is not None and at_ms >= calendar.until_ms
    if over or not begun:
        return False
    for name in names:
        local = datetime.fromtimestamp(at_ms // MINUTE_MS * 60, ZoneInfo(name))
        of_day = local.hour * 60 + local.minute
        if calendar.days and local.weekday() + 1 not in calendar.days:
            return False
        if any(dates.first <= local.date() <= dates.last for dates in calendar.closed):
            return False
        if any(holds(pause, of_day) for pause in calendar.pauses):
            return False
        if calendar.windows and not any(holds(window, of_day) for window in calendar.windows):
            return False
    return True


@settings(deadline=None, max_examples=150)
@given(cases())
def test_it_opens_when_the_rules_say_so_and_not_a_minute_before(case: tuple[Calendar, list[str], int]) -> None:
    calendar, names, now_ms = case
    key = ",".join(names)
    assert is_open(calendar, key, now_ms) == allowed(calendar, names, now_ms)
    opening = next_opening(calendar, key, now_ms)
    first = (now_ms // MINUTE_MS + 1) * MINUTE_MS
    instants = [now_ms, *range(first, first + WALK_DAYS * MINUTES_A_DAY * MINUTE_MS, MINUTE_MS)]
    if calendar.from_ms is not None and calendar.from_ms > now_ms:
        instants = sorted({*instants, calendar.from_ms})
    found = next((at for at in instants if allowed(calendar, names, at)), None)
    if found is None:
        assert opening is None or opening > instants[-1]
    else:
        assert opening == found


@pytest.mark.parametrize(
    "calendar",
    [
        Calendar(windows=(Window(240, 270),)),
        Calendar(pauses=(Window(0, 240),)),
        Calendar(days=frozenset({1})),
        Calendar(closed=(Dates(date(2026, 3, 8), date(2026, 3, 8)),)),
    ],
    ids=["window", "pause", "day", "date"],
)
def test_clocks_that_go_forward_open_it_an_hour_sooner(calendar: Calendar) -> None:
    """New York, 8 March 2026: 02:00 becomes 03:00."""
    place = ZoneInfo("America/New_York")
    before = datetime(2026, 3, 8, 0, 30, tzinfo=place)
    opens_on_the_day = calendar.windows or calendar.pauses
    opens = datetime(2026, 3, 8, 4, tzinfo=place) if opens_on_the_day else datetime(2026, 3, 9, tzinfo=place)
    assert next_opening(calendar, place.key, round(before.timestamp() * 1000)) == round(opens.timestamp() * 1000)


def test_an_unknown_zone_is_not_called_by_local_rules() -> None:
    for calendar in (Calendar(days=frozenset({1})), Calendar(closed=(Dates(date(2026, 1, 1), date(2026, 1, 1)),))):
        for key in ("", "Nowhere/Land", "UTC,Nowhere/Land"):
            assert not is_open(calendar, key, 0)
            assert next_opening(calendar, key, 0) is None
    assert is_open(Calendar(), "", 0), "without a rule there is nothing to decide"


def test_a_period_that_is_over_opens_no_more() -> None:
    assert next_opening(Calendar(until_ms=1000), "UTC", 1000) is None
    assert next_opening(Calendar(from_ms=5000), "UTC", 0) == 5000


def test_a_calendar_that_never_opens_is_found_out() -> None:
    always_closed = Calendar(windows=(Window(60, 120),), pauses=(Window(0, 180),))
    assert next_opening(always_closed, "Europe/London", 0) is None


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="Monday"):
        Calendar(days=frozenset({0}))
    with pytest.raises(ValueError, match="end after"):
        Calendar(from_ms=2, until_ms=2)
    with pytest.raises(ValueError, match="end before"):
        Dates(date(2026, 1, 2), date(2026, 1, 1))
