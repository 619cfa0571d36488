"""What goes wrong around the dialler: clocks that are set, a database that refuses, results that cannot be stored."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import asynccontextmanager

import msgspec
import pytest
from sqlalchemy.exc import OperationalError

from ringback.clock import VirtualClock
from ringback.model.states import FlowState, TaskState
from ringback.model.task import Limits
from ringback.model.windows import parse_window
from ringback.roles.control import pause_task, resume_task
from ringback.roles.supervisor import Fatal, supervise
from ringback.store import calls, node_start, records
from ringback.telephony.sandbox import SandboxEngine
from roles.campaign import campaign, failed_flow, numbers

HOUR_MS = 3_600_000


class SettableClock(VirtualClock):
    """Virtual time whose wall clock can be set apart from its monotonic time."""

    set_by_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.set_by_us


class Counting(SandboxEngine):
    """Counts its starts, and how many of its calls were hung up by us."""

    starts = 0
    stops = 0

    async def start(self) -> None:
        self.starts += 1

    async def stop(self) -> None:
        self.stops += 1
        await super().stop()


def _placed(engine: SandboxEngine, everyone: list[str]) -> int:
    return sum(engine.calls_to(callee) for callee in everyone)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_neither_stops_the_trunk_nor_starts_a_call_late(hours: int) -> None:
    clock = SettableClock()

    async def main() -> None:
        engine = SandboxEngine(clock)
        everyone = numbers(1500)
        async with campaign(clock, engine=engine, rate=20, channels=500) as made:
            task_id, _ = await made.create(everyone)
            made.start()
            await clock.sleep(5)
            before = _placed(engine, everyone)
            clock.set_by_us = hours * HOUR_MS * 1000
            await clock.sleep(20)
            assert _placed(engine, everyone) - before >= 20 * 18
            asked = clock.monotonic()
            await pause_task(made.store, clock, task_id)
            assert clock.monotonic() - asked <= 3.1
            at_pause = _placed(engine, everyone)
            await clock.sleep(2 * 3600)
            assert _placed(engine, everyone) == at_pause
            async with made.store.read() as tx:
                async for record in records.listed(tx, task_id):
                    assert record.talk_ms is None or 0 <= record.talk_ms < 60_000

    clock.run(main())


def _refusing(store, times: int):
    """The store's write, refused as a locked database refuses, so many times."""
    real = store.write
    left = [times]

    @asynccontextmanager
    async def write():
        if left[0] > 0:
            left[0] -= 1
            raise OperationalError("BEGIN IMMEDIATE", {}, sqlite3.OperationalError("database is locked"))
        async with real() as tx:
            yield tx

    return write


def test_a_database_that_refuses_for_a_while_ends_no_call() -> None:
    clock = VirtualClock()

    async def main() -> None:
        engine = Counting(clock)
        everyone = [f"4930000{number:03d}00" for number in range(200)]
        async with campaign(clock, engine=engine, rate=20) as made:
            task_id, _ = await made.create(everyone)
            made.start()
            await clock.sleep(3)
            made.store.write = _refusing(made.store, 6)
            await made.until_task(task_id)
            assert (engine.starts, engine.stops) == (1, 0)
            async with made.store.read() as tx:
                reasons = {record.reason async for record in records.listed(tx, task_id)}
            assert reasons == {"template ended"}, "nobody was hung up on"
            assert _placed(engine, everyone) == 200

    clock.run(main())


def test_a_slow_database_delays_calls_and_loses_none() -> None:
    """Commits that take longer than a leased call may wait: calls leave all the same, each once."""
    clock = VirtualClock()

    async def main() -> None:
        engine = SandboxEngine(clock)
        everyone = [f"4930000{number:03d}85" for number in range(40)]
        async with campaign(clock, engine=engine, rate=20) as made:
            real = made.store.write

            @asynccontextmanager
            async def slow():
                async with real() as tx:
                    yield tx
                await clock.sleep(0.5)

            made.store.write = slow
            task_id, _ = await made.create(everyone)
            made.start()
            await made.until_task(task_id)
            assert all(engine.calls_to(callee) == 1 for callee in everyone)

    clock.run(main())


def test_one_result_that_cannot_be_stored_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = VirtualClock()
    real = calls.ended

    async def ended(tx, worker_id, results, now_ms, **more):
        if any(result.sip_code == 603 for result in results):
            raise OverflowError("a value that no column takes")
        return await real(tx, worker_id, results, now_ms, **more)

    monkeypatch.setattr(calls, "ended", ended)

    async def main() -> None:
        async with campaign(clock) as made:
            task_id, _ = await made.create(["4930000080", "4930000000", "4930000085", "4930000060"])
            made.start()
            task = await made.until_task(task_id)
            assert (task.answered, task.failed, task.active) == (1, 3, 0)
            async with made.store.read() as tx:
                assert await records.count_by_end(tx, task_id) == {
                    "answered": 1,
                    "busy": 1,
                    "unknown": 1,
                    "unreachable": 1,
                }

    clock.run(main())


