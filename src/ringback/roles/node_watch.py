"""The node watch: tells the store how the engine's nodes are, and the engine which of them the operator drains."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from ringback.model.engine_node import SeenNode
from ringback.store import engine_nodes
from ringback.store.database import Bell
from ringback.store.refusals import is_passing

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringback.clock import Clock
    from ringback.store.database import Store
    from ringback.telephony.port import Engine

log = structlog.get_logger(__name__)

EVERY_SECONDS: Final = 2.0
#: How often a change looks whether the dialler has taken note.
LOOK_EVERY_SECONDS: Final = 0.1
#: A dialler that has not by then does not run: several reports would have come.
NOTED_SECONDS: Final = 10.0


async def report_nodes(store: Store, engine: Engine, clock: Clock, worker_id: int) -> None:
    """Drain the nodes that are to be drained, and store how each one is. Forgets those that the engine has not."""
    async with store.write() as tx:
        draining = await engine_nodes.to_drain(tx, worker_id)
        for state in engine.node_states():
            engine.drain(state.name, on=state.name in draining)
        await engine_nodes.report(tx, worker_id, engine.name, engine.node_states(), clock.now_ms())


class NoSuchNode(Exception):
    """The text names those that there are."""


class Noted(msgspec.Struct, frozen=True):
    """The node after a change, and whether a dialler has taken note. If not, one does before its first call."""

    node: SeenNode
    by_dialler: bool


async def drain_node(store: Store, clock: Clock, name: str, *, on: bool) -> Noted:
    """Let a node take no new calls, or take them again; returns when the dialler has taken note, if one runs.

    Raises :class:`NoSuchNode`.
    """
    async with store.write() as tx:
        before = await engine_nodes.set_draining(tx, name, clock.now_ms(), on=on)
        names = [node.name for node in await engine_nodes.everyone(tx, clock.now_ms())]
    if before is None:
        known = f"there are {', '.join(names)}" if names else "a dialler on Asterisk must have run first"
        raise NoSuchNode(f"there is no node {name!r}; {known}")
    if before.is_stale(clock.now_ms()):
        return Noted(before, by_dialler=False)
    until = clock.monotonic() + NOTED_SECONDS
    while clock.monotonic() < until:
        await clock.sleep(LOOK_EVERY_SECONDS)
        async with store.read() as tx:
            now = await engine_nodes.by_name(tx, name, clock.now_ms())
        if now is None:
            raise NoSuchNode(f"there is no node {name!r} any more")
        if now.seen_at != before.seen_at:
            return Noted(now, by_dialler=True)
    return Noted(before, by_dialler=False)


class NodeWatch:
    """:meth:`run` works until :meth:`stop` is called.

    ``dialler`` is asked each time for the engine and the worker's id, for one that was made anew has others; ``None``:
    there is none yet.
    """

    def __init__(self, store: Store, clock: Clock, dialler: Callable[[], tuple[Engine, int] | None]) -> None:
        self._store = store
        self._clock = clock
        self._dialler = dialler
        self._stopping = asyncio.Event()
        self._bell = Bell()

    def stop(self) -> None:
        """Report no more."""
        self._stopping.set()
        self._bell.ring()

    async def run(self) -> None:
        """Work until stopped."""
        while not self._stopping.is_set():
            found = self._dialler()
            # An engine without nodes has none, or is not up: then nothing is known of them.
            if found is not None and found[0].node_states():
                try:
                    await report_nodes(self._store, found[0], self._clock, found[1])
                except Exception as error:
                    if not is_passing(error):
                        raise
                    log.warning("nodes_not_reported", error=str(error))
            await self._bell.wait(EVERY_SECONDS)
