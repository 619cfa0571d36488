"""The dialler: leases calls under the limits, places each at its slot, and buffers what comes of it.

*Dialling* is committed before an INVITE leaves; a call that cannot leave in time is given back.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

import msgspec
import structlog

from ringback.model.numbers import masked
from ringback.model.outcome import Outcome
from ringback.roles.one_call import run_call
from ringback.roles.placer import Placer
from ringback.roles.recovery import settle_the_dead
from ringback.roles.results import ResultBuffer
from ringback.store import leases
from ringback.store.calls import CallResult
from ringback.store.database import News
from ringback.telephony.port import Destination, DialOrder, Engine, EngineUnavailable, Leg

if TYPE_CHECKING:
    from ringback.clock import Clock
    from ringback.roles.library import Ready, TemplateLibrary
    from ringback.store.database import Store
    from ringback.store.leases import Lease, LeaseBatch, Route

log = structlog.get_logger(__name__)

#: How far ahead calls are leased, microseconds; also what bounds a burst after a stall.
HORIZON_US = 100_000
#: How late a leased call may still leave, microseconds. A pause or cancel waits that long.
GRACE_US = 250_000
#: The shortest wait between two lease transactions, seconds.
SHORTEST_TICK_SECONDS = 0.005


class DiallerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``no_reply_seconds``: a trunk silent for so long is given up. ``idle_poll_seconds``: how often to look for work
    that another process made. ``drain_seconds``: how long calls in the air may go on after a stop was asked for.
    ``minute_seconds``: the length of a recall minute.
    """

    minute_seconds: float = 60.0
    no_reply_seconds: float = 10.0
    idle_poll_seconds: float = 1.0
    drain_seconds: float = 30.0


