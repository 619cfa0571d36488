"""The dialler: leases calls under the limits, places each at its slot, and buffers what comes of it.

*Dialling* is committed before an INVITE leaves; a call that cannot leave in time is given back.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import structlog

from ringback.model.pacing import MICROSECONDS
from ringback.roles.hold import Permit
from ringback.roles.leasing import REACH_US, Leasing
from ringback.roles.live_calls import LiveCalls
from ringback.roles.node_watch import report_nodes
from ringback.roles.patience import Patience
from ringback.roles.phone_first import PhoneFirst
from ringback.roles.placer import Placement, Placer
from ringback.roles.pulse import Pulse
from ringback.roles.results import ResultBuffer
from ringback.roles.seats import PhoneSeats
from ringback.roles.vigil import Vigil, VigilSettings, settle_the_dead
from ringback.store import workers
from ringback.store.database import News
from ringback.store.provenance import DatabaseHeld
from ringback.store.refusals import is_passing
from ringback.store.workers import Fenced

if TYPE_CHECKING:
    from ringback.clock import Clock
    from ringback.roles.library import TemplateLibrary
    from ringback.store.database import Store
    from ringback.store.leases import LeaseBatch
    from ringback.store.witness import Witness
    from ringback.telephony.port import Engine

log = structlog.get_logger(__name__)


class DiallerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``no_reply_seconds``: a trunk silent for so long is given up. ``idle_poll_seconds``: how often to look for work
    that another process made. ``drain_seconds``: how long calls in the air may go on after a stop was asked for.
    ``takeover_seconds``: how long a worker shows no life before its calls are settled by another.
    ``minute_seconds``: the length of a recall minute. ``recordings``: the folder of recordings.
    """

    minute_seconds: float = 60.0
    no_reply_seconds: float = 10.0
    idle_poll_seconds: float = 1.0
    drain_seconds: float = 30.0
    takeover_seconds: float = 10.0
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
        self._waiting: dict[int, str] = {}
        #: This worker's id, once it is known.
        self.worker_id: int | None = None

    def stop(self) -> None:
        """Lease no more; :meth:`run` returns when the calls in the air have ended and are stored."""
        self._stopping.set()
        self._bell.ring()

    async def run(self) -> None:
        """Work until stopped, or until others have taken this worker for dead: then a new one may start.

        Raises:
            EngineUnavailable: the engine cannot start; the text says why.
        """
        try:
            await self._work()
        except Fenced as error:
            log.warning("fenced_off", reason=str(error), hint="its calls have been hung up; others have settled them")

    async def _work(self) -> None:
        minute_seconds = self._settings.minute_seconds
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._store.unsubscribe, self._bell)
            # Before anything else: a copy must neither dial nor meddle with calls that the original may have.
            if not await self._may_dial():
                return
            async with self._store.write() as tx:
                worker_id = await workers.register(
                    tx,
                    engine=self._engine.name,
                    pid=os.getpid(),
                    name=self._engine.known_as,
                    now_ms=self._clock.now_ms(),
                )
            self.worker_id = worker_id
            stack.push_async_callback(self._engine.stop)
            await self._engine.start()
            # A node that is being drained must not get the first calls.
            await report_nodes(self._store, self._engine, self._clock, worker_id)
            if not self._store.shared:
                await settle_the_dead(
                    self._store, self._engine, self._clock, worker_id=worker_id, minute_seconds=minute_seconds
                )
            self._leasing = Leasing(
                self._store,
                self._engine,
                self._clock,
                self._pulse,
                self._permit,
                worker_id=worker_id,
                minute_seconds=minute_seconds,
            )
            self._buffer = ResultBuffer(self._store, self._clock, worker_id, minute_seconds=minute_seconds)
            seats = PhoneSeats(self._store, self._engine, self._clock)
            self._calls = LiveCalls(
                self._engine,
                self._clock,
                self._library,
                self._pulse,
                self._buffer,
                seats=seats,
                phone_first=PhoneFirst(
                    self._store, self._clock, seats, self._buffer, worker_id=worker_id, again=self._place_again
                ),
                no_reply_seconds=self._settings.no_reply_seconds,
                recordings=self._settings.recordings,
            )
            vigil = self._vigil(worker_id)
            watching = asyncio.create_task(vigil.run())
            watching.add_done_callback(lambda _: self._bell.ring())
            stack.push_async_callback(_end, vigil, watching)
            writing = asyncio.create_task(self._buffer.run())
            stack.push_async_callback(self._close, writing, watching)
            await self._dial_on(vigil, [writing, watching])
        async with self._store.write() as tx:
            await workers.ended(tx, worker_id, self._clock.now_ms())

    def _vigil(self, worker_id: int) -> Vigil:
        settings = VigilSettings(
            takeover_seconds=self._settings.takeover_seconds,
            idle_poll_seconds=self._settings.idle_poll_seconds,
            minute_seconds=self._settings.minute_seconds,
        )
        return Vigil(
            self._store,
            self._engine,
            self._clock,
            settings,
            worker_id=worker_id,
            holds_calls=self._holds_calls,
            on_workers=self._pulse.share_among,
        )

    def _holds_calls(self) -> bool:
        waiting = any(placer.waiting for placer in self._placers.values())
        return waiting or len(self._calls) > 0 or self._leasing.in_doubt or not self._buffer.empty

    async def _dial_on(self, vigil: Vigil, beside: list[asyncio.Task[None]]) -> None:
        patience = Patience()
        while not self._stopping.is_set():
            for task in beside:
                if task.done():
                    await task  # it ends by itself only when it broke, or when this worker was fenced off
                    raise RuntimeError("a part of the dialler ended")
            for placer in self._placers.values():
                if placer.broken is not None:
                    raise RuntimeError("a placer broke") from placer.broken
            try:
                batch = await self._leasing.take(
                    not_placed=sum(placer.waiting for placer in self._placers.values()), headroom=self._offer
                )
            except DatabaseHeld:
                await self._may_dial()
                continue
            except Exception as error:
                if not is_passing(error):
                    raise
                # Calls in the air go on; nothing new starts before the database answers again.
                wait = patience.more()
                log.warning("nothing_leased", error=str(error), retry_in=wait)
                await self._bell.wait(wait)
                continue
            patience.reset()
            if batch.leases and not self._permit.given_out(batch.number):
                for lease in batch.leases:
                    self._buffer.released(lease)
                await self._may_dial()
                continue
            self._hand_out(batch)
            if batch.leases:
                vigil.look_now()
            await self._bell.wait(self._leasing.seconds_until(batch.wake_us, self._settings.idle_poll_seconds))

    async def _may_dial(self) -> bool:
        return await self._permit.wait(self._stopping, self._bell, self._settings.idle_poll_seconds)

    def _offer(self, trunk_id: int) -> int:
        """How many more calls of a trunk to lease at most: none while those leased already leave late."""
        placer = self._placers.get(trunk_id)
        return 0 if placer is not None and placer.is_behind() else self._pulse.offer(trunk_id)

    def _headroom_is_back(self, trunk_id: int) -> None:
        self._bell.ring()
        if trunk_id in self._placers:
            self._placers[trunk_id].look()

    def _hand_out(self, batch: LeaseBatch) -> None:
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
                    prepare=self._calls.prepare,
                    place=self._calls.place,
                    give_back=self._calls.give_back,
                    caught_up=self._bell.ring,
                )
            # A slot further away than a lease reaches means that the wall clock was set in between.
            ahead_us = min(lease.slot_us - now_us, REACH_US)
            at_us = monotonic_us + ahead_us
            placer.put(Placement(lease, batch.routes[lease.trunk_id], at_us, at_us + batch.grace_us))

    def _place_again(self, placement: Placement, slot_us: int, grace_us: int) -> None:
        """A call whose phone was called first has got a slot."""
        if self._stopping.is_set():
            self._calls.give_back(placement.lease)
            return
        at_us = round(self._clock.monotonic() * MICROSECONDS) + slot_us - self._clock.now_us()
        again = Placement(placement.lease, placement.route, at_us, at_us + grace_us)
        self._placers[placement.lease.trunk_id].put(again)

    async def _close(self, writing: asyncio.Task[None], watching: asyncio.Task[None]) -> None:
        """End in good order: what was not placed goes back, calls in the air end, all is stored.

        Once this worker is fenced off, nothing of that can be stored, and its calls are hung up at once.
        """
        for placer in self._placers.values():
            await placer.close()
        if len(self._calls) and not watching.done():
            log.info("waiting_for_calls", count=len(self._calls), seconds=self._settings.drain_seconds)
            ending = asyncio.create_task(self._calls.all_ended())
            await asyncio.wait(
                {ending, watching}, timeout=self._settings.drain_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            ending.cancel()
        await self._calls.hang_up()
        self._buffer.close()
        await writing
        await self._undo_doubtful()

    async def _undo_doubtful(self) -> None:
        try:
            await self._leasing.undo_doubtful()
        except Exception as error:  # noqa: BLE001 - whoever settles this worker's calls finds them
            log.warning("doubtful_lease_left", error=str(error) or type(error).__name__)


async def _end(vigil: Vigil, watching: asyncio.Task[None]) -> None:
    vigil.stop()
    # Whoever waits for the dialler hears of it there.
    await asyncio.gather(watching, return_exceptions=True)
