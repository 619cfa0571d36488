"""The conductor: starts tasks whose send time has come and recall nodes that are due. Late is allowed, early never."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from ringback.store import nodes, tasks
from ringback.store.database import News

if TYPE_CHECKING:
    from ringback.clock import Clock
    from ringback.store.database import Store

log = structlog.get_logger(__name__)

#: How many due tasks one transaction starts. Nodes copy their audience, so each has a transaction of its own.
TASKS_AT_ONCE = 50
NODES_AT_ONCE = 20


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
        """Work until stopped."""
        try:
            while not self._stopping.is_set():
                if not await self.sweep():
                    await self._bell.wait(await self._seconds_to_next())
        finally:
            self._store.unsubscribe(self._bell)

    async def sweep(self) -> bool:
        """Start what is due now. True when there may be more."""
        now_ms = self._clock.now_ms()
        async with self._store.read() as tx:
            due_nodes = await nodes.due(tx, now_ms, NODES_AT_ONCE)
            next_task = await tasks.next_send_at(tx)
        for node_id in due_nodes:
            async with self._store.write() as tx:
                task_id = await nodes.start(tx, node_id, now_ms)
            log.info("node_started", node_id=node_id, task_id=task_id)
        started: list[int] = []
        if due_nodes or (next_task is not None and next_task <= now_ms):
            async with self._store.write() as tx:
                started = await tasks.submit_due(tx, now_ms, TASKS_AT_ONCE, minute_seconds=self._minute_seconds)
            for task_id in started:
                log.info("task_submitted", task_id=task_id)
            self._store.announce(News.WORK)
        return bool(due_nodes or started)

    async def _seconds_to_next(self) -> float:
        async with self._store.read() as tx:
            due = [at for at in (await tasks.next_send_at(tx), await nodes.next_due_at(tx)) if at is not None]
        if not due:
            return self._idle_poll_seconds
        return min(self._idle_poll_seconds, max(0.0, (min(due) - self._clock.now_ms()) / 1000))
