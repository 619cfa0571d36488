"""`ringback serve`: the server."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Annotated

import structlog
import typer

from ringback.cli.common import configure_logging, run, settings
from ringback.cli.garbage import collect_seldom
from ringback.cli.role import Role
from ringback.clock import RealClock
from ringback.store.database import shown_url

if TYPE_CHECKING:
    from ringback.cli.server import Server

log = structlog.get_logger(__name__)


def serve(
    role: Annotated[list[Role] | None, typer.Option(help="Run only this role; repeat for several.")] = None,
    listen: Annotated[str | None, typer.Option(help="Where the API listens, HOST:PORT.")] = None,
) -> None:
    """Run the server: API, dialler and conductor in one process."""
    from ringback.cli.server import Server  # heavy: other commands must not wait for it

    collect_seldom()
    in_force = settings(listen=listen)
    configure_logging(in_force)

    async def work() -> None:
        loop = asyncio.get_running_loop()
        async with Server(in_force, RealClock(), frozenset(role or Role)) as server:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, _on_signal, server)
            if server.url:
                typer.echo(f"ringback listening on {server.url}")
            if server.held:
                typer.echo(f"ringback dials nobody: {server.held}")
            typer.echo(f"ringback ready: {in_force.telephony} telephony, {shown_url(in_force.database_url)}")
            await server.wait()

    run(work())


_asked = False


def _on_signal(server: Server) -> None:
    global _asked  # noqa: PLW0603 - the second signal must be told from the first, and a process has one of these
    if _asked:
        # The calls in the air are settled on the next start.
        os._exit(130)
    _asked = True
    server.stop()
    log.info("stopping", hint="once more ends at once")
