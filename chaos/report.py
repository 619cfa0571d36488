"""What a run found: a table for people, JSON for later."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from rich.console import Console
from rich.table import Column, Table

if TYPE_CHECKING:
    from chaos.run import Result

RESULTS: Final = Path(__file__).parent / "results"
#: So many violations of a promise are printed; the JSON has all.
SHOWN: Final = 5


def show(result: Result) -> None:
    """Print it."""
    console = Console(width=150, highlight=False)
    table = Table(
        "promise", Column("checked", justify="right"), Column("broken", justify="right"), "",
        title=f"{result.calls} calls in {result.seconds:.0f} s, seed {result.plan.seed}",
    )  # fmt: skip
    for check in result.checks:
        table.add_row(check.promise, str(check.checked), str(len(check.broken)), check.note)
    console.print(table)
    made = ", ".join(f"{name} ×{count}" for name, count in sorted(result.made.items()))
    console.print(f"faults: {made or 'none'}")
    for name, why in result.left_out.items():
        console.print(f"not made: {name} ({why})")
    if not result.completed:
        console.print("the campaign did not complete in time; its rest was cancelled")
    for check in result.checks:
        for line in check.broken[:SHOWN]:
            console.print(f"BROKEN {check.promise}: {line}", markup=False)


def write(result: Result) -> Path:
    """Write chaos/results/seed-<seed>.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"seed-{result.plan.seed}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2))
    return path
