"""A worker: the roles that run together on one host, kept running by the real supervisor."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ringback.roles.conductor import Conductor
from ringback.roles.dialler import Dialler, DiallerSettings
from ringback.roles.library import TemplateLibrary
from ringback.roles.supervisor import supervise
from ringback.simulator.carrier import CarrierEngine
from ringback.voice.speech import Speech

if TYPE_CHECKING:
    from ringback.roles.supervisor import Service
    from ringback.simulator.hosts import Host
    from ringback.simulator.world import World

#: How long calls in the air may go on when a worker stops: longer than any call of the plans.
DRAIN_SECONDS = 90.0
#: News reach every host in the end, so polls are needless here; they would be most of what a run costs.
IDLE_POLL_SECONDS = 21_600.0
#: Beats are most of what a run with several workers costs, so they are rarer than usual.
TAKEOVER_SECONDS = 100.0


class Worker:
    """A running worker. Made by :func:`start_worker`."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.engines: list[CarrierEngine] = []
        self.running: asyncio.Task[Any] | None = None
        self._stop = asyncio.Event()
        self._gone = asyncio.Event()

    def run(self, world: World) -> None:
        """Start the roles on the host."""
        store = world.open_store(self.host)
        clock, plan = world.clock_of(self.host), world.plan

        def dialler() -> Service:
            engine = CarrierEngine(world.carrier, self.host, lines=plan.lines)
            self.engines.append(engine)
            settings = DiallerSettings(
                idle_poll_seconds=IDLE_POLL_SECONDS, drain_seconds=DRAIN_SECONDS, takeover_seconds=TAKEOVER_SECONDS
            )
            return Dialler(store, engine, clock, TemplateLibrary(store, Speech(clock, None)), settings)

        def conductor() -> Service:
            return Conductor(store, clock, idle_poll_seconds=IDLE_POLL_SECONDS)

        roles = {"dialler": dialler, "conductor": conductor}
        self.running = self.host.spawn(supervise(roles, clock, self._stop))

    async def stop(self) -> None:
        """End in good order; returns when it has, or was killed meanwhile."""
        self._stop.set()
        assert self.running is not None
        gone = asyncio.create_task(self._gone.wait())
        await asyncio.wait({self.running, gone}, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()

    def kill(self) -> None:
        """End without any warning: the host, and its calls with it."""
        self.host.kill()
        self._gone.set()
        for engine in self.engines:
            engine.cut()


def start_worker(world: World, host: Host) -> Worker:
    """Start a worker on a host: the one place that says which roles a worker is made of."""
    worker = Worker(host)
    worker.run(world)
    return worker
