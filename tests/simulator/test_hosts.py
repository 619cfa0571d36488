"""Hosts that are frozen, thawed and killed between any two awaits."""

from __future__ import annotations

import asyncio

from ringback.clock import VirtualClock
from ringback.simulator.hosts import Host, HostClock, HostLoop, simulate


def _run(story) -> None:  # type: ignore[no-untyped-def]  # each test's own coroutine function
    clock = VirtualClock()

    async def main(loop: HostLoop) -> None:
        await story(clock, Host("h", HostClock(clock), loop))

    simulate(clock, main)


def _ticking(host: Host, ticks: list[float]):  # type: ignore[no-untyped-def]  # a coroutine
    async def tick() -> None:
        while True:
            await host.clock.sleep(1)
            ticks.append(host.clock.monotonic())

    return tick()


def test_a_frozen_host_does_nothing_and_catches_up_when_it_is_thawed() -> None:
    async def story(clock: VirtualClock, host: Host) -> None:
        ticks: list[float] = []
        host.spawn(_ticking(host, ticks))
        await clock.sleep(2.5)
        host.freeze()
        await clock.sleep(10)
        assert ticks == [1, 2]
        host.thaw()
        await clock.sleep(1.7)
        assert ticks == [1, 2, 12.5, 13.5]

    _run(story)


def test_what_a_host_starts_is_on_that_host() -> None:
    async def story(clock: VirtualClock, host: Host) -> None:
        ticks: list[float] = []

        async def parent() -> None:
            await asyncio.gather(asyncio.create_task(_ticking(host, ticks)))

        host.spawn(parent())
        await clock.sleep(1.5)
        host.kill()
        await clock.sleep(10)
        assert ticks == [1]

    _run(story)


def test_a_kill_runs_no_end_of_any_block() -> None:
    async def story(clock: VirtualClock, host: Host) -> None:
        ended: list[str] = []

        async def work() -> None:
            try:
                await clock.sleep(5)
            finally:
                ended.append("finally")

        host.spawn(work())
        await clock.sleep(1)
        host.kill()
        await clock.sleep(10)
        assert ended == []

    _run(story)


def test_a_cancelled_timer_of_a_frozen_host_stays_cancelled() -> None:
    async def story(clock: VirtualClock, host: Host) -> None:
        heard: list[str] = []
        event = asyncio.Event()

        async def work() -> None:
            try:
                async with asyncio.timeout(2):
                    await event.wait()
                heard.append("event")
            except TimeoutError:
                heard.append("timeout")

        host.spawn(work())
        await clock.sleep(1)
        host.freeze()
        event.set()
        await clock.sleep(0.5)
        host.thaw()
        await clock.sleep(5)
        assert heard == ["event"]

    _run(story)


def test_something_happens_after_so_many_steps() -> None:
    async def story(clock: VirtualClock, host: Host) -> None:
        done: list[int] = []

        async def work() -> None:
            for step in range(10):
                done.append(step)
                await asyncio.sleep(0)

        host.after_steps(4, host.kill)
        host.spawn(work())
        await clock.sleep(1)
        assert done == [0, 1, 2]

    _run(story)


def test_wall_clocks_may_be_apart_and_monotonic_ones_are_not() -> None:
    async def story(clock: VirtualClock, host: Host) -> None:
        host.clock.skew_us = -3_000_000
        assert host.clock.now_ms() == clock.now_ms() - 3000
        assert host.clock.monotonic() == clock.monotonic()

    _run(story)


def test_a_callback_that_breaks_is_noted() -> None:
    async def main(loop: HostLoop) -> list[str]:
        loop.call_soon(lambda: 1 // 0)
        await asyncio.sleep(1)
        return loop.troubles

    (trouble,) = simulate(VirtualClock(), main)
    assert "ZeroDivisionError" in trouble