class Dialler:
    """One worker. :meth:`run` works until :meth:`stop` is called."""

    def __init__(
        self, store: Store, engine: Engine, clock: Clock, library: TemplateLibrary, settings: DiallerSettings
    ) -> None:
        self._store = store
        self._engine = engine
        self._clock = clock
        self._library = library
        self._settings = settings
        self._stopping = asyncio.Event()
        self._bell = store.subscribe(News.WORK, News.LINES)
        self._placers: dict[int, Placer] = {}
        self._live: dict[int, Leg] = {}
        self._following: set[asyncio.Task[None]] = set()
        self._waiting: dict[int, str] = {}

    def stop(self) -> None:
        """Lease no more; :meth:`run` returns when the calls in the air have ended and are stored."""
        self._stopping.set()
        self._bell.ring()

    async def run(self) -> None:
        """Work until stopped.

        Raises:
            EngineUnavailable: the engine cannot start; the text says why.
        """
        await self._engine.start()
        minute_seconds = self._settings.minute_seconds
        async with self._store.write() as tx:
            worker_id = await leases.register_worker(
                tx, engine=self._engine.name, pid=os.getpid(), now_ms=self._clock.now_ms()
            )
        await settle_the_dead(
            self._store, self._engine, self._clock, worker_id=worker_id, minute_seconds=minute_seconds
        )
        buffer = ResultBuffer(self._store, self._clock, worker_id, minute_seconds=minute_seconds)
        writing = asyncio.create_task(buffer.run())
        try:
            while not self._stopping.is_set():
                batch = await self._lease(worker_id)
                self._hand_out(batch, buffer)
                await self._bell.wait(self._seconds_until(batch.wake_us))
        finally:
            await self._drain()
            buffer.close()
            await writing
            await self._engine.stop()
            self._store.unsubscribe(self._bell)
        async with self._store.write() as tx:
            await leases.worker_ended(tx, worker_id, self._clock.now_ms())

    async def _lease(self, worker_id: int) -> LeaseBatch:
        not_placed = sum(placer.waiting for placer in self._placers.values())
        async with self._store.write() as tx:
            return await leases.lease(
                tx,
                worker_id=worker_id,
                engine=self._engine.name,
                now_us=self._clock.now_us(),
                horizon_us=HORIZON_US,
                grace_us=GRACE_US,
                free_lines=max(0, self._engine.free_lines() - not_placed),
            )

    def _hand_out(self, batch: LeaseBatch, buffer: ResultBuffer) -> None:
        for task_id, reason in batch.waiting.items():
            if self._waiting.get(task_id) != reason:
                log.debug("task_waits", task_id=task_id, reason=reason)
        self._waiting = batch.waiting
        for lease in batch.leases:
            placer = self._placers.get(lease.trunk_id)
            if placer is None:
                placer = self._placers[lease.trunk_id] = Placer(
                    self._clock,
                    grace_us=GRACE_US,
                    place=lambda lease, route: self._place(lease, route, buffer),
                    give_back=lambda lease: buffer.released(lease.call_id),
                )
            placer.put(lease, batch.routes[lease.trunk_id])

    def _seconds_until(self, wake_us: int | None) -> float:
        poll = self._settings.idle_poll_seconds
        if wake_us is None:
            return poll
        # Wake when the slot is half a horizon away: early enough to lease it, late enough to lease several at once.
        ahead = (wake_us - self._clock.now_us() - HORIZON_US / 2) / 1_000_000
        return min(poll, max(SHORTEST_TICK_SECONDS, ahead))

    async def _place(self, lease: Lease, route: Route, buffer: ResultBuffer) -> None:
        """Send the INVITE of a leased call whose slot has come, and follow the call in a task of its own."""
        order = DialOrder(
            call_id=lease.call_id,
            task_id=lease.task_id,
            callee=lease.callee,
            caller_id=lease.caller_id,
            destination=Destination(host=route.host, port=route.port, user=route.username, password=route.password),
        )
        try:
            ready = await self._library.get(lease.template_id)
            leg = await self._engine.dial(order)
        except ValueError as error:
            # The engine refuses what it was given, and would refuse it for ever.
            log.exception("call_refused_by_engine", call_id=lease.call_id, callee=masked(lease.callee))
            buffer.ended(
                CallResult(
                    call_id=lease.call_id,
                    outcome=Outcome.FAILED,
                    ended_at=self._clock.now_ms(),
                    reason=f"could not be placed: {error}",
                )
            )
            return
        except Exception as error:  # noqa: BLE001 - nothing was sent, so the call must go back, whatever the cause
            level = log.warning if isinstance(error, EngineUnavailable) else log.exception
            level("call_not_placed", call_id=lease.call_id, callee=masked(lease.callee), reason=str(error))
            buffer.released(lease.call_id)
            return
        self._live[lease.call_id] = leg
        following = asyncio.create_task(self._follow(leg, lease, ready, buffer))
        self._following.add(following)
        following.add_done_callback(self._following.discard)

    async def _follow(self, leg: Leg, lease: Lease, ready: Ready, buffer: ResultBuffer) -> None:
        try:
            result = await run_call(
                leg,
                lease,
                template=ready.template,
                prompts=ready.prompts,
                clock=self._clock,
                no_reply_seconds=self._settings.no_reply_seconds,
                on_answer=lambda at_ms: buffer.answered(lease.call_id, at_ms),
            )
        except Exception as error:
            log.exception("call_broke", call_id=lease.call_id, task_id=lease.task_id)
            with contextlib.suppress(Exception):
                await leg.hang_up()
            result = CallResult(
                call_id=lease.call_id,
                outcome=Outcome.UNKNOWN,
                ended_at=self._clock.now_ms(),
                reason=f"internal error: {type(error).__name__}",
            )
        finally:
            self._live.pop(lease.call_id, None)
        buffer.ended(result)

    async def _drain(self) -> None:
        for placer in self._placers.values():
            await placer.close()
        if self._following:
            log.info("waiting_for_calls", count=len(self._following), seconds=self._settings.drain_seconds)
            await asyncio.wait(self._following, timeout=self._settings.drain_seconds)
        for leg in list(self._live.values()):
            await leg.hang_up()
        if self._following:
            await asyncio.wait(self._following)
