"""Many seeds, on all cores, summed up."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from ringback.simulator.call_promises import OF_A_CALL
from ringback.simulator.outcome import RunResult, Violation
from ringback.simulator.recall_rules import OF_A_FLOW
from ringback.simulator.run_promises import OF_A_RUN
from ringback.simulator.world import COUNTERS, NOTHING_BREAKS, run_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ringback.simulator.plan import Knobs

#: Every promise that is checked, in the order of the report.
PROMISES = (*OF_A_CALL, *OF_A_RUN, *OF_A_FLOW, COUNTERS, NOTHING_BREAKS)
#: So many seeds a process takes at once.
_PART = 20
#: Runs make cycles, but not so many that they must be looked for all the time.
_GARBAGE_THRESHOLD = 20_000


class Failure(msgspec.Struct, frozen=True):
    """A promise that a seed has broken."""

    seed: int
    at: str
    promise: str
    what: str

    def __str__(self) -> str:
        return f"seed {self.seed}  {self.at}  {self.promise}: {self.what}"


class Summary(msgspec.Struct, kw_only=True):
    """What came of many seeds. ``faults`` by kind, ``violations`` by promise: seeds that broke it."""

    seeds: int = 0
    tasks: int = 0
    calls: int = 0
    rounds: int = 0
    days: float = 0.0
    faults: dict[str, int] = {}
    violations: dict[str, int] = {}
    failures: list[Failure] = []

    def add(self, result: RunResult) -> None:
        """One more seed."""
        self.seeds += 1
        self.tasks += result.tasks
        self.calls += result.calls
        self.rounds += result.rounds
        self.days += result.seconds / 86_400
        self.faults = dict(sorted((Counter(self.faults) + Counter(result.faults)).items()))
        found = [Failure(result.seed, one.at, one.promise, one.what) for one in result.violations]
        self.failures += found
        counted = Counter(self.violations) + Counter(one.promise for one in found)
        self.violations = {promise: counted[promise] for promise in PROMISES}


def run_many(
    seeds: Sequence[int],
    knobs: Knobs,
    *,
    processes: int | None = None,
    told: Callable[[Failure], None] = lambda _failure: None,
) -> Summary:
    """Run the seeds, on so many processes (one a core unless told otherwise). ``told`` hears of each failure."""
    summary = Summary()
    parts = [seeds[start : start + _PART] for start in range(0, len(seeds), _PART)]
    workers = min(len(parts), processes or os.cpu_count() or 1)

    def add(results: list[RunResult]) -> None:
        for result in results:
            known = len(summary.failures)
            summary.add(result)
            for failure in summary.failures[known:]:
                told(failure)

    if workers <= 1:
        for part in parts:
            add(_run_part(knobs, part))
        return summary
    with ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_prepare
    ) as processing:
        for results in processing.map(partial(_run_part, knobs), parts):
            add(results)
    return summary


def _run_part(knobs: Knobs, seeds: Sequence[int]) -> list[RunResult]:
    return [_run(knobs, seed) for seed in seeds]


def _run(knobs: Knobs, seed: int) -> RunResult:
    try:
        return run_seed(seed, knobs)
    except Exception as error:  # noqa: BLE001 - one seed must not hide what the others find
        broken = Violation(NOTHING_BREAKS, "", f"the run broke: {error!r}")
        return RunResult(seed=seed, violations=[broken], calls=0, rounds=0, tasks=0, seconds=0.0, faults={})


def _prepare() -> None:
    """What a process needs once, and the garbage collector need not look at again."""
    run_seed(0)
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_THRESHOLD)
