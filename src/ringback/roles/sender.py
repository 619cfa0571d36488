"""Serves one receiver: takes what is due for it, sends it, notes what came of it.

A receiver that is in trouble as a whole is left alone for a growing while, and then tried with one request; when that
arrives, the rest follows.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from ringback.model.delivery import Tried, Verdict, gives_up, wait_seconds
from ringback.model.report import MOST_IN_A_BATCH, Event, Form
from ringback.roles.own_reports import event_body, signed
from ringback.roles.patience import Patience
from ringback.roles.vendor_pushes import push_text
from ringback.store import call_records, deliveries, report_endpoints
from ringback.store.deliveries import NotHeld, Outcome
from ringback.store.refusals import is_passing

if TYPE_CHECKING:
    import random

    from ringback.clock import Clock
    from ringback.roles.post import Post
    from ringback.store.call_records import ReportedCall
    from ringback.store.database import Store
    from ringback.store.deliveries import Due
    from ringback.store.report_endpoints import Endpoint

log = structlog.get_logger(__name__)

#: Requests to one receiver at the same time.
AT_ONCE = 16
#: Reports that are read together.
PAGE = 400
#: How long what came of tries is gathered before it is noted together, seconds.
GATHER_SECONDS = 0.1
#: So many tries in a row that say trouble mean that the receiver as a whole is in trouble.
TROUBLE_AFTER = 3


class Sender:
    """:meth:`run` works until :meth:`stop` is called, or the courier does not hold the receiver any more.

    ``courier`` is the token of the courier that holds it.
    """

    def __init__(
        self, store: Store, clock: Clock, post: Post, rng: random.Random, *, courier: str, endpoint: Endpoint
    ) -> None:
        self._store = store
        self._clock = clock
        self._post = post
        self._rng = rng
        self._courier = courier
        self._endpoint = endpoint
        self._woken = asyncio.Event()
        self._stopping = False
        self._queue: list[list[tuple[Due, ReportedCall | None]]] = []
        self._in_flight: dict[asyncio.Task[list[Outcome]], list[int]] = {}
        self._outcomes: list[Outcome] = []
        self._troubles = 0
        self._left_alone_until = 0.0  # monotonic seconds

    def wake(self) -> None:
        """There may be something due."""
        self._woken.set()

    def stop(self) -> None:
        """Send nothing more; what is in flight ends, and is noted."""
        self._stopping = True
        self._woken.set()

    async def run(self) -> None:
        """Send what is due until told to stop."""
        try:
            while not self._stopping:
                self._woken.clear()
                await self._work_off()
                if not self._stopping:
                    await self._woken.wait()
        except NotHeld:
            log.warning("receiver_taken_over", endpoint=self._endpoint.id)
        finally:
            for task in self._in_flight:
                task.cancel()

    async def _work_off(self) -> None:
        """Until nothing is due any more, or the receiver is in trouble and has been tried."""
        while True:
            if not self._stopping and self._may_try():
                if not self._queue:
                    await self._read()
                self._start()
            if not self._in_flight:
                await self._note()
                if self._stopping or not self._queue or not self._may_try():
                    # What was read may be due differently by the time it is sent.
                    self._queue.clear()
                    return
                continue
            done, _ = await asyncio.wait(self._in_flight, timeout=GATHER_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                del self._in_flight[task]
                self._outcomes.extend(task.result())
            if len(self._outcomes) >= PAGE // 2 or not done:
                await self._note()

    def _may_try(self) -> bool:
        if self._clock.monotonic() < self._left_alone_until:
            return False
        return self._troubles < TROUBLE_AFTER or not self._in_flight

    def _start(self) -> None:
        window = 1 if self._troubles >= TROUBLE_AFTER else AT_ONCE
        while self._queue and len(self._in_flight) < window:
            unit = self._queue.pop(0)
            self._in_flight[asyncio.create_task(self._try(unit))] = [due.id for due, _ in unit]

    async def _read(self) -> None:
        # What has been tried but is not noted yet is still pending for the database.
        await self._note()
        busy = [report_id for ids in self._in_flight.values() for report_id in ids]
        patience = Patience()
        while True:
            try:
                async with self._store.read() as tx:
                    due = await deliveries.due(tx, self._endpoint.id, self._clock.now_ms(), PAGE, in_flight=busy)
                    calls = await call_records.by_ids(
                        tx, {one.subject_id for one in due if one.event is Event.CALL_ENDED}
                    )
                break
            except Exception as error:
                if not is_passing(error):
                    raise
                await self._clock.sleep(patience.more())
        found = [(one, calls.get(one.subject_id) if one.event is Event.CALL_ENDED else None) for one in due]
        size = MOST_IN_A_BATCH if self._endpoint.form in (Form.AGENT, Form.BATCH) else 1
        self._queue = [found[at : at + size] for at in range(0, len(found), size)]

    async def _try(self, unit: list[tuple[Due, ReportedCall | None]]) -> list[Outcome]:
        lost = [due for due, of in unit if of is None and due.body is None]
        rest = [(due, of) for due, of in unit if of is not None or due.body is not None]
        outcomes = [Outcome(report_id=due.id, error="its call is gone") for due in lost]
        if rest:
            headers, body = self._request(rest)
            tried = await self._post.send(self._endpoint.url, headers, body)
            self._learn(tried)
            outcomes += [self._outcome(due, tried) for due, _ in rest]
            if tried.verdict is Verdict.GONE:
                await self._disable(tried)
        return outcomes

    def _request(self, unit: list[tuple[Due, ReportedCall | None]]) -> tuple[dict[str, str], str]:
        first, of = unit[0]
        name = f"msg_{first.id}"
        if self._endpoint.form is Form.EVENTS:
            body = event_body(first, of)
            return signed(self._endpoint.secret, name, self._clock.now_ms(), body), body
        if self._endpoint.form is Form.SMS:
            assert first.body is not None, "a text message has its body from the start"
            headers = {"Idempotency-Key": name}
            if self._endpoint.secret:
                headers["Authorization"] = f"Bearer {self._endpoint.secret}"
            return headers, first.body
        return {"webhook-id": name}, push_text(self._endpoint.form, [of for _, of in unit if of is not None])

    def _learn(self, tried: Tried) -> None:
        if not tried.says_trouble:
            self._troubles = 0
            self._left_alone_until = 0.0
            return
        self._troubles += 1
        if self._troubles >= TROUBLE_AFTER or tried.retry_after:
            wait = wait_seconds(max(1, self._troubles - TROUBLE_AFTER + 1), self._rng.random(), tried.retry_after)
            self._left_alone_until = max(self._left_alone_until, self._clock.monotonic() + wait)
            log.warning("receiver_in_trouble", endpoint=self._endpoint.id, reason=tried.why(), seconds=round(wait))

    def _outcome(self, due: Due, tried: Tried) -> Outcome:
        if tried.verdict is Verdict.DELIVERED:
            return Outcome(report_id=due.id, delivered=True, status=tried.status)
        now_ms = self._clock.now_ms()
        again = not gives_up(due.created_at, now_ms) or tried.verdict is Verdict.GONE
        wait = wait_seconds(due.attempts + 1, self._rng.random(), tried.retry_after)
        return Outcome(
            report_id=due.id,
            due_at=now_ms + round(wait * 1000) if again else None,
            status=tried.status,
            error=tried.why(),
        )

    async def _disable(self, tried: Tried) -> None:
        log.warning("receiver_disabled", endpoint=self._endpoint.id, reason=tried.why())
        self.stop()
        await self._note()
        async with self._store.write() as tx:
            await report_endpoints.disable(
                tx, self._endpoint.id, "the receiver said that it wants nothing more (HTTP 410)", self._clock.now_ms()
            )

    async def _note(self) -> None:
        """Store what came of tries. Raises :class:`NotHeld`."""
        if not self._outcomes:
            return
        outcomes, self._outcomes = self._outcomes, []
        patience = Patience()
        while True:
            try:
                async with self._store.write() as tx:
                    await deliveries.mark(tx, self._courier, self._endpoint.id, outcomes, self._clock.now_ms())
            except NotHeld:
                raise
            except Exception as error:
                if not is_passing(error):
                    raise
                await self._clock.sleep(patience.more())
            else:
                return
