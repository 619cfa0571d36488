"""The whole dialler under the virtual clock: recall flows from the first call to Completed."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from ringback.clock import VirtualClock
from ringback.model.audience import RecallType
from ringback.model.flow import FlowSpec
from ringback.model.outcome import FAILED_OUTCOMES
from ringback.model.sandbox_numbers import behaviour
from ringback.model.states import FlowState, TaskState
from ringback.store import outlook, records
from ringback.store.records import CallRecord
from ringback.telephony.sandbox import SandboxEngine
from roles.campaign import campaign, failed_flow, numbers

DAY_MS = 24 * 3_600_000
MINUTE_MS = 60_000


async def _calls(made, task_id: int) -> list[CallRecord]:
    async with made.store.read() as tx:
        return [call async for call in records.listed(tx, task_id)]


def test_ten_thousand_numbers_ten_days() -> None:
    """10,000 numbers, ten rounds a day apart: every round dials exactly who failed in the one before."""
    clock = VirtualClock()

    async def main() -> None:
        engine = SandboxEngine(clock)
        async with campaign(clock, engine=engine) as made:
            all_numbers = numbers(10_000)
            task_id, flow_id = await made.create(all_numbers, flow=failed_flow(rounds=10))
            made.start()
            flow = await made.until_flow(flow_id)
            task_ids = [task_id, *(node.task_id for node in flow.nodes)]
            expected = set(all_numbers)
            previous_end = None
            for position, one in enumerate(task_ids):
                assert one is not None
                task = await made.task(one)
                calls = await _calls(made, one)
                assert {call.callee for call in calls} == expected
                outcomes = {call.callee: call.outcome for call in calls}
                wanted = {
                    callee: behaviour(callee, position if callee in expected else 0).outcome for callee in expected
                }
                # A number recalled in every round so far has been called `position` times before.
                assert outcomes == wanted
                if previous_end is not None:
                    assert task.started_at is not None
                    assert previous_end + 1440 * MINUTE_MS <= task.started_at <= previous_end + 1440 * MINUTE_MS + 1000
                previous_end = task.finished_at
                expected = {callee for callee, outcome in outcomes.items() if outcome in FAILED_OUTCOMES}
            total = sum(Counter(engine.calls_to(callee) for callee in all_numbers).values())
            assert total == 10_000
            assert max(engine.calls_to(callee) for callee in all_numbers) == 11
            assert clock.monotonic() > 10 * 24 * 3600

    clock.run(main())


@pytest.mark.parametrize(
    ("recall_type", "intents", "endings"),
    [
        (RecallType.ALL, (), {"00", "41", "46", "60", "85"}),
        (RecallType.ALL, ("101",), {"41"}),
        (RecallType.FAILED, (), {"60", "85"}),
        (RecallType.FAILED, ("109", "100"), {"00", "46", "60", "85"}),
    ],
)
def test_who_is_recalled(recall_type: RecallType, intents: tuple[str, ...], endings: set[str]) -> None:
    clock = VirtualClock()

    async def main() -> None:
        async with campaign(clock) as made:
            spec = FlowSpec(recall_type=recall_type, interval_minutes=5, rounds=1, intents=intents)
            _, flow_id = await made.create([f"49300000{end}" for end in ("00", "41", "46", "60", "85")], flow=spec)
            made.start()
            flow = await made.until_flow(flow_id)
            assert flow.nodes[0].task_id is not None
            assert {call.callee[-2:] for call in await _calls(made, flow.nodes[0].task_id)} == endings

    clock.run(main())


def test_nobody_left_completes_the_flow_at_once() -> None:
    clock = VirtualClock()

    async def main() -> None:
        async with campaign(clock) as made:
            _, flow_id = await made.create(["4930000000", "4930000001"], flow=failed_flow(rounds=4, interval=3))
            made.start()
            flow = await made.until_flow(flow_id)
            assert [node.state for node in flow.nodes] == [FlowState.COMPLETED] * 4
            assert [node.task_id for node in flow.nodes] == [None] * 4

    clock.run(main())


def test_scheduled_task_never_starts_early() -> None:
    clock = VirtualClock()

    async def main() -> None:
        async with campaign(clock) as made:
            send_at = clock.now_ms() + 3 * DAY_MS + 123
            task_id, _ = await made.create(["4930000000"], send_at=send_at)
            made.start()
            task = await made.until_task(task_id)
            assert task.started_at is not None
            assert send_at <= task.started_at <= send_at + 1000
            (call,) = await _calls(made, task_id)
            assert call.started_at is not None
            assert call.started_at >= send_at

    clock.run(main())


def test_restart_resumes_the_flow_at_its_minute(tmp_path) -> None:
    """A server that was down over the due time recalls late; one that is back in time recalls on time. Never early."""
    url = f"sqlite:///{tmp_path}/r.db"
    clock = VirtualClock()

    async def main() -> None:
        async with campaign(clock, url=url) as made:
            task_id, flow_id = await made.create(numbers(100), flow=failed_flow(rounds=2, interval=60))
            made.start()
            finished = (await made.until_task(task_id)).finished_at
            assert finished is not None
        await clock.sleep(30 * 60)
        async with campaign(clock, url=url, furnish=False) as again:
            again.start()
            bell = again.store.subscribe()
            while (node := (await again.flow(flow_id)).nodes[0]).state is not FlowState.COMPLETED:
                await bell.wait(60)
            assert node.started_at is not None
            assert finished + 60 * MINUTE_MS <= node.started_at <= finished + 60 * MINUTE_MS + 1000
            first_round = await again.task(node.task_id or 0)
            assert first_round.finished_at is not None
        await clock.sleep(5 * 3600)
        back_at = clock.now_ms()
        async with campaign(clock, url=url, furnish=False) as late:
            late.start()
            flow = await late.until_flow(flow_id)
            assert flow.nodes[1].started_at is not None
            assert back_at <= flow.nodes[1].started_at <= back_at + 1000

    clock.run(main())


def test_crash_settles_and_never_redials(tmp_path) -> None:
    """Roles that vanish: their calls become unknown, nobody is dialled twice, the next round recalls them."""
    url = f"sqlite:///{tmp_path}/c.db"
    clock = VirtualClock()

    async def main() -> None:
        first = SandboxEngine(clock)
        second = SandboxEngine(clock)
        everyone = [f"493000{group:02d}00" for group in range(60)]
        async with campaign(clock, url=url, engine=first, rate=20) as made:
            task_id, flow_id = await made.create(everyone, flow=failed_flow(rounds=1, interval=10))
            made.start()
            await clock.sleep(1.5)
            left = made.what_a_kill_would_leave(tmp_path / "left.db")
            before = {callee: first.calls_to(callee) for callee in everyone}
        async with campaign(clock, url=left, engine=second, furnish=False) as again:
            again.start()
            task = await again.until_task(task_id)
            calls = await _calls(again, task_id)
            outcomes = Counter(call.outcome for call in calls)
            assert outcomes["unknown"] > 0
            assert outcomes.total() == task.total == 60
            assert all(before[callee] + second.calls_to(callee) <= 1 for callee in everyone)
            flow = await again.until_flow(flow_id)
            recalled = {call.callee for call in await _calls(again, flow.nodes[0].task_id or 0)}
            assert recalled == {call.callee for call in calls if call.outcome == "unknown"}

    clock.run(main())


def test_windows_hold_in_the_callees_zone() -> None:
    """A window of 09:00–10:00 is Berlin's for Berlin and New York's for New York; unknown zones are skipped."""
    from ringback.model.task import Limits
    from ringback.model.windows import parse_window

    clock = VirtualClock()  # 08:00 UTC: 09:00 in Berlin, 03:00 in New York

    async def main() -> None:
        async with campaign(clock) as made:
            limits = Limits(ring_seconds=20, windows=(parse_window("09:00", "10:00"),))
            task_id, _ = await made.create(["4930000000", "12125550100", "99900000000"], limits=limits)
            start = clock.now_ms()
            made.start()
            await made.until_task(task_id)
            by_callee = {call.callee: call for call in await _calls(made, task_id)}
            assert by_callee["4930000000"].started_at - start < MINUTE_MS
            assert by_callee["12125550100"].started_at == start + 6 * 3_600_000
            assert by_callee["99900000000"].state == "skipped"
            assert by_callee["99900000000"].reason == "unknown_zone"

    clock.run(main())


def test_pause_and_cancel_hold_when_they_return() -> None:
    from ringback.roles.control import cancel_tasks, pause_task, resume_task

    clock = VirtualClock()

    async def main() -> None:
        engine = SandboxEngine(clock)
        everyone = numbers(2000)
        async with campaign(clock, engine=engine, rate=100) as made:
            task_id, flow_id = await made.create(everyone, flow=failed_flow())
            made.start()

            def dialled() -> int:
                return sum(engine.calls_to(callee) for callee in everyone)

            await clock.sleep(2)
            await pause_task(made.store, clock, task_id)
            at_pause = dialled()
            assert at_pause > 100
            await clock.sleep(60)
            assert dialled() == at_pause
            paused = await made.task(task_id)
            assert (paused.state, paused.active) == (TaskState.SUSPENDED, 0)
            await resume_task(made.store, clock, task_id)
            await clock.sleep(2)
            assert dialled() > at_pause + 100
            await cancel_tasks(made.store, clock, [task_id])
            at_cancel = dialled()
            await clock.sleep(600)
            assert dialled() == at_cancel
            cancelled = await made.task(task_id)
            assert cancelled.state is TaskState.CANCELLED
            assert cancelled.answered + cancelled.failed == at_cancel
            assert cancelled.cancelled == 2000 - at_cancel
            assert (await made.flow(flow_id)).state is FlowState.CANCELLED

    clock.run(main())


def test_rate_and_lines_hold_as_the_callees_see_them() -> None:
    clock = VirtualClock()
    starts: list[int] = []

    class Watched(SandboxEngine):
        most = 0

        async def dial(self, order):  # type: ignore[no-untyped-def]  # the parent's signature
            leg = await super().dial(order)
            starts.append(clock.now_us())
            Watched.most = max(Watched.most, len(self._legs))
            return leg

    async def main() -> None:
        async with campaign(clock, engine=Watched(clock), rate=7, channels=11) as made:
            task_id, _ = await made.create(numbers(200))
            made.start()
            await made.until_task(task_id)

    clock.run(main())
    assert len(starts) == 200
    assert Watched.most <= 11
    for index, start in enumerate(starts):
        in_second = sum(start <= other < start + 1_000_000 for other in starts[index : index + 20])
        assert in_second <= 8


def test_graceful_stop_loses_nothing(tmp_path) -> None:
    """After a stop no call is in the books as in the air, and the rest is dialled by the next start, once."""
    url = f"sqlite:///{tmp_path}/s.db"
    clock = VirtualClock()

    async def main() -> None:
        engine = SandboxEngine(clock)
        everyone = numbers(300)
        async with campaign(clock, url=url, engine=engine, rate=50) as made:
            task_id, _ = await made.create(everyone)
            made.start()
            await clock.sleep(2)
            await made.stop()
            task = await made.task(task_id)
            assert task.active == 0
            assert 0 < task.called < 300
        async with campaign(clock, url=url, engine=engine, furnish=False) as again:
            again.start()
            task = await again.until_task(task_id)
            assert task.called == 300
            assert all(engine.calls_to(callee) == 1 for callee in everyone)
            outcomes = Counter(call.outcome for call in await _calls(again, task_id))
            assert outcomes["unknown"] == 0

    clock.run(main())


def test_no_trunk_keeps_calls_queued_with_the_reason() -> None:

    clock = VirtualClock()

    async def main() -> None:
        engine = SandboxEngine(clock)
        engine.name = "sip"  # the store has a trunk for the sandbox only
        async with campaign(clock, engine=engine) as made:
            task_id, _ = await made.create(numbers(5))
            made.start()
            await asyncio.sleep(3600)
            task = await made.task(task_id)
            assert (task.state, task.queued) == (TaskState.CALLING, 5)
            async with made.store.read() as tx:
                reasons = await outlook.waiting_reasons(tx, engine="sip", now_us=clock.now_us())
            assert reasons == {task_id: "there is no trunk to dial through"}

    clock.run(main())
