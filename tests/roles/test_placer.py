"""The placer: several calls on their way at once, never faster than the rate, and nothing lost when it is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest

from ringback.clock import VirtualClock
from ringback.model.task import Limits
from ringback.roles.placer import Placement, Placer
from ringback.store.leases import Lease, Route


class Bench:
    """A placer whose engine confirms after ``takes`` seconds (``None``: never), and what came of its calls."""

    def __init__(self, clock: VirtualClock, *, rate: float, takes: float | None, headroom: Callable[[], int]) -> None:
        self.clock = clock
        self.rate = rate
        self.takes = takes
        self.started: list[float] = []
        self.confirmed: list[int] = []
        self.returned: list[int] = []
        self.put = 0
        self.caught_up = 0
        self.go_on = asyncio.Event()
        self.placer = Placer(
            clock,
            prepare=self._prepare,
            place=self._place,
            give_back=self._give_back,
            headroom=headroom,
            caught_up=self._on_caught_up,
        )

    async def _prepare(self, _: Placement) -> bool:
        return True

    async def _place(self, placement: Placement) -> None:
        self.started.append(self.clock.monotonic())
        if self.takes is None:
            await self.go_on.wait()
        else:
            await self.clock.sleep(self.takes)
        self.confirmed.append(placement.lease.call_id)

    def _give_back(self, lease: Lease) -> None:
        self.returned.append(lease.call_id)

    def _on_caught_up(self) -> None:
        self.caught_up += 1

    def feed(self, count: int, *, patience: float = 10.0, probe: bool = False) -> None:
        """Put so many calls at slots of the rate, from now on."""
        for _ in range(count):
            at = self.clock.monotonic() + self.put / self.rate
            lease = Lease(
                call_id=self.put,
                lease_no=1,
                task_id=1,
                trunk_id=1,
                callee="4930000000",
                dialled="4930000000",
                caller_id="",
                texts=None,
                template_id=1,
                limits=Limits(),
                slot_us=0,
                probe=probe,
            )
            route = Route("t", self.rate, "", 5060, "", "")
            self.placer.put(Placement(lease, route, round(at * 1e6), round((at + patience) * 1e6)))
            self.put += 1


def on_bench(story, *, rate: float = 200.0, takes: float | None = 0.006, headroom=lambda: 1000) -> None:
    clock = VirtualClock()

    async def main() -> None:
        bench = Bench(clock, rate=rate, takes=takes, headroom=headroom)
        await story(bench)
        await bench.placer.close()
        assert bench.placer.waiting == 0
        assert sorted(bench.confirmed + bench.returned) == list(range(bench.put))

    clock.run(main())


@pytest.mark.parametrize("takes", [0.0, 0.006, 0.01])
def test_an_engine_slow_to_confirm_does_not_halve_the_rate(takes: float) -> None:
    async def story(bench: Bench) -> None:
        bench.feed(2000)
        await bench.clock.sleep(10.2)
        assert bench.returned == []
        assert len(bench.started) == 2000
        assert bench.started[-1] <= 10 / 0.99
        assert all(later - earlier >= 0.0025 - 1e-6 for earlier, later in pairwise(bench.started))

    on_bench(story, takes=takes)


def test_unconfirmed_calls_are_bounded_by_the_rate_and_waited_for() -> None:
    async def story(bench: Bench) -> None:
        bench.feed(30, patience=5)
        await bench.clock.sleep(1.5)
        assert len(bench.started) == 11
        assert bench.placer.waiting == 30
        await bench.clock.sleep(20)
        assert len(bench.started) == 11
        assert bench.returned == list(range(11, 30)), "too late for these"
        assert bench.placer.waiting == 11
        bench.feed(1)
        closing = asyncio.ensure_future(bench.placer.close())
        await bench.clock.sleep(1)
        assert not closing.done(), "what is on its way is seen to its end"
        assert bench.returned[-1] == 30
        bench.go_on.set()
        await closing

    on_bench(story, rate=10, takes=None)


@pytest.mark.parametrize("calls", [1, 100])
def test_it_says_when_it_is_behind_and_once_when_no_longer(calls: int) -> None:
    headroom = 0

    async def story(bench: Bench) -> None:
        nonlocal headroom
        bench.feed(calls)
        await bench.clock.sleep(0.05)
        assert not bench.placer.is_behind()
        await bench.clock.sleep(0.2)
        assert bench.placer.is_behind()
        assert bench.caught_up == 0
        headroom = 1000
        bench.placer.look()
        await bench.clock.sleep(2)
        assert not bench.placer.is_behind()
        assert bench.caught_up == 1
        assert len(bench.started) == calls

    on_bench(story, headroom=lambda: headroom)


def test_closing_gives_back_what_waits_for_its_slot() -> None:
    async def story(bench: Bench) -> None:
        bench.feed(10)
        await bench.clock.sleep(0.5)
        await bench.placer.close()
        assert bench.clock.monotonic() < 0.6
        assert bench.confirmed == [0]
        assert bench.returned == list(range(1, 10))

    on_bench(story, rate=1)


def test_without_headroom_only_a_probe_leaves_until_there_is_some_again() -> None:
    left = [0]

    async def story(bench: Bench) -> None:
        bench.feed(1, probe=True)
        bench.feed(2)
        await bench.clock.sleep(1)
        assert bench.confirmed == [0]
        left[0] = 1
        bench.placer.look()
        await bench.clock.sleep(1)
        assert bench.confirmed == [0, 1, 2]
        left[0] = 0
        bench.feed(1, patience=1)
        await bench.clock.sleep(2)
        assert bench.returned == [3]

    on_bench(story, headroom=lambda: left[0])


def test_a_call_on_its_way_takes_headroom() -> None:
    async def story(bench: Bench) -> None:
        bench.feed(5)
        await bench.clock.sleep(1)
        assert len(bench.started) == 2
        bench.go_on.set()
        await bench.clock.sleep(1)
        assert len(bench.confirmed) == 5

    on_bench(story, takes=None, headroom=lambda: 2)


def test_a_call_that_breaks_breaks_the_placer_and_the_rest_is_given_back() -> None:
    clock = VirtualClock()

    async def main() -> None:
        bench = Bench(clock, rate=1, takes=0, headroom=lambda: 9)

        async def breaks(_: Placement) -> None:
            raise ZeroDivisionError

        bench.placer._place = breaks
        bench.feed(3)
        await clock.sleep(0.1)
        assert isinstance(bench.placer.broken, ZeroDivisionError)
        await bench.placer.close()
        assert bench.returned == [1, 2]

    clock.run(main())
