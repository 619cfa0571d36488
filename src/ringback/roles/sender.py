"""Serves one receiver: takes what is due for it, sends it, has noted what came of it.

A receiver that fails several times in a row is left alone for a growing while, and then tried with one report; when
that arrives, the rest follows, and what failed meanwhile is due again at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from ringback.model.delivery import Tried, Verdict, gives_up, probe_wait_seconds, wait_seconds
from ringback.model.report import Event
from ringback.roles.patience import Patience
from ringback.roles.request import in_requests, is_gone, request
from ringback.store import call_records, deliveries, report_endpoints
from ringback.store.deliveries import Outcome
from ringback.store.refusals import is_passing

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from ringback.clock import Clock
    from ringback.roles.post import Post
    from ringback.roles.report_notes import Notes
    from ringback.roles.request import Reported
    from ringback.roles.sockets import Sockets
    from ringback.store.database import Store, Tx
    from ringback.store.report_endpoints import Endpoint

log = structlog.get_logger(__name__)

#: Requests to one receiver at the same time, and to one that takes long to answer.
AT_ONCE: Final = 16
AT_ONCE_WHEN_SLOW: Final = 4
SLOW_SECONDS: Final = 1.0
#: Reports that are read together, and how few requests may be left when more are read.
PAGE: Final = 400
LOW: Final = 2 * AT_ONCE
#: A look that took so long is followed by a rest: much waits behind something that fails.
LONG_LOOK_SECONDS: Final = 0.05
REST: Final = 5
#: So many failures in a row mean that the receiver as a whole is in trouble.
TROUBLE_AFTER: Final = 3
#: Trouble that lasted so long is over with a success: what failed in it is due again. Some reports that a receiver
#: never takes make trouble too, but not for long.
LONG_TROUBLE_SECONDS: Final = 60.0


class Sender:
    """:meth:`run` works until :meth:`stop` is called, or the courier does not hold the receiver any more.

    ``courier`` is the token of the courier that holds it.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        post: Post,
        *,
        sockets: Sockets,
        notes: Notes,
        rng: random.Random,
        courier: str,
        endpoint: Endpoint,
    ) -> None:
        self._store = store
        self._clock = clock
        self._post = post
        self._sockets = sockets
        self._notes = notes
        self._rng = rng
        self._courier = courier
        self._endpoint = endpoint
        self._changed = asyncio.Event()
        self._stopping = False
        self._may_be_due = True
        self._queue: list[list[Reported]] = []
        #: Reports between their reading and their noting.
        self._busy: set[int] = set()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._outcomes: list[Outcome] = []
        self._noting: asyncio.Task[None] | None = None
        self._held = True
        self._gone = ""
        self._slow = False
        self._failures = 0
        self._failing_since = 0.0
        self._left_alone_until = 0.0
        self._resting_until = 0.0  # all in monotonic seconds
        self._recovered = False

    def wake(self) -> None:
        """There may be something due."""
        self._may_be_due = True
        self._changed.set()

    def stop(self) -> None:
        """Send nothing more; what is in flight ends, and is noted."""
        self._stopping = True
        self._changed.set()

    async def run(self) -> None:
        """Send what is due until told to stop."""
        try:
            while not (self._stopping and not self._in_flight and not self._outcomes and self._noting is None):
                await self._step()
                await self._changed.wait()
                self._changed.clear()
            if self._gone and self._held:
                await self._patiently(self._disable)
        finally:
            for task in (*self._in_flight, *([self._noting] if self._noting else [])):
                task.cancel()

    async def _step(self) -> None:
        if self._noting is not None and self._noting.done():
            done, self._noting = self._noting, None
            done.result()
        if self._outcomes and self._noting is None:
            outcomes, self._outcomes = self._outcomes, []
            self._noting = asyncio.create_task(self._note(outcomes))
            self._noting.add_done_callback(lambda _: self._changed.set())
        if self._stopping or not self._may_try():
            # What was read may be due differently by the time it is sent.
            self._forget_queue()
        else:
            if self._recovered:
                self._recovered = False
                await self._patiently(self._bring_forward)
            if self._may_be_due and len(self._queue) < LOW and self._clock.monotonic() >= self._resting_until:
                self._may_be_due = False
                await self._patiently(self._read)
            self._start()
        if self._stopping and not self._in_flight and not self._outcomes and self._noting is None:
            self._changed.set()

    def _may_try(self) -> bool:
        if self._clock.monotonic() < self._left_alone_until:
            return False
        return self._failures < TROUBLE_AFTER or not self._in_flight

    def _start(self) -> None:
        probing = self._failures >= TROUBLE_AFTER
        window = 1 if probing else AT_ONCE_WHEN_SLOW if self._slow else AT_ONCE
        while self._queue and len(self._in_flight) < window:
            further = bool(self._in_flight)
            if further and not self._sockets.take_further():
                return
            unit = [self._take_probe()] if probing else self._queue.pop(0)
            task = asyncio.create_task(self._serve(unit, further=further))
            self._in_flight.add(task)
            task.add_done_callback(self._over)

    def _take_probe(self) -> Reported:
        """One of the reports that were read, each as likely as another: the oldest may be the ones that it never
        takes, and it would be tried with nothing else.
        """
        (unit,) = self._rng.choices(self._queue, weights=[len(unit) for unit in self._queue])
        probe = unit.pop()
        if not unit:
            self._queue.remove(unit)
        return probe

    def _over(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._changed.set()

    async def _serve(self, unit: list[Reported], *, further: bool) -> None:
        try:
            if further:
                outcomes = await self._try(unit)
            else:
                async with self._sockets.first():
                    outcomes = await self._try(unit)
        except Exception as error:  # one that cannot be sent must not stop the others
            log.exception("report_broke", endpoint=self._endpoint.id, reports=[due.id for due, _ in unit])
            tried = Tried(None, f"internal error: {type(error).__name__}")
            outcomes = [self._outcome(one, tried) for one in unit]
        finally:
            if further:
                self._sockets.give_back_further()
        self._outcomes.extend(outcomes)

    async def _try(self, unit: list[Reported]) -> list[Outcome]:
        outcomes = [Outcome(report_id=one[0].id, error="its call is gone") for one in unit if is_gone(one)]
        rest = [one for one in unit if not is_gone(one)]
        if rest:
            headers, body = request(self._endpoint, rest, self._clock.now_ms())
            began = self._clock.monotonic()
            tried = await self._post.send(self._endpoint.url, headers, body)
            self._slow = self._clock.monotonic() - began > SLOW_SECONDS
            self._learn(tried)
            outcomes += [self._outcome(one, tried) for one in rest]
        return outcomes

    def _learn(self, tried: Tried) -> None:
        now = self._clock.monotonic()
        if tried.verdict is Verdict.GONE:
            self._gone = tried.why()
            self.stop()
        elif tried.verdict in (Verdict.DELIVERED, Verdict.REFUSED):
            self._recovered |= self._failures >= TROUBLE_AFTER and now - self._failing_since >= LONG_TROUBLE_SECONDS
            self._failures = 0
        else:
            if self._failures == 0:
                self._failing_since = now
            self._failures += 1
            self._leave_alone(tried, now)

    def _leave_alone(self, tried: Tried, now: float) -> None:
        wait = tried.retry_after or 0.0
        if self._failures >= TROUBLE_AFTER:
            # A whole window fails together: that is one step of growth, not sixteen.
            if now >= self._left_alone_until:
                wait = max(wait, probe_wait_seconds(self._failures - TROUBLE_AFTER + 1, self._rng.random()))
            else:
                self._failures -= 1
        if now + wait > self._left_alone_until and wait:
            self._left_alone_until = now + wait
            log.warning("receiver_in_trouble", endpoint=self._endpoint.id, reason=tried.why(), seconds=round(wait))

    def _outcome(self, one: Reported, tried: Tried) -> Outcome:
        due, _ = one
        if tried.verdict is Verdict.DELIVERED:
            return Outcome(report_id=due.id, delivered=True, status=tried.status)
        now_ms, attempts = self._clock.now_ms(), due.attempts + 1
        again = tried.verdict is Verdict.GONE or not gives_up(due.created_at, now_ms, attempts)
        wait = wait_seconds(attempts, self._rng.random(), tried.retry_after)
        return Outcome(
            report_id=due.id,
            due_at=now_ms + round(wait * 1000) if again else None,
            status=tried.status,
            error=tried.why(),
        )

    async def _note(self, outcomes: list[Outcome]) -> None:
        held = await self._notes.note(self._endpoint.id, outcomes)
        self._busy.difference_update(one.report_id for one in outcomes)
        # What was a barrier is none any more.
        self._may_be_due = True
        if not held:
            log.warning("receiver_taken_over", endpoint=self._endpoint.id)
            self._held = False
            self.stop()

    def _forget_queue(self) -> None:
        if self._queue:
            self._busy.difference_update(due.id for unit in self._queue for due, _ in unit)
            self._queue.clear()
            self._may_be_due = True

    async def _read(self) -> None:
        began = self._clock.monotonic()
        async with self._store.read() as tx:
            due = await deliveries.due(tx, self._endpoint.id, self._clock.now_ms(), PAGE, in_flight=self._busy)
            ids = {one.subject_id for one in due if one.event is Event.CALL_ENDED}
            calls = await call_records.by_ids(tx, ids)
        found = [(one, calls.get(one.subject_id) if one.event is Event.CALL_ENDED else None) for one in due]
        self._busy.update(one.id for one in due)
        self._queue.extend(in_requests(self._endpoint.form, found))
        self._may_be_due |= len(due) == PAGE
        took = self._clock.monotonic() - began
        if took > LONG_LOOK_SECONDS:
            self._resting_until = self._clock.monotonic() + REST * took

    async def _bring_forward(self) -> None:
        await self._write(
            lambda tx: deliveries.bring_forward(tx, self._courier, self._endpoint.id, self._clock.now_ms())
        )
        self._may_be_due = True

    async def _disable(self) -> None:
        why = "the receiver said that it wants nothing more (HTTP 410)"
        log.warning("receiver_disabled", endpoint=self._endpoint.id, reason=why)
        await self._write(lambda tx: report_endpoints.disable(tx, self._endpoint.id, why, self._clock.now_ms()))

    async def _write(self, work: Callable[[Tx], Awaitable[object]]) -> None:
        async with self._store.write() as tx:
            await work(tx)

    async def _patiently(self, work: Callable[[], Awaitable[None]]) -> None:
        patience = Patience()
        while True:
            try:
                return await work()
            except Exception as error:
                if not is_passing(error):
                    raise
                await self._clock.sleep(patience.more())