def test_an_invite_never_leaves_after_its_time() -> None:
    """An engine that takes its time: a pause that has returned is not followed by a call."""
    clock = VirtualClock()

    class Slow(SandboxEngine):
        async def dial(self, order):
            await clock.sleep(5)
            return await super().dial(order)

    async def main() -> None:
        engine = Slow(clock)
        everyone = numbers(5)
        async with campaign(clock, engine=engine) as made:
            task_id, _ = await made.create(everyone)
            made.start()
            await clock.sleep(1)
            await pause_task(made.store, clock, task_id)
            await clock.sleep(60)
            assert _placed(engine, everyone) == 0
            task = await made.task(task_id)
            assert (task.state, task.queued) == (TaskState.SUSPENDED, 5)

    clock.run(main())


def test_an_engine_that_breaks_in_a_dial_makes_the_call_unknown_not_queued() -> None:
    """Whether an INVITE left cannot be told, so the call is not dialled again in this task."""
    clock = VirtualClock()

    class Breaking(SandboxEngine):
        dials = 0

        async def dial(self, order):
            self.dials += 1
            raise RuntimeError("the pipe broke after the order was written")

    async def main() -> None:
        engine = Breaking(clock)
        async with campaign(clock, engine=engine) as made:
            task_id, _ = await made.create(numbers(3))
            made.start()
            await made.until_task(task_id)
            assert engine.dials == 3
            async with made.store.read() as tx:
                assert await records.count_by_end(tx, task_id) == {"unknown": 3}

    clock.run(main())


def test_a_window_that_is_never_open_does_not_hold_the_task() -> None:
    """A number that may be anywhere in America has no hour that is business time in all its zones."""
    clock = VirtualClock()

    async def main() -> None:
        async with campaign(clock) as made:
            limits = Limits(ring_seconds=20, windows=(parse_window("09:00", "10:00"),))
            task_id, flow_id = await made.create(["18005550100", "4930000000"], limits=limits, flow=failed_flow())
            made.start()
            await made.until_flow(flow_id)
            async with made.store.read() as tx:
                assert await records.skipped_by_reason(tx, task_id) == {"no_common_window": 1}

    clock.run(main())


def test_one_broken_node_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = VirtualClock()
    real = node_start.rule_of

    def rule_of(row):
        if row.recall_intents == ["broken"]:
            raise ValueError("something in this node cannot be read")
        return real(row)

    monkeypatch.setattr(node_start, "rule_of", rule_of)

    async def main() -> None:
        async with campaign(clock) as made:
            unread = msgspec.structs.replace(failed_flow(rounds=2, interval=1), intents=("broken",))
            _, broken = await made.create(numbers(80), name="one", flow=unread)
            _, sound = await made.create(numbers(80, "4931"), name="two", flow=failed_flow(rounds=2, interval=1))
            made.start()
            await made.until_flow(sound)
            flow = await made.until_flow(broken, FlowState.EXCEPTION)
            assert [node.state for node in flow.nodes] == [FlowState.EXCEPTION] * 2
            assert "ValueError" in flow.reason

    clock.run(main())


def test_a_flow_waits_while_its_parent_is_suspended() -> None:
    """Paused while the last calls are in the air: nobody is recalled before the task is resumed."""
    clock = VirtualClock()

    async def main() -> None:
        async with campaign(clock) as made:
            task_id, flow_id = await made.create(["4930000060", "4930000070"], flow=failed_flow(rounds=1, interval=1))
            made.start()
            await clock.sleep(2)
            await pause_task(made.store, clock, task_id)
            await clock.sleep(24 * 3600)
            assert (await made.task(task_id)).state is TaskState.SUSPENDED
            assert (await made.flow(flow_id)).state is FlowState.PENDING
            await resume_task(made.store, clock, task_id)
            flow = await made.until_flow(flow_id)
            assert flow.nodes[0].qualified == 2

    clock.run(main())


class _Scripted:
    """A service that runs a list of endings: an exception to raise, or None to work until stopped."""

    def __init__(self, endings: list[Exception | None]) -> None:
        self._endings = endings
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        ending = self._endings.pop(0)
        if ending is not None:
            raise ending
        await self._stopped.wait()

    def stop(self) -> None:
        self._stopped.set()


def test_the_supervisor_starts_a_broken_service_again_and_stops_all_in_order() -> None:
    clock = VirtualClock()
    endings: list[Exception | None] = [RuntimeError("one"), RuntimeError("two"), None]
    steady: list[Exception | None] = [None]
    refused = [OSError("too many open files")]

    def make() -> _Scripted:
        if refused:
            raise refused.pop()
        return _Scripted(endings)

    async def main() -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(supervise({"a": make, "b": lambda: _Scripted(steady)}, clock, stop))
        await clock.sleep(10)
        assert (endings, steady) == ([], []), "each was made until it worked, and the steady one only once"
        assert not running.done()
        stop.set()
        await running

    clock.run(main())


def test_the_supervisor_gives_up_on_what_cannot_work() -> None:
    clock = VirtualClock()

    async def main() -> None:
        stop = asyncio.Event()
        services = {"a": lambda: _Scripted([Fatal("no engine here")]), "b": lambda: _Scripted([None])}
        with pytest.raises(Fatal, match="no engine here"):
            await supervise(services, clock, stop)
        assert stop.is_set()

    clock.run(main())
