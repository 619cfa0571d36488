"""The weather: which faults are on at this instant, and what they do to the store, the engines and the news."""

from __future__ import annotations

import contextlib
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

from ringback.simulator.plan import Ill
from ringback.store.database import Store
from ringback.store.inline import refusal
from ringback.telephony.port import Ended

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ringback.clock import Clock, VirtualClock
    from ringback.simulator.carrier import PlacedCall
    from ringback.simulator.hosts import Host
    from ringback.simulator.plan import Fault, Plan
    from ringback.store.database import News, Tx
    from ringback.store.inline import InlineDatabase
    from ringback.telephony.port import CallEvent


class Weather:
    """The faults of a plan that last for a while. ``injected`` counts, by kind, what really struck something."""

    def __init__(self, plan: Plan, clock: VirtualClock) -> None:
        self.injected: Counter[str] = Counter()
        self._clock = clock
        self._faults = plan.faults
        self._rng = Random(f"weather {plan.seed}")  # noqa: S311 - chance by seed, no secret

    def strike(self, ill: Ill) -> Fault | None:
        """The fault of this kind that strikes now."""
        now = self._clock.monotonic()
        for fault in self._faults:
            if fault.ill is ill and fault.at <= now < fault.at + fault.seconds and self._rng.random() < fault.chance:
                self.injected[ill] += 1
                return fault
        return None

    def seconds_late(self, call: PlacedCall, event: CallEvent) -> float | None:
        """How much later the host hears of an event; ``None``: never."""
        if isinstance(event, Ended) and self.strike(Ill.ENDS_LOST):
            call.disturbed = Ill.ENDS_LOST
            return None
        fault = self.strike(Ill.EVENTS_LATE)
        if fault is None:
            return 0.0
        call.disturbed = Ill.EVENTS_LATE
        return fault.size

    def dial_seconds(self, host: Host) -> tuple[float, float]:
        """How long the engine takes until an INVITE leaves, and from then on until it says so."""
        del host
        fault = self.strike(Ill.ENGINE_SLOW)
        if fault is None:
            return 0.0, 0.0
        before = fault.size * self._rng.random()
        return before, fault.size - before


class FaultyStore(Store):
    """The store of one host, with the weather on the way to its database.

    ``committed`` is called after each writing transaction; ``announced`` carries news to the other hosts.
    """

    def __init__(
        self,
        database: InlineDatabase,
        clock: Clock,
        weather: Weather,
        *,
        shared: bool,
        committed: Callable[[], None],
        announced: Callable[[FaultyStore, tuple[News, ...]], None],
    ) -> None:
        engine = database.engine()
        super().__init__(engine, engine, clock, in_memory=True, shared=shared)
        self._weather = weather
        self._committed = committed
        self._announced = announced

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[Tx]:
        """As every store's, but for the weather."""
        if self._weather.strike(Ill.STORE_REFUSES):
            raise refusal("database is locked")
        async with super().write() as tx:
            yield tx
            if self._weather.strike(Ill.COMMIT_FAILS):
                raise refusal("disk I/O error")
        self._committed()
        slow = self._weather.strike(Ill.COMMIT_SLOW)
        if slow is not None:
            await self._clock.sleep(slow.size)
        if self._weather.strike(Ill.COMMIT_IN_DOUBT):
            raise refusal("the connection was lost")

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        """As every store's, but for the weather."""
        if self._weather.strike(Ill.STORE_REFUSES):
            raise refusal("database is locked")
        async with super().read() as tx:
            yield tx

    def announce(self, *news: News) -> None:
        """Tell this host, and all others."""
        super().announce(*news)
        self._announced(self, news)

    def hear(self, *news: News) -> None:
        """Another host has told."""
        super().announce(*news)
