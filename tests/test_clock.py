"""The clocks: virtual time moves when nothing else can happen, exactly, and stands still while other threads work."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringback.clock import DEFAULT_VIRTUAL_START_MS, Clock, RealClock, VirtualClock


def test_time_starts_where_it_is_told_to() -> None:
    async def main(clock: VirtualClock) -> tuple[int, int, float]:
        return clock.now_ms(), clock.now_us(), clock.monotonic()

    clock = VirtualClock(1_000)
    assert clock.run(main(clock)) == (1_000, 1_000_000, 0.0)
    assert VirtualClock().now_ms() == DEFAULT_VIRTUAL_START_MS


def test_a_long_sleep_takes_no_real_time() -> None:
    clock = VirtualClock(0)
    clock.run(clock.sleep(30 * 86_400))
    assert clock.now_ms() == 30 * 86_400_000


@settings(deadline=None)
@given(st.lists(st.integers(0, 200_000_000), min_size=1, max_size=20))
def test_sleepers_wake_in_order_at_their_very_microsecond(waits_us: list[int]) -> None:
    clock = VirtualClock()
    start_us = clock.now_us()
    woken: list[tuple[int, int]] = []

    async def sleeper(wait_us: int) -> None:
        await clock.sleep(wait_us / 1_000_000)
        woken.append((wait_us, clock.now_us() - start_us))

    async def main() -> None:
        await asyncio.gather(*(sleeper(wait) for wait in waits_us))

    clock.run(main())
    assert [wait for wait, _ in woken] == sorted(waits_us)
    assert [at for _, at in woken] == sorted(waits_us)


@settings(deadline=None)
@given(st.lists(st.floats(0.000001, 5_000), min_size=1, max_size=20))
def test_one_sleep_after_the_other_adds_up(waits: list[float]) -> None:
    clock = VirtualClock()

    async def main() -> None:
        for wait in waits:
            before_us = clock.now_us()
            await clock.sleep(wait)
            assert abs(clock.now_us() - before_us - wait * 1_000_000) <= 1

    clock.run(main())
    assert abs(clock.monotonic() - sum(waits)) < 0.000_01


def test_waking_at_an_instant_never_comes_a_millisecond_early() -> None:
    """Whoever sleeps until an instant finds that it has come: a recall never starts early."""
    clock = VirtualClock()

    async def main() -> None:
        for wait_ms in (1, 7, 13, 333, 60_000, 86_400_001, 3):
            due_ms = clock.now_ms() + wait_ms
            await clock.sleep((due_ms - clock.now_ms()) / 1000)
            assert clock.now_ms() == due_ms

    clock.run(main())


def test_sleeping_for_nothing_gives_others_a_turn() -> None:
    clock = VirtualClock()
    turns: list[str] = []

    async def other() -> None:
        turns.append("other")

    async def main() -> None:
        task = asyncio.create_task(other())
        await clock.sleep(0)
        await clock.sleep(-5)
        turns.append("main")
        await task

    clock.run(main())
    assert turns == ["other", "main"]
    assert clock.monotonic() == 0


def test_time_stands_still_while_there_is_something_to_do() -> None:
    clock = VirtualClock()

    async def busy() -> None:
        for _ in range(1000):
            await asyncio.sleep(0)
        assert clock.monotonic() == 0

    async def main() -> None:
        sleeping = asyncio.create_task(clock.sleep(1))
        await busy()
        assert not sleeping.done()
        await sleeping

    clock.run(main())
    assert clock.monotonic() == 1


def test_timeouts_are_virtual() -> None:
    clock = VirtualClock()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await asyncio.Event().wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 1800)
        async with asyncio.timeout(10):
            await clock.sleep(9.999)

    clock.run(main())
    assert clock.monotonic() == pytest.approx(3600 + 1800 + 9.999)


def test_holding_stops_time_while_a_thread_works() -> None:
    clock = VirtualClock()
    go_on = threading.Event()

    async def work() -> float:
        with clock.holding():
            await asyncio.to_thread(go_on.wait, 10)
            return clock.monotonic()

    async def main() -> tuple[float, bool]:
        working = asyncio.create_task(work())
        sleeping = asyncio.create_task(clock.sleep(1))
        await asyncio.sleep(0)
        # A real timer of another thread ends the work: had time not stood still, the sleeper would be awake by then.
        threading.Timer(0.05, go_on.set).start()
        at = await working
        return at, sleeping.done()

    assert clock.run(main()) == (0.0, False)


def test_holds_are_counted() -> None:
    clock = VirtualClock()
    go_on = threading.Event()

    async def main() -> None:
        sleeping = asyncio.create_task(clock.sleep(1))
        with clock.holding():
            with clock.holding():
                pass
            with pytest.raises(LookupError), clock.holding():
                raise LookupError
            threading.Timer(0.02, go_on.set).start()
            await asyncio.to_thread(go_on.wait, 10)
            assert not sleeping.done()
        await sleeping

    clock.run(main())
    assert clock.monotonic() == 1


def test_a_deadlock_is_an_error_not_a_standstill() -> None:
    with pytest.raises(RuntimeError, match="virtual time cannot move"):
        VirtualClock().run(wait_for_ever())


async def wait_for_ever() -> None:
    await asyncio.Event().wait()


def test_a_thread_that_is_still_at_work_at_the_end_is_waited_for() -> None:
    clock = VirtualClock()
    ended = threading.Event()

    def work() -> None:
        threading.Event().wait(0.05)
        ended.set()

    async def main() -> None:
        asyncio.get_running_loop().run_in_executor(None, work)

    clock.run(main())
    assert ended.is_set()
    assert clock.monotonic() == 0


def test_what_main_raises_comes_out() -> None:
    async def main() -> None:
        raise LookupError("as it is")

    with pytest.raises(LookupError, match="as it is"):
        VirtualClock().run(main())


def test_a_clock_goes_on_in_the_next_run() -> None:
    clock = VirtualClock(0)
    clock.run(clock.sleep(5))
    clock.run(clock.sleep(5))
    assert clock.now_ms() == 10_000


def test_the_real_clock_is_the_machines() -> None:
    clock: Clock = RealClock()
    before = time.time()
    now_ms, now_us = clock.now_ms(), clock.now_us()
    after = time.time()
    assert int(before * 1000) <= now_ms <= after * 1000
    assert int(before * 1_000_000) <= now_us + 1
    assert now_us <= after * 1_000_000 + 1
    first = clock.monotonic()
    assert clock.monotonic() >= first


@pytest.mark.parametrize("seconds", [0, -1, -0.5])
def test_the_real_clock_does_not_wait_for_the_past(seconds: float) -> None:
    clock = RealClock()
    turns: list[str] = []

    def note(turn: str) -> Callable[[], None]:
        return lambda: turns.append(turn)

    async def main() -> None:
        asyncio.get_running_loop().call_soon(note("other"))
        await clock.sleep(seconds)
        turns.append("main")

    asyncio.run(main())
    assert turns == ["other", "main"]


def test_the_real_clock_waits_at_least_that_long() -> None:
    clock = RealClock()

    async def main() -> float:
        before = clock.monotonic()
        with clock.holding():
            await clock.sleep(0.01)
        return clock.monotonic() - before

    # The event loop may be early by the resolution of its timer.
    assert asyncio.run(main()) > 0.009
