"""The conductor: starts tasks whose send time has come and recall nodes that are due. Late is allowed, early never."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from ringback.store import nodes, tasks
from ringback.store.database import News
from ringback.store.refusals import is_passing

if TYPE_CHECKING:
    from ringback.clock import Clock
    from ringback.store.database import Store

log = structlog.get_logger(__name__)

#: How many due nodes, and how many due tasks, one sweep starts.
AT_ONCE = 50


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
        """Start what is due now, each in a transaction of its own. True when there may be more.

        One that breaks ends with a reason and holds up no other. Raises when the database refuses for now.
        """
        now_ms = self._clock.now_ms()
        async with self._store.read() as tx:
            due_nodes = await nodes.due(tx, now_ms, AT_ONCE)
        for node_id in due_nodes:
            await self._start_node(node_id, now_ms)
        async with self._store.read() as tx:
            due_tasks = await tasks.due(tx, now_ms, AT_ONCE)
        for task_id in due_tasks:
            await self._submit_task(task_id, now_ms)
        if due_nodes or due_tasks:
            self._store.announce(News.WORK)
        return bool(due_nodes or due_tasks)

    async def _start_node(self, node_id: int, now_ms: int) -> None:
        try:
            async with self._store.write() as tx:
                task_id = await nodes.start(tx, node_id, now_ms)
        except Exception as error:
            if is_passing(error):
                raise
            log.exception("node_broke", node_id=node_id)
            async with self._store.write() as tx:
                await nodes.refuse(tx, node_id, f"internal error: {type(error).__name__}", now_ms)
        else:
            log.info("node_started", node_id=node_id, task_id=task_id)

    async def _submit_task(self, task_id: int, now_ms: int) -> None:
        try:
            async with self._store.write() as tx:
                await tasks.submit(tx, task_id, now_ms, minute_seconds=self._minute_seconds)
        except Exception as error:
            if is_passing(error):
                raise
            log.exception("task_broke", task_id=task_id)
            async with self._store.write() as tx:
                await tasks.refuse(tx, task_id, f"internal error: {type(error).__name__}", now_ms)
        else:
            log.info("task_submitted", task_id=task_id)

    async def _seconds_to_next(self) -> float:
        async with self._store.read() as tx:
            due = [at for at in (await tasks.next_send_at(tx), await nodes.next_due_at(tx)) if at is not None]
        if not due:
            return self._idle_poll_seconds
        return min(self._idle_poll_seconds, max(0.0, (min(due) - self._clock.now_ms()) / 1000))
