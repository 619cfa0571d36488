"""How a benchmark reports: one line a figure, and the same as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Column, Table

RESULTS = Path(__file__).parent / "results"


class Report:
    """Collects the figures of one benchmark."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._figures: list[dict[str, Any]] = []

    def figure(
        self, name: str, value: float, unit: str, *, goal: float | None = None, better: Literal["less", "more"] = "less"
    ) -> None:
        """Print and keep one figure. Without a goal it is there to be compared with."""
        met = goal is None or (value <= goal if better == "less" else value >= goal)
        sign = "" if goal is None else ("<=" if better == "less" else ">=")
        shown = "none" if goal is None else f"{sign}{goal:g}"
        print(f"FIGURE {name} {value:.3f} {unit} goal={shown} {'met' if met else 'short'}", flush=True)
        self._figures.append({"name": name, "value": value, "unit": unit, "goal": goal, "better": better, "met": met})

    def table(self) -> None:
        """Print every figure once more, as a table."""
        table = Table(
            Column("figure", no_wrap=True), Column("value", justify="right"), "unit", "goal", "", title=self._name
        )
        for one in self._figures:
            goal, better = one["goal"], "<=" if one["better"] == "less" else ">="
            state = "" if goal is None else ("met" if one["met"] else "short")
            table.add_row(
                str(one["name"]),
                f"{one['value']:.3f}",
                str(one["unit"]),
                *("" if goal is None else f"{better} {goal:g}", state),
            )
        Console().print(table)

    def write(self) -> None:
        """Write bench/results/<name>.json."""
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self._name}.json"
        path.write_text(json.dumps(self._figures, indent=2) + "\n")
