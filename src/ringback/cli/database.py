"""`ringback migrate`: the database's schema."""

from __future__ import annotations

import typer

from ringback.cli.common import run, settings
from ringback.clock import RealClock
from ringback.store.database import shown_url
from ringback.store.opening import migrate as bring_up_to_date


def migrate() -> None:
    """Bring the database to the schema of this version. SQLite does so by itself; PostgreSQL waits for this command."""
    in_force = settings()
    run(bring_up_to_date(in_force.database_url, RealClock()))
    typer.echo(f"{shown_url(in_force.database_url)} is up to date")
