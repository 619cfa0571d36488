"""The dialler: leases calls under the limits, places each at its slot, and buffers what comes of it.

*Dialling* is committed before an INVITE leaves; a call that cannot leave in time is given back.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import structlog

from ringback.model.breaker import Verdict
from ringback.model.numbers import masked
from ringback.model.outcome import Outcome
from ringback.model.pacing import MICROSECONDS
from ringback.roles.hold import Permit
from ringback.roles.node_watch import report_nodes
from ringback.roles.one_call import run_call
from ringback.roles.placer import Placement, Placer
from ringback.roles.pulse import Placed, Pulse
from ringback.roles.recordings import recording_path
from ringback.roles.recovery import settle_the_dead
from ringback.roles.results import ResultBuffer
from ringback.store import leases
from ringback.store.calls import CallResult
from ringback.store.database import News, is_passing
from ringback.store.provenance import DatabaseHeld
from ringback.telephony.port import Destination, DialOrder, Engine, EngineUnavailable, Leg

if TYPE_CHECKING:
    from ringback.clock import Clock
    from ringback.roles.library import Ready, TemplateLibrary
    from ringback.store.database import Store
    from ringback.store.leases import Lease, LeaseBatch
    from ringback.store.witness import Witness

log = structlog.get_logger(__name__)

#: How far ahead calls are leased, microseconds; also what bounds a burst after a stall.
HORIZON_US = 100_000
#: How late a leased call may still leave, microseconds. A pause or cancel waits that long.
GRACE_US = 250_000
#: Slots begin when the lease is expected to be committed, but never later than this from now, microseconds.
LONGEST_LEASE_DELAY_US = 2_000_000
#: How much longer than its limits the engine lets a call live when nobody hangs it up, seconds.
OUTLIVES_SECONDS = 60.0
#: The shortest wait between two lease transactions, seconds.
SHORTEST_TICK_SECONDS = 0.005
#: After a refused lease: the first wait and the longest, seconds.
FIRST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 5.0


class DiallerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``no_reply_seconds``: a trunk silent for so long is given up. ``idle_poll_seconds``: how often to look for work
    that another process made. ``drain_seconds``: how long calls in the air may go on after a stop was asked for.
    ``minute_seconds``: the length of a recall minute. ``recordings``: the folder of recordings.
    """

    minute_seconds: float = 60.0
    no_reply_seconds: float = 10.0
    idle_poll_seconds: float = 1.0
    drain_seconds: float = 30.0
    recordings: str = "recordings"


