"""The same seed is the same run: in this process, in another one, whatever Python's hashes are."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ringback.simulator.plan import ALL_ILLS, Knobs, draw
from ringback.simulator.world import run_seed

SEEDS = (3, 17, 28, 116, 263)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_tells_the_same_story_again(seed: int) -> None:
    once, again = (run_seed(seed, trace=True) for _ in range(2))
    assert len(once.story) > 5
    assert once == again


def test_a_story_is_the_same_whether_it_is_told_or_not() -> None:
    for seed in range(20):
        told, silent = run_seed(seed, trace=True), run_seed(seed)
        assert (told.calls, told.rounds, told.seconds, told.faults) == (
            silent.calls,
            silent.rounds,
            silent.seconds,
            silent.faults,
        )


def test_a_story_does_not_depend_on_pythons_hashes() -> None:
    tell = "import sys; from ringback.simulator.world import run_seed\n"
    tell += "for seed in sys.argv[1:]: print(*run_seed(int(seed), trace=True).story, sep='\\n')"
    stories = set()
    for hashes in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hashes, "PYTHONPATH": os.pathsep.join(sys.path)}
        told = subprocess.run(
            [sys.executable, "-c", tell, *map(str, SEEDS)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        stories.add(told.stdout)
    assert len(stories) == 1
    assert "worker 1" in stories.pop()


def test_other_seeds_are_other_plans_and_the_same_seed_is_not() -> None:
    plans = [draw(seed, Knobs(ills=ALL_ILLS)) for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]


def test_without_faults_nothing_strikes() -> None:
    results = [run_seed(seed, Knobs(ills=())) for seed in range(10)]
    assert all(not result.faults and not result.violations for result in results)
    assert sum(result.calls for result in results) > 20


def test_days_make_a_longer_run() -> None:
    result = run_seed(1, Knobs(days=3))
    assert result.seconds >= 3 * 86_400
    assert result.violations == []
