"""`ringback run`: a campaign from a file, on a running server or on one of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ringback.cli.common import configure_logging, run, settings


def run_campaign(
    campaign: Annotated[Path, typer.Argument(help="The campaign, a YAML file.")],
    server: Annotated[str | None, typer.Option(help="Address of a running server; default: one of its own.")] = None,
    account: Annotated[str | None, typer.Option(help="Account of an own server; default: the only one.")] = None,
    api_key: Annotated[str | None, typer.Option(help="API key for a running server.")] = None,
    api_secret: Annotated[str | None, typer.Option(help="API secret for a running server.")] = None,
) -> None:
    """Call the numbers of a campaign, recall them as it says, and show progress until all is done."""
    from ringback.cli.campaign_run import Target, run_file  # heavy: other commands must not wait for it

    in_force = settings(listen=None if server else "127.0.0.1:0")
    configure_logging(in_force)
    target = Target(server=server, account=account, api_key=api_key, api_secret=api_secret)
    raise typer.Exit(run(run_file(campaign, target, in_force)))
