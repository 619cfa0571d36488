"""Pacing: never more than rate + 1 starts in a rolling second, never a standstill."""

from __future__ import annotations

import bisect
import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringback.model.pacing import MICROSECONDS, Gate, spacing_us, take_slots

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
@given(rate=rates, lateness=st.lists(st.integers(0, 400_000), min_size=1, max_size=60))
def test_a_late_process_does_not_catch_up_in_a_burst(rate: float, lateness: list[int]) -> None:
    gate = Gate()
    now = START_US
    left: list[int] = []
    slot = START_US
    for late in lateness:
        opens = gate.opens_at(slot, rate)
        assert opens >= slot
        now = max(now, slot + late, opens)
        gate.passed(now)
        left.append(now)
        slot += spacing_us(rate)
    assert all(later - earlier >= spacing_us(rate) for earlier, later in pairwise(left))
    assert most_in_a_second(left) <= rate + 1


def test_a_gate_in_time_adds_nothing() -> None:
    gate = Gate()
    for slot in range(START_US, START_US + MICROSECONDS, 100_000):
        assert gate.opens_at(slot, 10) == slot
        gate.passed(slot)


def test_a_gate_does_not_wait_for_a_time_before_the_clock_was_set_back() -> None:
    gate = Gate()
    gate.passed(START_US)
    slot = START_US - 3_600_000_000
    assert gate.opens_at(slot, 10) == slot
