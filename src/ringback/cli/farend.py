"""`ringback farend`: the carrier in the box."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ringback.cli.common import configure_logging, fail, settings


def farend(
    listen: Annotated[str, typer.Option(help="Where it takes calls, HOST:PORT; port 0 picks a free one.")],
    log: Annotated[Path | None, typer.Option(help="File for one JSON line per event.")] = None,
) -> None:
    """Run a SIP carrier that answers by the last two digits of the number called."""
    import asyncio

    from ringback.farend.main import FarEndError, serve

    configure_logging(settings())
    try:
        asyncio.run(serve(listen, log))
    except FarEndError as error:
        fail(str(error))
