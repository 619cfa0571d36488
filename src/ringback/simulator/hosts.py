"""Hosts: machines of the simulation that can be frozen, thawed and killed at any await.

Everything that runs on a host carries it in a context variable. The event loop parks what a frozen host would run, and
drops for ever what a killed one would. All hosts share monotonic time; each has a wall clock of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import warnings
from contextvars import Context, ContextVar, copy_context
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from ringback.clock import VirtualClock, VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator

T = TypeVar("T")

#: How often the end of a discarded task may await something.
_MOST_AWAITS = 100
#: When the list of a host's tasks is rid of those that are done.
_MOST_TASKS = 2_000

_HOST: ContextVar[Host | None] = ContextVar("host", default=None)


class HostState(Enum):
    """How a host is."""

    RUNS = "runs"
    FROZEN = "frozen"
    KILLED = "killed"


class Host:
    """One machine. Use :meth:`spawn` to run something on it."""

    def __init__(self, name: str, clock: HostClock, loop: HostLoop) -> None:
        self.name = name
        self.clock = clock
        self.state = HostState.RUNS
        self._loop = loop
        self._tasks: list[asyncio.Task[Any]] = []
        self._parked: list[asyncio.Handle] = []
        self._fuse = 0
        self._on_fuse: Callable[[], None] | None = None

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a coroutine on this host."""
        context = copy_context()
        context.run(_HOST.set, self)
        return self._loop.create_task(work, context=context)

    def freeze(self) -> None:
        """Stop running, with everything in its place."""
        if self.state is HostState.RUNS:
            self.state = HostState.FROZEN

    def thaw(self) -> None:
        """Go on: what became due meanwhile happens now, in its order."""
        if self.state is HostState.FROZEN:
            self.state = HostState.RUNS
            self._loop.resume(self._parked)
            self._parked = []

    def kill(self) -> None:
        """End without any warning: nothing of this host runs again."""
        self.state = HostState.KILLED
        self._on_fuse = None
        self._parked.clear()

    def after_steps(self, steps: int, act: Callable[[], None]) -> None:
        """Call ``act`` when the host has run so many more steps of its tasks: between two awaits, wherever that is."""
        self._fuse = steps
        self._on_fuse = act

    def keep(self, task: asyncio.Task[Any]) -> None:
        """The event loop itself would forget a task that nothing can wake any more, and complain about it."""
        if len(self._tasks) >= _MOST_TASKS:
            self._tasks = [one for one in self._tasks if not one.done()]
        self._tasks.append(task)

    def may_run(self, handle: asyncio.Handle) -> bool:
        """Whether a callback of this host may run now; if not, it is parked or dropped."""
        if self._on_fuse is not None and self.state is HostState.RUNS:
            self._fuse -= 1
            if self._fuse <= 0:
                act, self._on_fuse = self._on_fuse, None
                act()
        if self.state is HostState.FROZEN:
            self._parked.append(handle)
        return self.state is HostState.RUNS


class HostClock:
    """The clock of a host: its wall clock is off by ``skew_us``, microseconds."""

    def __init__(self, base: VirtualClock) -> None:
        self._base = base
        self.skew_us = 0

    def now_ms(self) -> int:
        """Wall-clock time of this host, epoch milliseconds UTC."""
        return self.now_us() // 1_000

    def now_us(self) -> int:
        """Wall-clock time of this host, epoch microseconds UTC."""
        return self._base.now_us() + self.skew_us

    def monotonic(self) -> float:
        """Virtual seconds since the start, the same on all hosts."""
        return self._base.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait ``seconds`` of virtual time."""
        await self._base.sleep(seconds)

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        """Nothing to hold: no work of the simulation is on another thread."""
        yield


class _HostHandle(asyncio.Handle):
    __slots__ = ()

    def _run(self) -> None:
        host = self._context.get(_HOST)  # type: ignore[attr-defined] # asyncio's own, as all below
        if host is None or host.may_run(self):
            super()._run()


class _HostTimerHandle(asyncio.TimerHandle):
    __slots__ = ()

    def _run(self) -> None:
        host = self._context.get(_HOST)  # type: ignore[attr-defined] # asyncio's own, as all below
        if host is None or host.may_run(self):
            super()._run()


class HostLoop(VirtualLoop):
    """A virtual event loop that knows on which host each callback runs. ``troubles``: callbacks that broke."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.troubles: list[str] = []

    def note_trouble(self, _loop: Any, context: dict[str, Any]) -> None:
        """An exception handler. What only the garbage collector finds comes at no certain time, and is left out."""
        if "handle" in context:
            self.troubles.append(f"{context['message']}: {context.get('exception')!r}")

    def _call_soon(self, callback: Any, args: Any, context: Context | None) -> asyncio.Handle:
        handle = _HostHandle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined] # the loop's queue
        return handle

    def call_at(  # type: ignore[override] # of any callback
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As every loop's."""
        handle = super().call_at(when, callback, *args, context=context)
        handle.__class__ = _HostTimerHandle
        return handle

    def create_task(  # type: ignore[override] # of any coroutine
        self, coro: Any, *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        """As every loop's. Tasks of hosts are kept: a killed one must not be missed by anybody."""
        context = copy_context() if context is None else context
        task: asyncio.Task[Any] = super().create_task(coro, name=name, context=context)
        host = context.get(_HOST)
        if host is not None:
            host.keep(task)
        return task

    def resume(self, handles: list[asyncio.Handle]) -> None:
        """Run these next, in this order."""
        self._ready.extend(handles)  # type: ignore[attr-defined] # the loop's queue


def simulate(clock: VirtualClock, main: Callable[[HostLoop], Coroutine[Any, Any, T]]) -> T:
    """Run ``main`` to its end on a new loop; whatever else still waits then is discarded without a sound."""
    loop = HostLoop(clock)
    loop.set_exception_handler(loop.note_trouble)
    try:
        result: T = loop.run_until_complete(main(loop))
    finally:
        _discard(asyncio.all_tasks(loop))
        loop.close()
    return result


def elsewhere() -> Context:
    """A context that belongs to no host, for what happens outside of all."""
    context = copy_context()
    context.run(_HOST.set, None)
    return context


def _discard(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """End tasks that nobody waits for any more. Closing runs the ends of their blocks, up to each await in there."""
    with warnings.catch_warnings(), _unheard():
        # What is made in there, and not awaited.
        warnings.simplefilter("ignore", RuntimeWarning)
        for task in tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001 - there is no public way
            work = task.get_coro()
            for _ in range(_MOST_AWAITS):
                with contextlib.suppress(Exception):
                    if _is_closed(work):
                        break


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """A coroutine inside another that awaits something at its end, too, has nobody to complain to."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        yield
    finally:
        sys.unraisablehook = hook


def _is_closed(work: Any) -> bool:
    try:
        work.close()
    except RuntimeError:
        return False  # it awaits something, and must be closed again
    return True
