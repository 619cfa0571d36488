"""Pacing: never more than rate + 1 starts in a rolling second, never a standstill."""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringback.model.pacing import MICROSECONDS, SLACK_US, PacingGuard, spacing_us, take_slots

rates = st.one_of(st.floats(0.05, 3000), st.sampled_from([0.5, 1.0, 2.5, 3.0, 7.0, 30.0, 300.0, 1000.0]))
horizons = st.sampled_from([0, 1, 50_000, 100_000, 1_000_000])
START_US = 1_767_600_000_000_000


def most_in_a_second(instants: list[int]) -> int:
    """The most instants in any second, both of its ends included."""
    return max(
        (bisect.bisect_right(instants, at + MICROSECONDS) - index for index, at in enumerate(instants)), default=0
    )


@settings(deadline=None)
@given(rates)
def test_the_distance_never_exceeds_the_rate(rate: float) -> None:
    step = spacing_us(rate)
    assert step >= 1
    assert step * rate >= MICROSECONDS * (1 - 1e-12)
    assert (step - 1) * rate < MICROSECONDS * (1 + 1e-12)


@pytest.mark.parametrize("rate", [0, 0.0, -1, -0.5, math.nan, math.inf, -math.inf, 5e-324])
def test_a_rate_must_be_a_positive_number(rate: float) -> None:
    with pytest.raises(ValueError, match="positive number of calls per second"):
        spacing_us(rate)


@settings(deadline=None)
@given(
    rate=rates,
    horizon=horizons,
    asks=st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(0, 60)), min_size=1, max_size=40),
)
def test_no_burst_whenever_and_however_often_one_asks(rate: float, horizon: int, asks: list[tuple[int, int]]) -> None:
    now = START_US
    next_slot = 0
    handed: list[int] = []
    for wait, limit in asks:
        now += wait
        slots, next_slot = take_slots(now_us=now, next_slot_us=next_slot, rate=rate, horizon_us=horizon, limit=limit)
        assert len(slots) <= limit
        assert all(now <= slot <= now + horizon for slot in slots)
        handed += slots
    assert handed == sorted(handed)
    assert all(later - earlier >= spacing_us(rate) for earlier, later in pairwise(handed))
    assert most_in_a_second(handed) <= rate + 1


@settings(deadline=None)
@given(rate=st.floats(0.5, 500), horizon=st.sampled_from([50_000, 100_000]), late=st.integers(1, 10))
def test_the_rate_is_reached_when_asked_in_time(rate: float, horizon: int, late: int) -> None:
    tick = horizon * late // 10
    seconds = max(2, math.ceil(3 / rate))
    next_slot = 0
    handed = 0
    for now in range(START_US, START_US + seconds * MICROSECONDS, tick):
        slots, next_slot = take_slots(
            now_us=now, next_slot_us=next_slot, rate=rate, horizon_us=horizon, limit=1_000_000
        )
        handed += len(slots)
    assert handed >= seconds * MICROSECONDS // spacing_us(rate)


def test_time_that_passed_unused_is_lost() -> None:
    slots, _ = take_slots(
        now_us=START_US, next_slot_us=START_US - 3_600_000_000, rate=10, horizon_us=100_000, limit=100
    )
    assert slots == [START_US, START_US + 100_000]


@settings(deadline=None)
@given(
    rate=st.floats(0.5, 500),
    horizon=st.sampled_from([50_000, 100_000]),
    back=st.integers(1, 86_400_000_000),
    ticks=st.lists(st.integers(1_000, 50_000), min_size=30, max_size=60),
)
def test_a_clock_set_back_stops_a_trunk_for_a_moment_only(
    rate: float, horizon: int, back: int, ticks: list[int]
) -> None:
    _, next_slot = take_slots(now_us=START_US, next_slot_us=0, rate=rate, horizon_us=horizon, limit=1_000_000)
    set_back = now = START_US - back
    handed: list[int] = []
    for tick in ticks:
        slots, next_slot = take_slots(
            now_us=now, next_slot_us=next_slot, rate=rate, horizon_us=horizon, limit=1_000_000
        )
        handed += slots
        now += tick
    assert most_in_a_second(handed) <= rate + 1
    # Within one distance and two horizons there is a slot again, as far as it was asked for.
    if now - set_back > spacing_us(rate) + 2 * horizon:
        assert handed
        assert handed[0] <= set_back + horizon + spacing_us(rate)


