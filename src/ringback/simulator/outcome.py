"""What comes of a run."""

from __future__ import annotations

import msgspec


class Violation(msgspec.Struct, frozen=True):
    """A promise that was broken, at an instant of the run (ISO 8601, UTC)."""

    promise: str
    at: str
    what: str


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a seed. ``seconds`` is how long it took in the world; ``story`` is there when it was traced."""

    seed: int
    violations: list[Violation]
    calls: int
    rounds: int
    tasks: int
    seconds: float
    faults: dict[str, int]
    story: list[str] = []
