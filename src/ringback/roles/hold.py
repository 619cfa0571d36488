"""A held database: who wants to dial waits here until it is settled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from ringback.roles.control import wait_until
from ringback.store import provenance
from ringback.store.provenance import DatabaseHeld
from ringback.store.refusals import is_passing

if TYPE_CHECKING:
    import asyncio

    from ringback.clock import Clock
    from ringback.store.database import Bell, Store
    from ringback.store.provenance import Checked
    from ringback.store.witness import Witness

log = structlog.get_logger(__name__)


async def check(store: Store, clock: Clock, witness: Witness | None) -> Checked:
    """Look whether the database is the one that dialled last, and hold it when it is not.

    Raises OSError when the witness cannot be written.
    """
    async with store.write() as tx:
        checked = await provenance.check(tx, witness, clock.now_ms())
    if witness is not None:
        witness.saw(checked.database_id, checked.leases)
    return checked


async def hold_everything(store: Store, clock: Clock, reason: str) -> bool:
    """Hold the database by hand: when this returns, no new call starts. False when it was held already."""
    async with store.write() as tx:
        held = await provenance.hold(tx, reason, clock.now_ms())
        leaves_until = await provenance.latest_to_leave(tx)
    await wait_until(clock, leaves_until)
    return held


class Permit:
    """What one dialler asks before it dials."""

    def __init__(self, store: Store, clock: Clock, witness: Witness | None) -> None:
        self._store = store
        self._clock = clock
        self._witness = witness
        self._database_id = ""
        self._latest = 0

    async def wait(self, stopping: asyncio.Event, bell: Bell, poll_seconds: float) -> bool:
        """Return when calls may be dialled; False when ``stopping`` was set before.

        Waits out a hold, a database that refuses for now, and a witness that cannot be written.
        """
        told = ""
        while not stopping.is_set():
            try:
                checked = await check(self._store, self._clock, self._witness)
                why = checked.why_held
            except Exception as error:
                if not (isinstance(error, OSError) or is_passing(error)):
                    raise
                why = f"it cannot be checked whether the database may dial: {error}"
            else:
                if not why:
                    self._database_id, self._latest = checked.database_id, checked.leases
                    return True
            if why != told:
                log.warning("nothing_is_dialled", reason=why)
                told = why
            await bell.wait(poll_seconds)
        return False

    def follows(self, number: int) -> None:
        """To be called in the transaction of the lease of that number, before its commit.

        Raises :class:`~ringback.store.provenance.DatabaseHeld` when the database went back in time while we ran.
        """
        if number <= self._latest:
            raise DatabaseHeld(f"lease {number} has been dialled before")

    def given_out(self, number: int) -> bool:
        """The lease of that number is committed. False: its calls must be given back, for nobody would know of them."""
        self._latest = number
        if self._witness is not None:
            try:
                self._witness.saw(self._database_id, number)
            except OSError as error:
                log.warning("witness_not_written", error=str(error))
                return False
        return True
