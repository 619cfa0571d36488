"""The calls of one worker that are in the air: each is placed at its slot, followed in a task of its own, summed up.

Whatever breaks on the way, a call whose INVITE may have left gets a result, and is never placed again.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from ringback.model.breaker import Verdict
from ringback.model.numbers import masked
from ringback.model.outcome import Outcome
from ringback.model.pacing import MICROSECONDS
from ringback.roles.one_call import run_call
from ringback.roles.recordings import recording_path
from ringback.store.calls import CallResult
from ringback.telephony.port import PHONE_LEG, Destination, DialOrder, Engine, EngineUnavailable, Leg

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from ringback.clock import Clock
    from ringback.roles.library import Ready, TemplateLibrary
    from ringback.roles.phone_first import PhoneFirst
    from ringback.roles.placer import Placement
    from ringback.roles.pulse import Placed, Pulse
    from ringback.roles.results import ResultBuffer
    from ringback.roles.seats import PhoneSeats
    from ringback.store.leases import Lease
    from ringback.voice.seats import Seat

log = structlog.get_logger(__name__)

#: How much longer than its limits the engine lets a call live when nobody hangs it up, seconds.
OUTLIVES_SECONDS = 60.0


class LiveCalls:
    """``no_reply_seconds``: a trunk silent for so long is given up. ``recordings``: the folder of recordings."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        library: TemplateLibrary,
        pulse: Pulse,
        buffer: ResultBuffer,
        *,
        seats: PhoneSeats,
        phone_first: PhoneFirst,
        no_reply_seconds: float,
        recordings: str,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._library = library
        self._pulse = pulse
        self._buffer = buffer
        self._seats = seats
        self._phone_first = phone_first
        self._no_reply_seconds = no_reply_seconds
        self._recordings = recordings
        self._live: dict[int, Leg] = {}
        self._following: set[asyncio.Task[None]] = set()
        self._hanging_up = False

    def __len__(self) -> int:
        return len(self._following)

    async def all_ended(self) -> None:
        """Until no call is in the air."""
        if self._following:
            await asyncio.wait(self._following)

    async def hang_up(self) -> None:
        """End them all, and wait until they have ended."""
        self._hanging_up = True
        with contextlib.suppress(Exception):
            await self._phone_first.hang_up()
        for leg in list(self._live.values()):
            with contextlib.suppress(Exception):
                await leg.hang_up()
        await self.all_ended()
        await self._seats.all_left()

    async def prepare(self, placement: Placement) -> bool:
        """Load the template before the call's turn comes, so that placing it takes the engine's time only."""
        lease = placement.lease
        try:
            await self._library.get(lease.template_id)
        except Exception:
            log.exception("template_not_ready", call_id=lease.call_id, template_id=lease.template_id)
            self._buffer.released(lease)
            return False
        return True

    def give_back(self, lease: Lease) -> None:
        """A call could not be placed in time: it is queued again, or, when a phone was called for it, skipped."""
        if not self._phone_first.too_late(lease):
            self._buffer.released(lease)

    async def place(self, placement: Placement) -> None:
        """Send the INVITE of a leased call whose slot has come, and follow the call in a task of its own.

        Where a phone is to be called first, that is done instead, and the call comes here again with another slot.
        """
        lease, route = placement.lease, placement.route
        ready = await self._library.get(lease.template_id)  # loaded by prepare
        seat = None
        if ready.template.calls_first:
            seat = self._phone_first.picked_up(lease.call_id)
            if seat is None:
                self._track(self._phone_first.ring(placement, ready.template.calls_first, lease.texts))
                return
            if seat.ends.done():
                self._phone_first.drop(lease, seat, "hung up again")
                return
        order = DialOrder(
            call_id=lease.call_id,
            task_id=lease.task_id,
            callee=lease.dialled,
            caller_id=lease.caller_id,
            destination=Destination(host=route.host, port=route.port, user=route.username, password=route.password),
            leave_by=placement.leave_by_us / MICROSECONDS,
            record_to=recording_path(self._recordings, lease),
            detect_talking=ready.template.may_be_interrupted,
            most_seconds=lease.limits.ring_seconds + lease.limits.call_seconds + OUTLIVES_SECONDS,
            beside=None if seat is None else PHONE_LEG + lease.call_id,
        )
        try:
            leg = await self._engine.dial(order)
        except EngineUnavailable as error:
            log.warning("call_not_placed", call_id=lease.call_id, callee=masked(lease.callee), reason=str(error))
            if seat is None:
                self._buffer.released(lease)
            else:
                self._phone_first.drop(lease, seat, str(error))
        except ValueError as error:
            # The engine refuses what it was given, and would refuse it for ever. Nothing was sent.
            log.exception("call_refused_by_engine", call_id=lease.call_id, callee=masked(lease.callee))
            self._buffer.ended(self._without_leg(lease, Outcome.FAILED, f"could not be placed: {error}"))
            self._leave(lease, seat)
        except Exception as error:
            # Whether an INVITE left is not known: it must never be sent again.
            log.exception("dial_broke", call_id=lease.call_id, callee=masked(lease.callee))
            self._buffer.ended(self._without_leg(lease, Outcome.UNKNOWN, f"internal error: {type(error).__name__}"))
            self._leave(lease, seat)
        else:
            self._live[lease.call_id] = leg
            placed = self._pulse.placed(lease.trunk_id)
            self._track(self._follow(leg, lease, ready, placed, seat))

    def _track(self, work: Coroutine[Any, Any, None]) -> None:
        following = asyncio.create_task(work)
        self._following.add(following)
        following.add_done_callback(self._following.discard)

    def _leave(self, lease: Lease, seat: Seat | None) -> None:
        if seat is not None:
            self._seats.leave(lease, seat)

    def _without_leg(self, lease: Lease, outcome: Outcome, reason: str) -> CallResult:
        return CallResult(
            call_id=lease.call_id,
            lease_no=lease.lease_no,
            outcome=outcome,
            ended_at=self._clock.now_ms(),
            reason=reason,
        )

    async def _follow(self, leg: Leg, lease: Lease, ready: Ready, placed: Placed, seat: Seat | None) -> None:
        answered_at: int | None = None
        told = False

        def on_response(rang: bool) -> None:
            nonlocal told
            self._pulse.responded(lease.trunk_id, placed, rang=rang)
            if lease.probe and rang and not told:
                told = True
                self._buffer.probe_rings(lease.trunk_id, lease.call_id)

        def on_answer(at_ms: int) -> None:
            nonlocal answered_at
            answered_at = at_ms
            self._buffer.answered(lease, at_ms)

        try:
            result = await run_call(
                leg,
                lease,
                template=ready.template,
                prompts=ready.prompts,
                clock=self._clock,
                no_reply_seconds=self._no_reply_seconds,
                on_response=on_response,
                on_answer=on_answer,
                seats=self._seats.of(lease),
                seat=seat,
            )
        except Exception as error:
            # An INVITE has left, so this call must get a result; whoever has been spoken to is not "failed".
            log.exception("call_broke", call_id=lease.call_id, task_id=lease.task_id)
            with contextlib.suppress(Exception):
                await leg.hang_up()
            outcome = Outcome.UNKNOWN if answered_at is None else Outcome.ANSWERED
            result = CallResult(
                call_id=lease.call_id,
                lease_no=lease.lease_no,
                outcome=outcome,
                ended_at=self._clock.now_ms(),
                answered_at=answered_at,
                reason=f"internal error: {type(error).__name__}",
            )
        finally:
            self._live.pop(lease.call_id, None)
            self._leave(lease, seat)
        if (self._hanging_up or (seat is not None and seat.ends.done())) and result.verdict is Verdict.SILENT:
            # We may have hung up before anybody could respond.
            result = msgspec.structs.replace(result, verdict=Verdict.NEUTRAL)
        self._buffer.ended(self._pulse.weighed(lease, placed, result))
