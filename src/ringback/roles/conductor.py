"""The conductor: starts tasks whose send time has come, recall nodes and redials that are due, and completes jobs.

Late is allowed, early never.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from ringback.roles.patience import Patience
from ringback.store import jobs, node_start, nodes, redials, submission
from ringback.store.database import News
from ringback.store.refusals import is_passing

if TYPE_CHECKING:
    from ringback.clock import Clock
    from ringback.store.database import Store

log = structlog.get_logger(__name__)

#: How many due nodes, and how many due tasks, one transaction starts.
NODES_AT_ONCE = 250
TASKS_AT_ONCE = 250
#: How many numbers of one job one transaction puts into its next round.
NUMBERS_AT_ONCE = 5_000
#: What comes due within so short a time starts together; and so long something waits that somebody else holds.
GATHER_SECONDS = 0.02


class Conductor:
    """:meth:`run` works until :meth:`stop` is called. ``idle_poll_seconds``: how often to look without being rung."""

    def __init__(
        self, store: Store, clock: Clock, *, minute_seconds: float = 60.0, idle_poll_seconds: float = 1.0
    ) -> None:
        self._store = store
        self._clock = clock
        self._minute_seconds = minute_seconds
        self._idle_poll_seconds = idle_poll_seconds
        self._stopping = asyncio.Event()
        self._bell = store.subscribe(News.WORK)

    def stop(self) -> None:
        """Start nothing more."""
        self._stopping.set()
        self._bell.ring()

    async def run(self) -> None:
        """Work until stopped. A database that refuses for now is waited out."""
        patience = Patience()
        try:
            while not self._stopping.is_set():
                try:
                    if not await self.sweep():
                        await self._bell.wait(await self._seconds_to_next())
                except Exception as error:
                    if not is_passing(error):
                        raise
                    wait = patience.more()
                    log.warning("nothing_started", error=str(error) or type(error).__name__, retry_in=wait)
                    await self._clock.sleep(wait)
                else:
                    patience.reset()
        finally:
            self._store.unsubscribe(self._bell)

    async def sweep(self) -> bool:
        """Start what is due now, many in one transaction. True when there may be more.

        One that breaks ends with a reason and holds up no other. Raises when the database refuses for now.
        """
        now_ms = self._clock.now_ms()
        async with self._store.read() as tx:
            due_nodes = await nodes.due(tx, now_ms, NODES_AT_ONCE)
            due_tasks = await submission.due(tx, now_ms, TASKS_AT_ONCE)
            redial_at = await redials.next_due_at(tx)
            jobs_done = await jobs.any_done(tx, now_ms)
        # Another conductor may be at work on all of them.
        started = 0
        if due_nodes:
            started += await self._start_nodes(due_nodes)
        if redial_at is not None and redial_at <= now_ms:
            started += await self._redial()
        if due_tasks:
            started += await self._submit_tasks(due_tasks)
        if jobs_done:
            started += await self._complete_jobs()
        if started:
            self._store.announce(News.WORK)
        return started > 0

    async def _start_nodes(self, due: list[int]) -> int:
        """Start due nodes and submit their tasks. Returns how many are done with."""
        try:
            return await self._start(NODES_AT_ONCE)
        except Exception as error:
            if is_passing(error):
                raise
            log.warning("nodes_broke", nodes=len(due), error=type(error).__name__, hint="one by one now")
        for node_id in due:
            try:
                await self._start(1, only=node_id)
            except Exception as error:
                if is_passing(error):
                    raise
                log.exception("node_broke", node_id=node_id)
                async with self._store.write() as tx:
                    await nodes.refuse(tx, node_id, f"internal error: {type(error).__name__}", self._clock.now_ms())
        return len(due)

    async def _start(self, limit: int, *, only: int | None = None) -> int:
        async with self._store.write() as tx:
            now_ms = self._clock.now_ms()
            started = await node_start.start_due(tx, now_ms, limit, only=only)
            task_ids = [task_id for task_id in started.values() if task_id is not None]
            if task_ids:
                await submission.submit(tx, task_ids, now_ms, minute_seconds=self._minute_seconds)
        for node_id, task_id in started.items():
            log.info("node_started", node_id=node_id, task_id=task_id)
        return len(started)

    async def _redial(self) -> int:
        """Put numbers that are due into the next round of their job. Returns how many."""
        async with self._store.write() as tx:
            done = await redials.start_due(
                tx, self._clock.now_ms(), NUMBERS_AT_ONCE, minute_seconds=self._minute_seconds
            )
        if done.dropped:
            log.warning("redials_dropped", numbers=done.dropped, reason="their round is over")
        return done.joined + done.dropped

    async def _complete_jobs(self) -> int:
        async with self._store.write() as tx:
            done = await jobs.finish_done(tx, self._clock.now_ms(), minute_seconds=self._minute_seconds)
        for job_id in done:
            log.info("job_completed", job_id=job_id)
        return len(done)

    async def _submit_tasks(self, due: list[int]) -> int:
        """Submit due tasks. Returns how many are done with."""
        try:
            async with self._store.write() as tx:
                submitted = await submission.submit_due(
                    tx, self._clock.now_ms(), TASKS_AT_ONCE, minute_seconds=self._minute_seconds
                )
        except Exception as error:
            if is_passing(error):
                raise
            log.warning("tasks_broke", tasks=len(due), error=type(error).__name__, hint="one by one now")
        else:
            for task_id in submitted:
                log.info("task_submitted", task_id=task_id)
            return len(submitted)
        for task_id in due:
            await self._submit_task(task_id)
        return len(due)

    async def _submit_task(self, task_id: int) -> None:
        now_ms = self._clock.now_ms()
        try:
            async with self._store.write() as tx:
                await submission.submit(tx, [task_id], now_ms, minute_seconds=self._minute_seconds)
        except Exception as error:
            if is_passing(error):
                raise
            log.exception("task_broke", task_id=task_id)
            async with self._store.write() as tx:
                await submission.refuse(tx, task_id, f"internal error: {type(error).__name__}", now_ms)
        else:
            log.info("task_submitted", task_id=task_id)

    async def _seconds_to_next(self) -> float:
        async with self._store.read() as tx:
            found = (
                await submission.next_send_at(tx),
                await nodes.next_due_at(tx),
                await redials.next_due_at(tx),
            )
            due = [at for at in found if at is not None]
        if not due:
            return self._idle_poll_seconds
        return min(self._idle_poll_seconds, max(GATHER_SECONDS, (min(due) - self._clock.now_ms()) / 1000))
