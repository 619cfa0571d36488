"""`ringback backup` and `ringback settle`: a copy of the database, and what to do when one has been put back."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import structlog
import typer

from ringback.cli.common import UserError, configure_logging, fail, iso, opened, run, settings
from ringback.cli.dialled_file import read_dialled
from ringback.clock import RealClock
from ringback.model.instants import instant
from ringback.roles.hold import check, hold_everything
from ringback.store import provenance, settling, workers
from ringback.store.backup import BackupFailed, back_up
from ringback.store.database import StoreUnavailable
from ringback.store.dialects import names_postgresql
from ringback.store.lock import DiallerLock
from ringback.store.settling import NotHeld, NothingMatches, Settled
from ringback.store.sqlite import sqlite_file
from ringback.store.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringback.clock import Clock
    from ringback.settings import Settings
    from ringback.store.database import Store, Tx

log = structlog.get_logger(__name__)

_HELD_BY_HAND = "it was held by hand"


def backup(file: Annotated[Path, typer.Argument(metavar="FILE", help="The copy; must not exist yet.")]) -> None:
    """Copy the SQLite database, also while it is in use. A copy that is put back dials nobody until it is settled."""
    in_force = settings()
    if names_postgresql(in_force.database_url):
        fail("PostgreSQL is backed up with pg_dump or pg_basebackup: see docs/operating.md")
    try:
        database = sqlite_file(in_force.database_url)
    except StoreUnavailable as error:
        fail(str(error))
    if database is None or not Path(database).exists():
        fail(f"there is no database file {database}" if database else "a database in memory cannot be backed up")

    async def work() -> int:
        clock = RealClock()
        # Opening it migrates it, so that a copy can always say what it is.
        async with opened(in_force, clock):
            try:
                return back_up(database, file, clock.now_ms())
            except BackupFailed as error:
                raise UserError(str(error)) from None

    typer.echo(f"{file}: {run(work())} bytes, checked")


def settle(
    nothing_lost: Annotated[
        bool, typer.Option("--nothing-lost", help="Nothing was dialled after this copy was made.")
    ] = False,
    dialled: Annotated[
        Path | None, typer.Option(metavar="FILE", help="FILE lists every number that was dialled since.")
    ] = None,
    all_dialled: Annotated[
        bool, typer.Option("--all-dialled", help="Take all that may have been dialled since as dialled.")
    ] = False,
    hold: Annotated[bool, typer.Option("--hold", help="Hold the database: nothing is dialled until settled.")] = False,
) -> None:
    """Say what a restored database dialled after the copy was made, so that it may dial again.

    Without an option: what is open, and which ways there are. The server must not run, but for --hold.
    """
    if sum((nothing_lost, dialled is not None, all_dialled, hold)) > 1:
        fail("give one of --nothing-lost, --dialled, --all-dialled and --hold")
    in_force = settings()
    configure_logging(in_force)
    if hold:
        run(_hold(in_force))
    elif nothing_lost or all_dialled or dialled is not None:
        run(_settle(in_force, dialled, nothing_lost=nothing_lost))
    else:
        run(_show(in_force))


async def _hold(in_force: Settings) -> None:
    clock = RealClock()
    async with opened(in_force, clock) as store:
        held = await hold_everything(store, clock, _HELD_BY_HAND)
        async with store.read() as tx:
            why = await provenance.why_held(tx)
    typer.echo(why if held else f"it was held before: {why}")


async def _settle(in_force: Settings, dialled: Path | None, *, nothing_lost: bool) -> None:
    clock = RealClock()
    numbers = None if dialled is None else read_dialled(dialled)
    with _no_dialler(in_force):
        async with opened(in_force, clock) as store:
            witness = await _look(store, clock, in_force)
            try:
                async with store.write() as tx:
                    await _refuse_beside_diallers(tx, store, clock, in_force)
                    if nothing_lost:
                        done = await settling.nothing_lost(tx, clock.now_ms())
                    else:
                        done = await _settled(tx, numbers, clock, in_force)
                    database_id = (await provenance.read(tx)).database_id
            except NotHeld:
                raise UserError("the database is not held: there is nothing to settle (--hold holds it)") from None
            except NothingMatches:
                raise UserError(
                    "nothing was changed: not one of these numbers may have been dialled by a task of this database. "
                    "Are they written with their country code? If none was dialled, say --nothing-lost"
                ) from None
            if witness is not None:
                witness.saw(database_id, done.leases)
    how = "nothing lost" if nothing_lost else "all dialled" if numbers is None else f"{len(numbers)} dialled"
    log.warning(
        "settled",
        how=how,
        copy_of=iso(done.lost.since),
        held_since=iso(done.lost.until),
        in_the_air=done.in_the_air,
        ended=done.ended,
        left=done.left,
        rounds=done.rounds,
        strangers=done.strangers,
    )
    _print_done(done, nothing_lost=nothing_lost)


async def _settled(tx: Tx, numbers: frozenset[str] | None, clock: Clock, in_force: Settings) -> Settled:
    return await settling.settle(
        tx, numbers, pid=os.getpid(), now_ms=clock.now_ms(), minute_seconds=in_force.minute_seconds
    )


class _OnlyAsked(Exception):
    """Carries what would be done out of a transaction that must not be committed."""

    def __init__(self, would: Settled) -> None:
        super().__init__()
        self.would = would


async def _show(in_force: Settings) -> None:
    clock = RealClock()
    async with opened(in_force, clock) as store:
        await _look(store, clock, in_force)
        async with store.read() as tx:
            why = await provenance.why_held(tx)
        try:
            would = await _what_would_be_done(store, clock, in_force)
        except NotHeld:
            typer.echo("the database is not held: there is nothing to settle")
            return
    typer.echo(why)
    typer.echo(
        f"Calls may have been dialled from {instant(would.lost.since)}, when this copy was made, "
        f"to {instant(would.lost.until)}, when that was noticed."
    )
    typer.echo(
        f"In question: {would.ended} queued numbers of {would.tasks} tasks, {would.in_the_air} calls that were in the "
        f"air, {would.rounds} recall rounds that were due or may have become due."
    )
    typer.echo(_WAYS)


async def _what_would_be_done(store: Store, clock: Clock, in_force: Settings) -> Settled:
    """Found by doing it, and taking it back. Raises :class:`NotHeld`."""

    async def all_and_back() -> None:
        async with store.write() as tx:
            raise _OnlyAsked(await _settled(tx, None, clock, in_force))

    try:
        await all_and_back()
    except _OnlyAsked as asked:
        return asked.would
    raise AssertionError("a transaction ended otherwise than asked")


_WAYS = """\
What was changed since by other means (tasks made, paused or cancelled, numbers denied) is lost: do it again first.
Then, with the server stopped, one of
  ringback settle --nothing-lost     nothing was dialled after the copy was made
  ringback settle --dialled FILE     these numbers were, and no others: one a line, or CSV with a column callee
  ringback settle --all-dialled      nobody knows: take all of them for dialled"""


@contextlib.contextmanager
def _no_dialler(in_force: Settings) -> Iterator[None]:
    """No dialler runs, and none starts. Raises StoreUnavailable."""
    lock = DiallerLock(in_force.database_url)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


async def _refuse_beside_diallers(tx: Tx, store: Store, clock: Clock, in_force: Settings) -> None:
    """Where many may dial no lock tells; but calls of a living one are no calls in the air of a lost life."""
    since_ms = clock.now_ms() - round(2000 * in_force.takeover_seconds)
    if store.shared and await workers.busy_lately(tx, since_ms):
        raise UserError("a dialler has calls in the air; stop every server first, and try again in a minute")


async def _look(store: Store, clock: Clock, in_force: Settings) -> Witness | None:
    """Whoever settles at once after a restore has started no server that would have noticed it."""
    witness = Witness.of(in_force.database_url, in_force.state)
    try:
        await check(store, clock, witness)
    except OSError as error:
        raise UserError(f"state: the witness of the database cannot be written: {error}") from None
    return witness


def _print_done(done: Settled, *, nothing_lost: bool) -> None:
    if nothing_lost:
        typer.echo("the database goes on where it stopped")
        return
    typer.echo(
        f"{done.ended} queued numbers and {done.in_the_air} calls in the air ended as unknown; "
        f"{done.left} numbers of {done.tasks} tasks go on; {done.rounds} recall rounds were started"
    )
    if done.strangers:
        typer.echo(
            f"{done.strangers} of the listed numbers are in none of these tasks: "
            "they had ended before the copy was made, or belong to a task that was made after it"
        )
