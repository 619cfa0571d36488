"""What every command shares: the settings, an open store, errors for people, logging."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import msgspec
import structlog
import typer
from rich.console import Console

from ringback.clock import Clock, RealClock
from ringback.settings import Settings, SettingsError, load_settings
from ringback.store import accounts, trunks
from ringback.store.database import StoreUnavailable
from ringback.store.opening import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable

    from ringback.store.database import Store, Tx
    from ringback.store.trunks import Trunk

T = TypeVar("T")

#: Where output is no terminal, tables get a fixed width that suits a log.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)


#: The largest id that the database can hold.
MAX_ID = 2**63 - 1


class UserError(Exception):
    """The command cannot be done; the text says why and is all that the user sees."""


def fail(text: str) -> NoReturn:
    """Print an error and end with exit code 1."""
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(1)


def settings(**given: Any) -> Settings:
    """The settings in force; ``given`` are options of the command line."""
    try:
        return load_settings(**given)
    except SettingsError as error:
        fail(str(error))


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine; known errors become one line for the user."""
    try:
        return asyncio.run(main)
    except (UserError, StoreUnavailable, SettingsError) as error:
        fail(str(error))


@contextlib.asynccontextmanager
async def opened(in_force: Settings, clock: Clock | None = None) -> AsyncIterator[Store]:
    """The store of these settings, closed again at the end."""
    store = await open_store(in_force.database_url, clock or RealClock())
    try:
        yield store
    finally:
        await store.close()


async def account_named(tx: Tx, name: str | None) -> int | None:
    """The id of the account that ``--account`` names; ``None`` when it is not given. Raises :class:`UserError`."""
    if name is None:
        return None
    found = await accounts.by_name(tx, name)
    if found is None:
        raise UserError(f"--account: there is no account {name!r}")
    return found.id


async def trunk_named(tx: Tx, name: str) -> Trunk:
    """The trunk of that name. Raises :class:`UserError`."""
    found = await trunks.by_name(tx, name)
    if found is None:
        raise UserError(f"there is no trunk {name!r}")
    return found


def checked(option: str, check: Callable[[str], str], value: str) -> str:
    """The value as ``check`` returns it. Raises :class:`UserError` that names the option."""
    try:
        return check(value)
    except ValueError as error:
        raise UserError(f"{option} {error}") from None


def print_lines(values: Iterable[dict[str, Any]]) -> None:
    """One JSON object a line, for programs."""
    for value in values:
        typer.echo(msgspec.json.encode(value).decode())


def configure_logging(in_force: Settings) -> None:
    """Log to standard error: for people, or one JSON object a line."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if in_force.log_format == "json"
        # Its own tracebacks show local variables, and those hold secrets and phone numbers.
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    level = logging.getLevelNamesMapping()[in_force.log_level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if in_force.log_format == "json" else _keep,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _StandardError(),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(
        level=max(level, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )


def iso(at_ms: int | None) -> str | None:
    """An instant for output: ISO 8601, UTC, milliseconds."""
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _StandardError:
    """Writes log lines to standard error. Where nobody reads it any more, lines are lost; calls go on."""

    def msg(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            print(line, file=sys.stderr, flush=True)

    log = debug = info = warning = error = critical = exception = msg


def _keep(_logger: Any, _name: str, event: Any) -> Any:
    return event