@settings(deadline=None)
@given(
    rate=rates,
    delays=st.lists(st.tuples(st.integers(0, 400_000), st.integers(0, 1_500_000)), min_size=1, max_size=80),
    part=st.floats(0, 1),
    pick=st.randoms(use_true_random=False),
)
def test_no_second_holds_too_many_wherever_in_its_interval_each_invite_left(
    rate: float, delays: list[tuple[int, int]], part: float, pick: random.Random
) -> None:
    """We are late, and the engine takes its time to confirm: at any instant in between an INVITE may have left."""
    intervals = placed(rate, delays)
    starts = [started for started, _ in intervals]
    assert starts == sorted(starts)
    assert_gentle(starts, rate)
    for at in (lambda: 0.0, lambda: 1.0, lambda: part, pick.random, lambda: float(pick.random() < 0.5)):
        left = sorted(started + int((confirmed - started) * at()) for started, confirmed in intervals)
        assert most_in_a_second(left) <= rate + 1


@settings(deadline=None)
@given(rate=st.floats(1, 1000), delays=st.lists(st.integers(0, 8_000), min_size=1, max_size=20))
def test_quick_confirmations_do_not_cost_the_rate(rate: float, delays: list[int]) -> None:
    """Several are on their way at once: 6 ms to confirm is more than the distance of two calls at 200/s."""
    count = max(30, math.ceil(3 * rate))
    intervals = placed(rate, [(0, delays[number % len(delays)]) for number in range(count)])
    seconds = (intervals[-1][0] - intervals[0][0]) / MICROSECONDS
    assert (count - 1) / seconds >= 0.99 * rate


@settings(deadline=None)
@given(rate=st.floats(2, 500), hiccup=st.integers(10_000, 5_000_000))
def test_after_a_hiccup_it_catches_up_gently(rate: float, hiccup: int) -> None:
    step = spacing_us(rate)
    late = [max(0, hiccup - number * step) for number in range(math.ceil(6 * rate))]
    starts = [started for started, _ in placed(rate, [(each, 0) for each in late])]
    assert_gentle(starts, rate)
    assert most_in_a_second(starts) <= rate + 1


@settings(deadline=None)
@given(rate=st.floats(20, 1000), wakes=st.integers(1, 8_000))
def test_a_machine_that_wakes_us_late_costs_no_rate(rate: float, wakes: int) -> None:
    """Each sleep ends up to 8 ms late, which at 1,000/s is eight slots."""
    guard = PacingGuard()
    step, now = spacing_us(rate), 0
    count = math.ceil(3 * rate)
    for slot in range(0, count * step, step):
        while (opens := guard.opens_at(slot, rate)) is None or opens > now:
            assert opens is not None
            now = opens + wakes
        guard.started(now, rate)(now)
    assert (count - 1) / (now / MICROSECONDS) >= 0.99 * rate


def test_a_guard_in_time_adds_nothing() -> None:
    guard = PacingGuard()
    for slot in range(0, 5 * MICROSECONDS, 100_000):
        assert guard.opens_at(slot, 10) == slot
        guard.started(slot, 10)(slot + 1000)


def test_a_call_waits_for_the_confirmation_of_the_one_a_second_before() -> None:
    guard = PacingGuard()
    first = guard.started(0, 1)
    second = guard.started(500_000, 1)
    assert guard.opens_at(1_000_000, 1) is None
    second(600_000)
    assert guard.opens_at(1_000_000, 1) is None, "the first may leave at any time"
    first(700_000)
    assert guard.opens_at(1_000_000, 1) == 1_700_001
    assert guard.opens_at(1_000_000, 0.5) == 1_700_001
    assert guard.opens_at(1_000_000, 3) == 1_000_000


def assert_gentle(starts: list[int], rate: float) -> None:
    """Twice the rate at most, but for the slack."""
    half = spacing_us(rate) // 2
    ahead = [start - number * half for number, start in enumerate(starts)]
    highest = ahead[0]
    for each in ahead:
        assert each >= highest - SLACK_US
        highest = max(highest, each)


def placed(rate: float, delays: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Start calls at their slots, each with our lateness and the engine's time to confirm. Their intervals."""
    guard = PacingGuard()
    under_way: list[tuple[int, Callable[[int], None]]] = []
    intervals: list[tuple[int, int]] = []
    now = slot = 0
    for late, takes in delays:
        now = max(now, slot + late)
        while (opens := guard.opens_at(slot, rate)) is None or opens > now:
            waits_for = [confirmed_at for confirmed_at, _ in under_way]
            assert opens is not None or waits_for, "nothing can bring it on"
            now = min(waits_for) if opens is None else opens
            under_way = confirm(under_way, now)
        intervals.append((now, now + takes))
        under_way.append((now + takes, guard.started(now, rate)))
        under_way = confirm(under_way, now)
        slot += spacing_us(rate)
    return intervals


def confirm(under_way: list[tuple[int, Callable[[int], None]]], now: int) -> list[tuple[int, Callable[[int], None]]]:
    """Tell the confirmations that have come by now; return what is still under way."""
    for at, confirmed in under_way:
        if at <= now:
            confirmed(at)
    return [one for one in under_way if one[0] > now]