class Dialler:
    """One worker. :meth:`run` works until :meth:`stop` is called."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        clock: Clock,
        library: TemplateLibrary,
        settings: DiallerSettings,
        *,
        witness: Witness | None = None,
    ) -> None:
        self._store = store
        self._engine = engine
        self._clock = clock
        self._library = library
        self._settings = settings
        self._stopping = asyncio.Event()
        self._bell = store.subscribe(News.WORK, News.LINES)
        self._placers: dict[int, Placer] = {}
        self._permit = Permit(store, clock, witness)
        self._pulse = Pulse(self._headroom_is_back)
        self._live: dict[int, Leg] = {}
        self._following: set[asyncio.Task[None]] = set()
        self._waiting: dict[int, str] = {}
        self._lease_delay_us = 0
        self._hanging_up = False

    def stop(self) -> None:
        """Lease no more; :meth:`run` returns when the calls in the air have ended and are stored."""
        self._stopping.set()
        self._bell.ring()

    async def run(self) -> None:
        """Work until stopped.

        Raises:
            EngineUnavailable: the engine cannot start; the text says why.
        """
        minute_seconds = self._settings.minute_seconds
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._store.unsubscribe, self._bell)
            # Before anything else: a copy must neither dial nor meddle with calls that the original may have.
            if not await self._may_dial():
                return
            async with self._store.write() as tx:
                worker_id = await leases.register_worker(
                    tx, engine=self._engine.name, pid=os.getpid(), now_ms=self._clock.now_ms()
                )
            stack.push_async_callback(self._engine.stop)
            await self._engine.start()
            # A node that is being drained must not get the first calls.
            await report_nodes(self._store, self._engine, self._clock)
            await settle_the_dead(
                self._store, self._engine, self._clock, worker_id=worker_id, minute_seconds=minute_seconds
            )
            buffer = ResultBuffer(self._store, self._clock, worker_id, minute_seconds=minute_seconds)
            writing = asyncio.create_task(buffer.run())
            stack.push_async_callback(self._close, buffer, writing)
            await self._dial_on(worker_id, buffer, writing)
        async with self._store.write() as tx:
            await leases.worker_ended(tx, worker_id, self._clock.now_ms())

    async def _dial_on(self, worker_id: int, buffer: ResultBuffer, writing: asyncio.Task[None]) -> None:
        wait = FIRST_RETRY_SECONDS
        while not self._stopping.is_set():
            if writing.done():
                raise RuntimeError("the result buffer ended") from writing.exception()
            for placer in self._placers.values():
                if placer.broken is not None:
                    raise RuntimeError("a placer broke") from placer.broken
            try:
                batch = await self._lease(worker_id)
            except DatabaseHeld:
                await self._may_dial()
                continue
            except Exception as error:
                if not is_passing(error):
                    raise
                # Calls in the air go on; nothing new starts before the database answers again.
                log.warning("nothing_leased", error=str(error), retry_in=wait)
                await self._bell.wait(wait)
                wait = min(2 * wait, LONGEST_RETRY_SECONDS)
                continue
            wait = FIRST_RETRY_SECONDS
            if batch.leases and not self._permit.given_out(batch.number):
                for lease in batch.leases:
                    buffer.released(lease.call_id)
                await self._may_dial()
                continue
            self._hand_out(batch, buffer)
            await self._bell.wait(self._seconds_until(batch.wake_us))

    async def _may_dial(self) -> bool:
        return await self._permit.wait(self._stopping, self._bell, self._settings.idle_poll_seconds)

    async def _lease(self, worker_id: int) -> LeaseBatch:
        not_placed = sum(placer.waiting for placer in self._placers.values())
        started = self._clock.monotonic()
        async with self._store.write() as tx:
            batch = await leases.lease(
                tx,
                worker_id=worker_id,
                engine=self._engine.name,
                now_us=self._clock.now_us() + self._lease_delay_us,
                horizon_us=HORIZON_US,
                grace_us=GRACE_US,
                free_lines=max(0, self._engine.free_lines() - not_placed),
                engine_trouble=self._engine.trouble(),
                headroom=self._offer,
                minute_seconds=self._settings.minute_seconds,
            )
            if batch.leases:
                self._permit.follows(batch.number)
        self._pulse.leased(Counter(lease.trunk_id for lease in batch.leases), batch.closed_at)
        if batch.leases:
            took_us = round((self._clock.monotonic() - started) * MICROSECONDS)
            # Follows a slow database at once and forgets it slowly, or every other lease would come too late.
            self._lease_delay_us = min(LONGEST_LEASE_DELAY_US, max(took_us, (4 * self._lease_delay_us + took_us) // 5))
        return batch

    def _offer(self, trunk_id: int) -> int:
        """How many more calls of a trunk to lease at most: none while those leased already leave late."""
        placer = self._placers.get(trunk_id)
        return 0 if placer is not None and placer.is_behind() else self._pulse.offer(trunk_id)

    def _headroom_is_back(self, trunk_id: int) -> None:
        self._bell.ring()
        if trunk_id in self._placers:
            self._placers[trunk_id].look()

    def _hand_out(self, batch: LeaseBatch, buffer: ResultBuffer) -> None:
        for task_id, reason in batch.waiting.items():
            if self._waiting.get(task_id) != reason:
                log.debug("task_waits", task_id=task_id, reason=reason)
        self._waiting = batch.waiting
        now_us = self._clock.now_us()
        monotonic_us = round(self._clock.monotonic() * MICROSECONDS)
        for lease in batch.leases:
            placer = self._placers.get(lease.trunk_id)
            if placer is None:
                placer = self._placers[lease.trunk_id] = Placer(
                    self._clock,
                    headroom=partial(self._pulse.headroom, lease.trunk_id),
                    prepare=lambda placement: self._prepare(placement, buffer),
                    place=lambda placement: self._place(placement, buffer),
                    give_back=lambda lease: buffer.released(lease.call_id),
                    caught_up=self._bell.ring,
                )
            # A slot further away than a lease reaches means that the wall clock was set in between.
            ahead_us = min(lease.slot_us - now_us, HORIZON_US + LONGEST_LEASE_DELAY_US)
            at_us = monotonic_us + ahead_us
            placer.put(Placement(lease, batch.routes[lease.trunk_id], at_us, at_us + GRACE_US))

    def _seconds_until(self, wake_us: int | None) -> float:
        poll = self._settings.idle_poll_seconds
        if wake_us is None:
            return poll
        # Wake when the slot is half a horizon away: early enough to lease it, late enough to lease several at once.
        ahead = (wake_us - self._clock.now_us() - self._lease_delay_us - HORIZON_US / 2) / MICROSECONDS
        return min(poll, max(SHORTEST_TICK_SECONDS, ahead))

    async def _prepare(self, placement: Placement, buffer: ResultBuffer) -> bool:
        """Load the template before the call's turn comes, so that placing it takes the engine's time only."""
        lease = placement.lease
        try:
            await self._library.get(lease.template_id)
        except Exception:
            log.exception("template_not_ready", call_id=lease.call_id, template_id=lease.template_id)
            buffer.released(lease.call_id)
            return False
        return True

    async def _place(self, placement: Placement, buffer: ResultBuffer) -> None:
        """Send the INVITE of a leased call whose slot has come, and follow the call in a task of its own."""
        lease, route = placement.lease, placement.route
        ready = await self._library.get(lease.template_id)  # loaded by _prepare
        order = DialOrder(
            call_id=lease.call_id,
            task_id=lease.task_id,
            callee=lease.dialled,
            caller_id=lease.caller_id,
            destination=Destination(host=route.host, port=route.port, user=route.username, password=route.password),
            leave_by=placement.leave_by_us / MICROSECONDS,
            record_to=recording_path(self._settings.recordings, lease),
            detect_talking=ready.template.may_be_interrupted,
            most_seconds=lease.limits.ring_seconds + lease.limits.call_seconds + OUTLIVES_SECONDS,
        )
        try:
            leg = await self._engine.dial(order)
        except EngineUnavailable as error:
            log.warning("call_not_placed", call_id=lease.call_id, callee=masked(lease.callee), reason=str(error))
            buffer.released(lease.call_id)
        except ValueError as error:
            # The engine refuses what it was given, and would refuse it for ever. Nothing was sent.
            log.exception("call_refused_by_engine", call_id=lease.call_id, callee=masked(lease.callee))
            buffer.ended(self._without_leg(lease, Outcome.FAILED, f"could not be placed: {error}"))
        except Exception as error:
            # Whether an INVITE left is not known: it must never be sent again.
            log.exception("dial_broke", call_id=lease.call_id, callee=masked(lease.callee))
            buffer.ended(self._without_leg(lease, Outcome.UNKNOWN, f"internal error: {type(error).__name__}"))
        else:
            self._live[lease.call_id] = leg
            placed = self._pulse.placed(lease.trunk_id)
            following = asyncio.create_task(self._follow(leg, lease, ready, placed, buffer))
            self._following.add(following)
            following.add_done_callback(self._following.discard)

    def _without_leg(self, lease: Lease, outcome: Outcome, reason: str) -> CallResult:
        return CallResult(call_id=lease.call_id, outcome=outcome, ended_at=self._clock.now_ms(), reason=reason)

    async def _follow(self, leg: Leg, lease: Lease, ready: Ready, placed: Placed, buffer: ResultBuffer) -> None:
        answered_at: int | None = None
        told = False

        def on_response(rang: bool) -> None:
            nonlocal told
            self._pulse.responded(lease.trunk_id, placed, rang=rang)
            if lease.probe and rang and not told:
                told = True
                buffer.probe_rings(lease.trunk_id, lease.call_id)

        def on_answer(at_ms: int) -> None:
            nonlocal answered_at
            answered_at = at_ms
            buffer.answered(lease.call_id, at_ms)

        try:
            result = await run_call(
                leg,
                lease,
                template=ready.template,
                prompts=ready.prompts,
                clock=self._clock,
                no_reply_seconds=self._settings.no_reply_seconds,
                on_response=on_response,
                on_answer=on_answer,
            )
        except Exception as error:
            # An INVITE has left, so this call must get a result; whoever has been spoken to is not "failed".
            log.exception("call_broke", call_id=lease.call_id, task_id=lease.task_id)
            with contextlib.suppress(Exception):
                await leg.hang_up()
            outcome = Outcome.UNKNOWN if answered_at is None else Outcome.ANSWERED
            result = CallResult(
                call_id=lease.call_id,
                outcome=outcome,
                ended_at=self._clock.now_ms(),
                answered_at=answered_at,
                reason=f"internal error: {type(error).__name__}",
            )
        finally:
            self._live.pop(lease.call_id, None)
        if self._hanging_up and result.verdict is Verdict.SILENT:
            # We may have hung up before anybody could respond.
            result = msgspec.structs.replace(result, verdict=Verdict.NEUTRAL)
        buffer.ended(self._pulse.weighed(lease, placed, result))

    async def _close(self, buffer: ResultBuffer, writing: asyncio.Task[None]) -> None:
        """End in good order: what was not placed goes back, calls in the air end, all is stored."""
        for placer in self._placers.values():
            await placer.close()
        if self._following:
            log.info("waiting_for_calls", count=len(self._following), seconds=self._settings.drain_seconds)
            await asyncio.wait(self._following, timeout=self._settings.drain_seconds)
        self._hanging_up = True
        for leg in list(self._live.values()):
            with contextlib.suppress(Exception):
                await leg.hang_up()
        if self._following:
            await asyncio.wait(self._following)
        buffer.close()
        await writing
