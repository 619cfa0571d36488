"""Phones for the calls of a worker: taken in the database, called at its engine, left again.

A phone is taken before it is called and freed when it has been hung up, so it talks on one call at a time whichever
workers there are.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import structlog

from ringback.store import seats
from ringback.store.refusals import is_passing
from ringback.store.seats import NoPhone
from ringback.telephony.port import PHONE_LEG, Destination, DialOrder, EngineUnavailable
from ringback.voice.seats import RING_SECONDS, NoSeat, Seat

if TYPE_CHECKING:
    from ringback.clock import Clock
    from ringback.store.database import Store
    from ringback.store.leases import Lease
    from ringback.store.seats import TakenPhone
    from ringback.telephony.port import Engine

#: How much longer than its limits a phone stays taken when nobody frees it, seconds.
OUTLIVES_SECONDS: Final = 120.0
#: How long the end of a phone's call is waited for.
END_SECONDS: Final = 5.0
#: In the sandbox no phone registers: all of them can be called.
NEVER_REGISTER: Final = frozenset({"sandbox"})

log = structlog.get_logger(__name__)


class PhoneSeats:
    """The phones of one worker's calls. Use :meth:`of` for each call."""

    def __init__(self, store: Store, engine: Engine, clock: Clock) -> None:
        self._store = store
        self._engine = engine
        self._clock = clock
        self._leaving: dict[int, asyncio.Task[None]] = {}  # by call id

    def of(self, lease: Lease, *, first: bool = False) -> CallSeats:
        """Those that this call may be connected with. ``first``: the phone is called before the callee."""
        return CallSeats(self, lease, first=first)

    async def all_left(self) -> None:
        """Until every phone that is being left has been hung up."""
        if self._leaving:
            await asyncio.wait(set(self._leaving.values()))

    async def call(self, lease: Lease, *, group: int | None, login: str, passed: frozenset[str], first: bool) -> Seat:
        """Take a phone and call it. Raises :class:`NoSeat`."""
        if lease.call_id in self._leaving:  # the one that it had before, whose call has the same name at the engine
            await asyncio.wait({self._leaving[lease.call_id]})
        seconds = RING_SECONDS + lease.limits.ring_seconds + lease.limits.call_seconds + OUTLIVES_SECONDS
        try:
            taken = await self._take(lease, group=group, login=login, passed=passed, seconds=seconds)
        except NoPhone as none:
            raise NoSeat(str(none)) from None
        except Exception as error:
            if not is_passing(error):
                raise
            log.warning("no_phone_looked_up", call_id=lease.call_id, error=str(error) or type(error).__name__)
            raise NoSeat("the phones could not be looked up") from None
        order = DialOrder(
            call_id=PHONE_LEG + lease.call_id,
            task_id=lease.task_id,
            callee=taken.login,
            # Not the callee's number: the embedded engine keeps a user agent for every number it ever called from.
            caller_id=lease.caller_id,
            destination=Destination(host=taken.contact.host, port=taken.contact.port),
            most_seconds=seconds,
            phone_user=taken.contact.user,
            beside=None if first else lease.call_id,
        )
        try:
            return Seat(taken.login, await self._engine.dial(order))
        except (EngineUnavailable, ValueError) as error:
            await self._free(lease.call_id, taken.login)
            raise NoSeat(f"phone {taken.login} could not be called: {error}") from None
        except BaseException:
            await self._free(lease.call_id, taken.login)
            raise

    async def _take(
        self, lease: Lease, *, group: int | None, login: str, passed: frozenset[str], seconds: float
    ) -> TakenPhone:
        now_ms = self._clock.now_ms()
        async with self._store.write() as tx:
            return await seats.take(
                tx,
                task_id=lease.task_id,
                call_id=lease.call_id,
                now_ms=now_ms,
                until_ms=now_ms + round(1000 * seconds),
                group_id=group,
                login=login,
                passed=passed,
                registered_only=self._engine.name not in NEVER_REGISTER,
            )

    def leave(self, lease: Lease, seat: Seat) -> None:
        """Hang the phone up and free it, beside everything else."""
        task = self._leaving[lease.call_id] = asyncio.create_task(self._leave(lease, seat))
        task.add_done_callback(lambda _: self._left(lease.call_id, task))

    def _left(self, call_id: int, task: asyncio.Task[None]) -> None:
        if self._leaving.get(call_id) is task:
            del self._leaving[call_id]

    async def _leave(self, lease: Lease, seat: Seat) -> None:
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    await seat.close()
        except Exception:
            log.exception("phone_not_hung_up", call_id=lease.call_id)
        await self._free(lease.call_id, seat.login)

    async def _free(self, call_id: int, login: str) -> None:
        try:
            async with self._store.write() as tx:
                await seats.free(tx, call_id, login)
        except Exception as error:  # noqa: BLE001 - the end of its call frees it, too
            log.warning("phone_not_freed", call_id=call_id, error=str(error) or type(error).__name__)


class CallSeats:
    """Implements :class:`ringback.voice.seats.Seats` for one call."""

    def __init__(self, phones: PhoneSeats, lease: Lease, *, first: bool) -> None:
        self._phones = phones
        self._lease = lease
        self._first = first

    async def call(self, *, group: int | None, login: str, passed: frozenset[str] = frozenset()) -> Seat:
        """Call a free phone. Raises :class:`NoSeat`."""
        return await self._phones.call(self._lease, group=group, login=login, passed=passed, first=self._first)

    def leave(self, seat: Seat) -> None:
        """Hang it up, and let others have it."""
        self._phones.leave(self._lease, seat)
