"""Two thousand worlds with faults: no promise is broken in any of them."""

from __future__ import annotations

from ringback.simulator.many import PROMISES, run_many
from ringback.simulator.plan import ALL_ILLS, Ill, Knobs

SEEDS = 2_000


def test_no_seed_breaks_a_promise() -> None:
    summary = run_many(range(SEEDS), Knobs())
    assert [str(failure) for failure in summary.failures] == []
    assert summary.violations == dict.fromkeys(PROMISES, 0)
    # It was no quiet time: every kind of fault has struck, many times, and much was dialled all the same.
    assert set(summary.faults) == {str(ill) for ill in ALL_ILLS}
    assert min(summary.faults.values()) >= SEEDS // 50
    assert summary.faults[Ill.KILL] >= SEEDS // 5
    assert summary.calls >= 3 * SEEDS
    assert summary.rounds >= SEEDS // 3
