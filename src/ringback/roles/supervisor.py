"""The supervisor: runs services side by side, starts one that broke again, and stops all in good order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ringback.clock import Clock

log = structlog.get_logger(__name__)

FIRST_RESTART_SECONDS = 0.5
LONGEST_RESTART_SECONDS = 30.0
#: A service that ran so long starts again with the first wait.
HEALTHY_AFTER_SECONDS = 60.0


class Service(Protocol):
    """Something that runs until told to stop."""

    async def run(self) -> None:
        """Work until stopped."""

    def stop(self) -> None:
        """Ask :meth:`run` to return in good order."""


class Fatal(Exception):
    """A service that raises this cannot work here: everything stops, and the text goes to the user."""


async def supervise(services: Mapping[str, Callable[[], Service]], clock: Clock, stop: asyncio.Event) -> None:
    """Run every service until ``stop`` is set, then let all end.

    A service that breaks is made anew after a growing wait. Raises :class:`Fatal` when one raises it.
    """
    keepers = [asyncio.create_task(_keep(name, make, clock, stop)) for name, make in services.items()]
    try:
        await asyncio.gather(*keepers)
    except Fatal:
        stop.set()
        await asyncio.gather(*keepers, return_exceptions=True)
        raise


async def _keep(name: str, make: Callable[[], Service], clock: Clock, stop: asyncio.Event) -> None:
    wait = FIRST_RESTART_SECONDS
    while not stop.is_set():
        started = clock.monotonic()
        stopper: asyncio.Task[None] | None = None
        try:
            service = make()
            stopper = asyncio.create_task(_stop_when(stop, service))
            await service.run()
        except Fatal:
            raise
        except Exception:
            log.exception("service_broke", service=name, restart_in=wait)
        finally:
            if stopper is not None:
                stopper.cancel()
        if stop.is_set():
            return
        if clock.monotonic() - started > HEALTHY_AFTER_SECONDS:
            wait = FIRST_RESTART_SECONDS
        await _wait_or_stop(stop, clock, wait)
        wait = min(2 * wait, LONGEST_RESTART_SECONDS)


async def _stop_when(stop: asyncio.Event, service: Service) -> None:
    await stop.wait()
    service.stop()


async def _wait_or_stop(stop: asyncio.Event, clock: Clock, seconds: float) -> None:
    sleeping = asyncio.create_task(clock.sleep(seconds))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({sleeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
    for pending in (sleeping, stopping):
        pending.cancel()
