"""The product with one thing broken in it: the simulator finds it, and says where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ringback.model import pacing, supply
from ringback.model.audience import RecallType, audience_of
from ringback.roles import vigil
from ringback.simulator.plan import Knobs
from ringback.simulator.world import run_seed
from ringback.store import calls, denials, node_start, nodes, outlook, queue, tasks

Patch = Callable[[pytest.MonkeyPatch], None]


def _settled_calls_go_back(patch: pytest.MonkeyPatch) -> None:
    """What a dead worker held is queued again, as job queues do."""

    async def ended(tx: Any, worker_id: int, results: Any, now_ms: int, **more: Any) -> list[int]:
        lost = [one for one in results if one.outcome == "unknown"]
        if lost:
            await calls.released(tx, worker_id, [(one.call_id, one.lease_no) for one in lost])
        rest = [one for one in results if one.outcome != "unknown"]
        return await real(tx, worker_id, rest, now_ms, **more) if rest else []

    async def held(*found: Any, **_: Any) -> Any:
        return await real_held(*found, by_settler=True)

    real, real_held = calls.ended, calls._held
    patch.setattr(calls, "ended", ended)
    patch.setattr(calls, "_held", held)


def _nodes_are_due_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(nodes, "due_at", lambda finished_ms, _interval, _minute: finished_ms)


def _all_are_recalled(patch: pytest.MonkeyPatch) -> None:
    real = node_start.rule_of

    def rule_of(row: Any) -> Any:
        return msgspec.structs.replace(real(row), audience=audience_of(RecallType.ALL, ()))

    patch.setattr(node_start, "rule_of", rule_of)


def _the_dead_are_not_missed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(vigil.Vigil, "_seen", lambda _self, one: vigil._Watched(one.beats))


def _a_pause_changes_nothing(patch: pytest.MonkeyPatch) -> None:
    async def suspend(*_: Any, **__: Any) -> int:
        return 0

    patch.setattr(tasks, "suspend", suspend)


def _windows_are_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    real = outlook.task_view
    patch.setattr(outlook, "task_view", lambda one: msgspec.structs.replace(real(one), windows=()))


def _lines_are_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    real = outlook.task_view
    patch.setattr(outlook, "task_view", lambda one: msgspec.structs.replace(real(one), lines=None))


def _all_at_once(patch: pytest.MonkeyPatch) -> None:
    """Slots a microsecond apart, and a guard that guards nothing."""
    patch.setattr(supply, "spacing_us", lambda _rate: 1)
    patch.setattr(pacing, "spacing_us", lambda _rate: 1)
    patch.setattr(pacing.PacingGuard, "opens_at", lambda _self, slot_us, _rate: slot_us)


def _denied_are_dialled(patch: pytest.MonkeyPatch) -> None:
    async def none(*_: Any) -> int:
        return 0

    patch.setattr(denials, "skip_denied", none)
    patch.setattr(queue, "_written", lambda callee, _rule, _denied: (callee, ""))


def _results_are_dropped(patch: pytest.MonkeyPatch) -> None:
    async def ended(*_: Any, **__: Any) -> list[int]:
        return []

    patch.setattr(calls, "ended", ended)


def _counters_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: Any) -> None:
        """Lines stay busy."""

    patch.setattr(calls, "_free_lines", nothing)


@pytest.mark.parametrize(
    ("sabotage", "promise", "seeds"),
    [
        (_settled_calls_go_back, "at most once", 40),
        (_nodes_are_due_at_once, "recall: never early", 20),
        (_all_are_recalled, "recall: right audience", 20),
        (_a_pause_changes_nothing, "stop means stop", 80),
        (_windows_are_not_looked_at, "calling windows", 60),
        (_lines_are_not_looked_at, "lines of a task", 40),
        (_all_at_once, "calls per second", 20),
        (_denied_are_dialled, "denied numbers", 60),
        (_results_are_dropped, "nothing lost", 2),
        (_counters_are_forgotten, "counters", 2),
        (_the_dead_are_not_missed, "nothing stalls", 60),
    ],
)
def test_a_saboteur_is_found(monkeypatch: pytest.MonkeyPatch, sabotage: Patch, promise: str, seeds: int) -> None:
    sabotage(monkeypatch)
    assert found(promise, seeds)


def found(promise: str, seeds: int, knobs: Knobs | None = None) -> bool:
    """Whether one of the seeds breaks that promise."""
    return any(promise in {one.promise for one in run_seed(seed, knobs).violations} for seed in range(seeds))
