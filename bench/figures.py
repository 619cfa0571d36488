"""How a benchmark reports: one line a figure, and the same as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

RESULTS = Path(__file__).parent / "results"


class Report:
    """Collects the figures of one benchmark."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._figures: list[dict[str, object]] = []

    def figure(
        self, name: str, value: float, unit: str, *, goal: float | None = None, better: Literal["less", "more"] = "less"
    ) -> None:
        """Print and keep one figure. Without a goal it is there to be compared with."""
        met = goal is None or (value <= goal if better == "less" else value >= goal)
        sign = "" if goal is None else ("<=" if better == "less" else ">=")
        shown = "none" if goal is None else f"{sign}{goal:g}"
        print(f"FIGURE {name} {value:.3f} {unit} goal={shown} {'met' if met else 'short'}", flush=True)
        self._figures.append({"name": name, "value": value, "unit": unit, "goal": goal, "better": better, "met": met})

    def write(self) -> None:
        """Write bench/results/<name>.json."""
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self._name}.json"
        path.write_text(json.dumps(self._figures, indent=2) + "\n")
