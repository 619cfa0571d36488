"""What the simulator has found in the product once, kept small."""

from __future__ import annotations

import pytest

from ringback.model.audience import RecallType
from ringback.model.flow import FlowSpec
from ringback.model.sandbox_numbers import SILENT
from ringback.model.task import Limits
from ringback.simulator.outcome import RunResult
from ringback.simulator.plan import Deed, Fault, Ill, Plan, TaskPlan, TrunkPlan, Wish
from ringback.simulator.world import run_plan

SEEDS = range(40, 60)


def _fault(ill: Ill, *, chance: float = 1.0, at: float = 0.0, size: float = 1.0) -> Fault:
    return Fault(at=at, ill=ill, seconds=60.0, steps=1, slot=0, trunk=0, outage=SILENT, size=size, chance=chance)


def _run(seed: int, numbers: int, ending: str, faults: tuple[Fault, ...], deeds: tuple[Deed, ...] = ()) -> RunResult:
    """One task on a fast trunk."""
    task = TaskPlan(
        name="task",
        at=0.0,
        send_in=None,
        numbers=tuple(f"49300{number:03d}{ending}" for number in range(numbers)),
        limits=Limits(ring_seconds=20, call_seconds=30),
        template="asking",
        flow=None,
    )
    trunk = TrunkPlan(name="t1", rate=20.0, channels=100, priority=1, weight=1)
    return run_plan(
        Plan(
            seed=seed,
            start_ms=1_767_600_000_000,
            seconds=90.0,
            workers=1,
            can_be_asked=False,
            lines=1000,
            trunks=(trunk,),
            tasks=(task,),
            deeds=deeds,
            faults=faults,
        )
    )


@pytest.mark.parametrize("promise", ["at most once", "nothing lost"])
def test_a_commit_in_doubt_breaks_no_promise(promise: str) -> None:
    """Committed, and the caller gets an error: a lost connection to a database server.

    Many INVITEs are too late and given back. A release that is tried again must not give back the next lease of the
    same call, which is in the air; and a lease in doubt must not hold its calls until the worker is started again.
    """
    faults = (_fault(Ill.ENGINE_SLOW, chance=0.5), _fault(Ill.COMMIT_IN_DOUBT, chance=0.2))
    results = [_run(seed, 6, "00", faults) for seed in SEEDS]
    assert [one for result in results for one in result.violations if one.promise == promise] == []


def test_a_pause_holds_when_the_clock_has_just_been_set_forward() -> None:
    """A call leased before must not leave after the pause has returned."""
    deed = Deed(
        at=1.022,
        wish=Wish.PAUSE,
        task=0,
        at_due=False,
        offset=0.0,
        seconds=10.0,
        flow=FlowSpec(recall_type=RecallType.ALL, interval_minutes=1, rounds=1),
    )
    result = _run(1, 60, "85", (_fault(Ill.CLOCK_SET, at=1.021, size=2.0),), (deed,))
    assert result.faults == {Ill.CLOCK_SET: 1}
    assert [str(one) for one in result.violations] == []
