"""How far ahead a dialler leases: enough for the trunk's rate, and never further than a stop waits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ringback.model.pacing import MICROSECONDS
from ringback.roles.control import LONGEST_LEASE_SECONDS
from ringback.roles.leasing import (
    GRACE_US,
    HORIZON_US,
    LONGEST_HORIZON_US,
    LONGEST_LEASE_DELAY_US,
    REACH_US,
    horizon_us,
)


def test_a_quick_lease_reaches_no_further_than_ever() -> None:
    assert horizon_us(0) == horizon_us(HORIZON_US // 2) == HORIZON_US


def test_a_lease_covers_more_time_than_it_takes() -> None:
    assert all(horizon_us(delay_us) > delay_us for delay_us in range(0, LONGEST_HORIZON_US, 1_000))


@given(st.integers(0, LONGEST_LEASE_DELAY_US))
def test_no_lease_reaches_further_than_all_workers_expect_or_a_stop_waits(delay_us: int) -> None:
    assert delay_us + horizon_us(delay_us) <= REACH_US
    assert REACH_US + GRACE_US <= LONGEST_LEASE_SECONDS * MICROSECONDS
