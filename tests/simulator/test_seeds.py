"""Two thousand worlds with faults: no promise is broken in any of them."""

from __future__ import annotations

import pytest

from ringback.simulator.many import PROMISES, run_many
from ringback.simulator.plan import ALL_ILLS, Ill, Knobs

#: So many in each of four tests, which run beside one another.
SEEDS = 500


@pytest.mark.parametrize("first", range(0, 4 * SEEDS, SEEDS))
def test_no_seed_breaks_a_promise(first: int) -> None:
    summary = run_many(range(first, first + SEEDS), Knobs())
    assert [str(failure) for failure in summary.failures] == []
    assert summary.violations == dict.fromkeys(PROMISES, 0)
    # It was no quiet time: every kind of fault has struck, many times, and much was dialled all the same.
    assert set(summary.faults) == {str(ill) for ill in ALL_ILLS}
    assert min(summary.faults.values()) >= SEEDS // 50
    assert summary.faults[Ill.KILL] >= SEEDS // 5
    assert summary.calls >= 3 * SEEDS
    assert summary.rounds >= SEEDS // 3
