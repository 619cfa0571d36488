"""Calls that begin at a phone of ours: it is called first, and the number is dialled when somebody has picked it up.

The call is leased before its phone rings, so the number is held and its line is taken; but its INVITE leaves at a slot
of its own that is taken when the phone is picked up. A phone that nobody picks up costs the number nothing: the call is
skipped, with the reason, for nobody has been dialled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from ringback.model.text_variables import substituted
from ringback.roles.leasing import REACH_US
from ringback.store import phone_first
from ringback.store.phone_first import NoSlotYet, NotNow
from ringback.store.refusals import is_passing
from ringback.store.workers import Fenced
from ringback.voice.connecting import picks_up
from ringback.voice.seats import NoSeat

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringback.clock import Clock
    from ringback.roles.placer import Placement
    from ringback.roles.results import ResultBuffer
    from ringback.roles.seats import PhoneSeats
    from ringback.store.database import Store
    from ringback.store.leases import Lease
    from ringback.voice.seats import Seat

#: How long somebody at a phone waits for the trunk's next slot, and how often it is looked for.
SLOT_SECONDS: Final = 30.0
LOOK_AGAIN_SECONDS: Final = 0.2

log = structlog.get_logger(__name__)


class PhoneFirst:
    """Of one worker. ``again`` puts a call that has got a slot, epoch microseconds, and its grace into the queue of its
    trunk.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        seats: PhoneSeats,
        buffer: ResultBuffer,
        *,
        worker_id: int,
        again: Callable[[Placement, int, int], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._seats = seats
        self._buffer = buffer
        self._worker_id = worker_id
        self._again = again
        self._ringing: dict[int, Seat] = {}
        self._picked_up: dict[int, Seat] = {}

    async def ring(self, placement: Placement, phone: str, texts: str | None) -> None:
        """Call the phone (as the template writes it); picked up, the call gets a slot, else it is skipped."""
        try:
            await self._ring(placement, phone, texts)
        except Exception as error:
            log.exception("phone_broke", call_id=placement.lease.call_id)
            self._buffer.skipped(placement.lease, f"internal error: {type(error).__name__}")

    async def _ring(self, placement: Placement, phone: str, texts: str | None) -> None:
        lease = placement.lease
        values = msgspec.json.decode(texts, type=dict[str, str]) if texts else {}
        login = substituted(phone, values).strip()
        try:
            seat = await self._seats.of(lease, first=True).call(group=None, login=login)
        except NoSeat as none:
            self._buffer.skipped(lease, str(none))
            return
        try:
            await self._see_through(placement, seat)
        except BaseException:
            self._seats.leave(lease, seat)
            raise

    async def _see_through(self, placement: Placement, seat: Seat) -> None:
        lease, login = placement.lease, seat.login
        self._ringing[lease.call_id] = seat
        try:
            answered = await picks_up(seat)
        finally:
            del self._ringing[lease.call_id]
        if not answered:
            self._give_up(lease, seat, f"phone {login} did not answer")
            return
        try:
            await seat.hear_ringing()
            slot_us, grace_us = await self._slot(placement, seat)
        except NotNow as refused:
            self._give_up(lease, seat, f"phone {login} was picked up, but {refused}")
            return
        except Fenced:
            self._seats.leave(lease, seat)  # whoever took over settles the call
            return
        self._picked_up[lease.call_id] = seat
        self._again(placement, slot_us, grace_us)

    def picked_up(self, call_id: int) -> Seat | None:
        """The phone that waits for this call's number to be dialled; it is the caller's from now on."""
        return self._picked_up.pop(call_id, None)

    def too_late(self, lease: Lease) -> bool:
        """A call that got a slot has missed it. False when it is none whose phone was called first."""
        seat = self._picked_up.pop(lease.call_id, None)
        if seat is None:
            return False
        self._give_up(lease, seat, f"phone {seat.login} was picked up, but the call could not leave in time")
        return True

    def drop(self, lease: Lease, seat: Seat, reason: str) -> None:
        """The number was not dialled after all: no INVITE has left."""
        self._give_up(lease, seat, f"phone {seat.login} was picked up, but {reason}")

    async def hang_up(self) -> None:
        """Let no phone ring on: its call is skipped."""
        for seat in [*self._ringing.values(), *self._picked_up.values()]:
            await seat.leg.hang_up()

    def _give_up(self, lease: Lease, seat: Seat, reason: str) -> None:
        self._seats.leave(lease, seat)
        self._buffer.skipped(lease, reason)

    async def _slot(self, placement: Placement, seat: Seat) -> tuple[int, int]:
        """Raises NotNow, Fenced."""
        give_up_at = self._clock.monotonic() + SLOT_SECONDS
        while True:
            try:
                async with self._store.write() as tx:
                    return await phone_first.take_slot(
                        tx,
                        self._worker_id,
                        placement.lease,
                        now_us=self._clock.now_us(),
                        grace_us=placement.leave_by_us - placement.at_us,
                        reach_us=REACH_US,
                    )
            except NoSlotYet:
                if self._clock.monotonic() >= give_up_at or seat.ends.done():
                    raise
                await self._clock.sleep(LOOK_AGAIN_SECONDS)
            except Exception as error:
                if not is_passing(error):
                    raise
                raise NotNow("the database did not answer") from error
