"""`ringback migrate` and `ringback move-store`: the database's schema, and the way from SQLite to PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ringback.cli.common import UserError, opened, run, settings
from ringback.clock import RealClock
from ringback.store.database import parsed_url, shown_url
from ringback.store.lock import DiallerLock
from ringback.store.moving import CannotMove, move
from ringback.store.opening import migrate as bring_up_to_date
from ringback.store.opening import open_store
from ringback.store.sqlite import sqlite_file

if TYPE_CHECKING:
    from ringback.store.moving import Moved


def migrate() -> None:
    """Bring the database to the schema of this version. SQLite does so by itself; PostgreSQL waits for this command."""
    in_force = settings()
    run(bring_up_to_date(in_force.database_url, RealClock()))
    typer.echo(f"{shown_url(in_force.database_url)} is up to date")


def move_store(
    to: Annotated[str, typer.Argument(metavar="URL", help="postgresql://USER:PASSWORD@HOST/NAME: an empty database.")],
) -> None:
    """Move everything from the SQLite database of the settings into PostgreSQL, also what is under way.

    The server must not run. The SQLite database dials nobody any more afterwards.
    """
    in_force = settings()

    async def work() -> Moved:
        clock = RealClock()
        if sqlite_file(in_force.database_url) is None:
            raise UserError("database_url names no SQLite file: there is nothing to move")
        if parsed_url(to).get_backend_name() != "postgresql":
            raise UserError("URL must be postgresql://USER:PASSWORD@HOST/NAME")
        lock = DiallerLock(in_force.database_url)
        lock.acquire()
        try:
            await bring_up_to_date(to, clock)
            target = await open_store(to, clock)
            try:
                async with opened(in_force, clock) as source:
                    return await move(source, target, shown_target=shown_url(to), now_ms=clock.now_ms())
            except CannotMove as error:
                raise UserError(str(error)) from None
            finally:
                await target.close()
        finally:
            lock.release()

    moved = run(work())
    typer.echo(
        f"{moved.rows['account']} accounts, {moved.rows['task']} tasks, {moved.rows['call']} calls and "
        f"{moved.rows['flow']} recall flows are in {shown_url(to)} now"
    )
    typer.echo(f"{shown_url(in_force.database_url)} dials nobody any more. Then:")
    typer.echo("export RINGBACK_DATABASE_URL=" + shown_url(to))
