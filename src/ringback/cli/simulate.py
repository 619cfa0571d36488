"""`ringback simulate`: the dialler under the virtual clock, with faults by seed, and every promise checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.table import Table

from ringback.cli.common import console, fail

if TYPE_CHECKING:
    from ringback.simulator.many import Summary
    from ringback.simulator.plan import Knobs


def simulate(
    seed: Annotated[int, typer.Option(help="The first seed.", min=0)] = 0,
    seeds: Annotated[int, typer.Option(help="How many seeds, one after the other.", min=1)] = 1,
    days: Annotated[float, typer.Option(help="How long users are busy, in days; 0: as the seed says.", min=0)] = 0.0,
    faults: Annotated[bool, typer.Option("--faults/--no-faults", help="Whether anything goes wrong.")] = True,
    workers: Annotated[int, typer.Option(help="How many workers dial together; 0: one to three, by seed.", min=0)] = 0,
    only: Annotated[list[str] | None, typer.Option(help="Only this kind of fault; may be repeated.")] = None,
    processes: Annotated[int | None, typer.Option(help="How many processes; one a core by default.", min=1)] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Tell the story of one seed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Run the real dialler in simulated worlds and check every promise. Exit code 1 when one is broken.

    The same seed is always the same run.
    """
    from ringback.simulator.many import run_many
    from ringback.simulator.plan import ALL_ILLS, Ill, Knobs

    try:
        ills = tuple(Ill(kind) for kind in only) if only else ALL_ILLS
    except ValueError as error:
        fail(f"--only: {error}; there are {', '.join(Ill)}")
    knobs = Knobs(days=days, workers=workers, ills=ills if faults else ())
    if trace:
        if seeds != 1:
            fail("--trace tells the story of one seed; leave --seeds out")
        _tell(seed, knobs)
        return
    summary = run_many(
        range(seed, seed + seeds),
        knobs,
        processes=processes,
        told=lambda failure: None if as_json else typer.echo(str(failure)),
    )
    if as_json:
        typer.echo(msgspec.json.encode({"first_seed": seed, **msgspec.structs.asdict(summary)}).decode())
    else:
        _print(summary)
    raise typer.Exit(1 if summary.failures else 0)


def _tell(seed: int, knobs: Knobs) -> None:
    from ringback.simulator.world import run_seed

    result = run_seed(seed, knobs, trace=True)
    for line in result.story:
        typer.echo(line)
    for one in result.violations:
        typer.echo(f"broken: {one.promise}, at {one.at}: {one.what}")
    raise typer.Exit(1 if result.violations else 0)


def _print(summary: Summary) -> None:
    console.print(
        f"{summary.seeds} seeds, {summary.days:.1f} simulated days: {summary.tasks} tasks, {summary.rounds} rounds, "
        f"{summary.calls} calls"
    )
    faults = Table("fault", "times")
    for kind, times in summary.faults.items():
        faults.add_row(kind, str(times))
    if summary.faults:
        console.print(faults)
    promises = Table("promise", "seeds that broke it")
    for promise, broken in summary.violations.items():
        promises.add_row(promise, str(broken))
    console.print(promises)
