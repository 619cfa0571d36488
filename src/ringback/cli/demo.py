"""`ringback demo`: a recall flow against the carrier in the box, on real SIP where the embedded engine has a wheel."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ringback.cli.common import run


def demo(
    leave: Annotated[bool, typer.Option("--exit", help="End by itself even on a terminal.")] = False,
) -> None:
    """Make a group call with three recall rounds against the built-in carrier, and check every outcome."""
    from ringback.cli.demo_run import run_demo  # heavy: other commands must not wait for it
    from ringback.telephony.sip.engine import available
    from ringback.voice.speech import installed_voice

    missing = available()
    if missing:
        typer.echo(f"note: {missing}\nnote: the demo runs on the sandbox engine: no SIP, no audio", err=True)
    if installed_voice() is None:
        typer.echo("note: no voice is installed, so texts are played as notes", err=True)
    problems = run(run_demo("sandbox" if missing else "sip"))
    for problem in problems:
        typer.echo(f"wrong: {problem}", err=True)
    if not problems:
        typer.echo("Every call ended as its number calls for, and nobody was called twice in one round.")
    if sys.stdin.isatty() and not leave:
        typer.prompt("Press Enter to end", default="", show_default=False)
    raise typer.Exit(1 if problems else 0)
