"""The vigil: a worker shows that it lives, and watches whether the others do.

A worker is dead when its beats have not grown over several looks in a row. Each look is a read that succeeded and came
an interval after the one before, by this process's own monotonic time: so neither a clock that is set, nor a database
that was away, nor this process having stood still makes a living worker dead. A worker that holds no call need not be
watched, and need not beat.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from ringback.roles.recovery import take_over
from ringback.store import workers
from ringback.store.database import News
from ringback.store.refusals import is_passing

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringback.clock import Clock
    from ringback.store.database import Store
    from ringback.store.workers import OtherWorker
    from ringback.telephony.port import Engine

log = structlog.get_logger(__name__)

#: How many looks in a row must find a worker unchanged.
LOOKS: Final = 5


class VigilSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``takeover_seconds``: how long a worker shows no life before its calls are settled by another.

    ``idle_poll_seconds``: how often to look while nobody holds a call. ``minute_seconds``: length of a recall minute.
    """

    takeover_seconds: float = 10.0
    idle_poll_seconds: float = 1.0
    minute_seconds: float = 60.0

    @property
    def every_seconds(self) -> float:
        """The time between two beats, and between two looks."""
        return self.takeover_seconds / LOOKS


class _Watched(msgspec.Struct):
    beats: int
    unchanged: int = 0


class Vigil:
    """:meth:`run` works until :meth:`stop` is called, or raises :class:`~ringback.store.workers.Fenced`.

    ``holds_calls`` tells whether this worker holds any, or is about to. ``on_workers`` is told at each look how many
    workers dial, with this one.
    """

    def __init__(
        self,
        store: Store,
        engine: Engine,
        clock: Clock,
        settings: VigilSettings,
        *,
        worker_id: int,
        holds_calls: Callable[[], bool],
        on_workers: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._engine = engine
        self._clock = clock
        self._settings = settings
        self._worker_id = worker_id
        self._holds_calls = holds_calls
        self._on_workers = on_workers
        self._watched: dict[int, _Watched] = {}
        self._others_busy = False
        self._taking_over: dict[int, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()
        self._bell = store.subscribe(News.WORK, News.LINES)

    def stop(self) -> None:
        """Beat no more."""
        self._stopping.set()
        self._bell.ring()

    def look_now(self) -> None:
        """This worker is about to hold calls: its first beat is due now, not after an idle while."""
        self._bell.ring()

    async def run(self) -> None:
        """Work until stopped."""
        try:
            await self._watch()
        finally:
            self._store.unsubscribe(self._bell)
            if self._taking_over:  # of nothing it would look for an event loop, which may be gone
                await asyncio.gather(*self._taking_over.values(), return_exceptions=True)

    async def _watch(self) -> None:
        looked = -self._settings.every_seconds
        while True:
            # Rung again and again, it must not look more often than a worker beats.
            await self._rest(looked + self._settings.every_seconds - self._clock.monotonic())
            if self._stopping.is_set():
                return
            looked = self._clock.monotonic()
            try:
                await self._beat_and_look()
            except Exception as error:
                if not is_passing(error):
                    raise
                log.warning("no_beat", error=str(error) or type(error).__name__)
            await self._bell.wait(self._seconds_to_next())

    async def _rest(self, seconds: float) -> None:
        """So long, or until it is to stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._stopping.wait()

    def _seconds_to_next(self) -> float:
        busy = self._is_busy() or self._others_busy
        return self._settings.every_seconds if busy else self._settings.idle_poll_seconds

    def _is_busy(self) -> bool:
        # Whoever settles another's calls is watched as if they were his.
        return self._holds_calls() or bool(self._taking_over)

    async def _beat_and_look(self) -> None:
        async with self._store.write() as tx:
            await workers.beat(tx, self._worker_id, self._clock.now_ms(), idle=not self._is_busy())
            others = await workers.others(tx, self._worker_id)
        self._look(others)

    def _look(self, others: list[OtherWorker]) -> None:
        busy = [one for one in others if not one.idle]
        self._others_busy = bool(busy)
        self._on_workers(1 + sum(one.engine == self._engine.name and one.fenced_by is None for one in busy))
        self._watched = {one.id: self._seen(one) for one in busy}
        for one in busy:
            if self._watched[one.id].unchanged < LOOKS or one.id in self._taking_over:
                continue
            if not self._is_being_settled(one):
                # Beside the watch: asking for many calls takes time, and this worker must beat meanwhile.
                self._taking_over[one.id] = asyncio.create_task(self._take_over(one))

    def _is_being_settled(self, dead: OtherWorker) -> bool:
        """Whether another that lives settles its calls. Asked for a second time, a call that was hung up is gone."""
        settler = self._watched.get(dead.fenced_by or 0)
        return settler is not None and settler.unchanged < LOOKS

    def _seen(self, one: OtherWorker) -> _Watched:
        before = self._watched.get(one.id)
        if before is None or before.beats != one.beats:
            return _Watched(one.beats)
        return _Watched(one.beats, before.unchanged + 1)

    async def _take_over(self, dead: OtherWorker) -> None:
        try:
            taken = await take_over(
                self._store,
                self._engine,
                self._clock,
                dead,
                worker_id=self._worker_id,
                minute_seconds=self._settings.minute_seconds,
            )
            log.warning("worker_taken_for_dead" if taken else "worker_came_back", worker_id=dead.id)
        except Exception:  # the next look finds it unchanged still, and tries again
            log.exception("takeover_broke", worker_id=dead.id)
        finally:
            del self._taking_over[dead.id]


async def settle_the_dead(store: Store, engine: Engine, clock: Clock, *, worker_id: int, minute_seconds: float) -> None:
    """Settle what every other worker held, at once.

    Only the single dialler of a database may call this: to it, every other worker is dead.
    """
    async with store.read() as tx:
        others = await workers.others(tx, worker_id)
    for dead in others:
        await take_over(store, engine, clock, dead, worker_id=worker_id, minute_seconds=minute_seconds)
