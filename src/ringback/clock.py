"""The only reader of time: everything else is handed a :class:`Clock`.

Wall-clock instants are integers of epoch **milliseconds** (UTC) wherever they are stored or compared;
pacing works in microseconds. Waiting is done with :meth:`Clock.sleep`, never with ``asyncio.sleep``.

The virtual clock is an event loop whose time jumps to the next timer whenever nothing is left to run.
Work on other threads (a database driver) is invisible to the loop, so whoever starts such work wraps it in
:meth:`Clock.holding`: virtual time stands still while anything is held.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import time
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

T = TypeVar("T")

#: 2026-01-05 08:00:00 UTC, a Monday: where virtual time starts unless told otherwise.
DEFAULT_VIRTUAL_START_MS = 1_767_600_000_000


class Clock(Protocol):
    """Reads time and waits."""

    def now_ms(self) -> int:
        """Wall-clock time, epoch milliseconds UTC."""

    def now_us(self) -> int:
        """Wall-clock time, epoch microseconds UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""

    async def sleep(self, seconds: float) -> None:
        """Wait at least ``seconds`` (0 or less: give other tasks a turn)."""

    def holding(self) -> contextlib.AbstractContextManager[None]:
        """Keep virtual time from moving while work runs outside the event loop."""


class RealClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Wall-clock time, epoch milliseconds UTC."""
        return time.time_ns() // 1_000_000

    def now_us(self) -> int:
        """Wall-clock time, epoch microseconds UTC."""
        return time.time_ns() // 1_000

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait at least ``seconds``."""
        await asyncio.sleep(max(0.0, seconds))

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        """Nothing to hold: real time moves anyway."""
        yield


class KeptClock:
    """A clock whose wall-clock time is told from outside, and goes on by itself: whoever sets the machine's clock does
    not move it. Before it has been told, it is the machine's.
    """

    def __init__(self, base: Clock) -> None:
        self._base = base
        self._ahead_us: int | None = None

    def keep(self, now_us: int, monotonic: float) -> None:
        """It was ``now_us`` (epoch microseconds UTC) when monotonic time was that."""
        self._ahead_us = now_us - round(monotonic * 1_000_000)

    def now_ms(self) -> int:
        """Wall-clock time, epoch milliseconds UTC."""
        return self.now_us() // 1_000

    def now_us(self) -> int:
        """Wall-clock time, epoch microseconds UTC."""
        if self._ahead_us is None:
            return self._base.now_us()
        return self._ahead_us + round(self._base.monotonic() * 1_000_000)

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""
        return self._base.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait at least ``seconds``."""
        await self._base.sleep(seconds)

    def holding(self) -> contextlib.AbstractContextManager[None]:
        """As the other clock."""
        return self._base.holding()


class VirtualClock:
    """Time that jumps. Use inside :meth:`run` only, which installs the matching event loop."""

    def __init__(self, start_ms: int = DEFAULT_VIRTUAL_START_MS) -> None:
        self._start_us = start_ms * 1_000
        self._elapsed = 0.0
        self._held = 0

    def now_ms(self) -> int:
        """Virtual wall-clock time, epoch milliseconds UTC."""
        return self.now_us() // 1_000

    def now_us(self) -> int:
        """Virtual wall-clock time, epoch microseconds UTC."""
        return self._start_us + round(self._elapsed * 1_000_000)

    def monotonic(self) -> float:
        """Virtual seconds since the start."""
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Wait ``seconds`` of virtual time."""
        await asyncio.sleep(max(0.0, seconds))

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        """Virtual time stands still inside this block."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run ``main`` to its end on an event loop that keeps this clock's time.

        Raises:
            RuntimeError: every task waits for something that can never happen (a deadlock in ``main``).
        """
        with asyncio.Runner(loop_factory=lambda: VirtualLoop(self)) as runner:
            return runner.run(main)

    def wait_step(self, timeout: float | None, select: Callable[[float | None], Any]) -> Any:
        """Called by the loop when it would wait: jump instead, unless work is held elsewhere.

        ``timeout`` is what the loop would have waited, in seconds (``None``: for ever).
        """
        if timeout is not None and timeout <= 0:
            return select(0)
        ready = select(0)
        if ready:
            return ready
        if self._held:
            return select(None)
        if timeout is None:
            raise RuntimeError("virtual time cannot move: every task waits and no timer is set")
        self._elapsed += timeout
        return ready


class _VirtualSelector(selectors.BaseSelector):
    """A real selector whose waits are virtual."""

    def __init__(self, clock: VirtualClock) -> None:
        self._real = selectors.DefaultSelector()
        self._clock = clock

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = self._clock.wait_step(timeout, self._real.select)
        return ready

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that keeps a virtual clock's time."""

    def __init__(self, clock: VirtualClock) -> None:
        self._ringback_clock = clock
        super().__init__(_VirtualSelector(clock))

    def time(self) -> float:
        return self._ringback_clock.monotonic()

    async def shutdown_default_executor(self, *args: Any) -> None:
        # The loop's last act waits for its threads, with no timer set.
        with self._ringback_clock.holding():
            await super().shutdown_default_executor(*args)
