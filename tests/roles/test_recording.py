"""What a task and its template ask of an engine: recordings, transfers, an ear for speech."""

from __future__ import annotations

import os
import wave
from pathlib import Path

import pytest

from ringback.clock import VirtualClock
from ringback.model.task import Limits
from ringback.model.template import Say, Tag, Template, Transfer
from ringback.roles.live_calls import OUTLIVES_SECONDS
from ringback.store import records, templates
from ringback.store.records import CallRecord
from ringback.telephony.port import DialOrder
from ringback.telephony.sandbox import SandboxEngine, SandboxLeg
from roles.campaign import Campaign, campaign

ANSWERS, IS_BUSY = "493000", "493060"


class Watched(SandboxEngine):
    """Keeps the orders."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.orders: list[DialOrder] = []

    async def dial(self, order: DialOrder) -> SandboxLeg:
        self.orders.append(order)
        return await super().dial(order)


async def run_task(made: Campaign, *, record: bool) -> list[CallRecord]:
    limits = Limits(ring_seconds=20, call_seconds=100, record=record)
    task_id, _ = await made.create([ANSWERS, IS_BUSY], limits=limits)
    made.start()
    await made.until_task(task_id)
    async with made.store.read() as tx:
        return [record async for record in records.listed(tx, task_id)]


@pytest.fixture(autouse=True)
def _working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_answered_call_of_a_task_that_records_has_a_file(tmp_path: Path) -> None:
    clock = VirtualClock()

    async def main() -> None:
        engine = Watched(clock)
        async with campaign(clock, engine=engine) as made:
            answered, busy = await run_task(made, record=True)
        assert busy.recording is None
        assert answered.recording == "1/1.wav"
        path = tmp_path / "recordings" / answered.recording
        assert [order.record_to for order in engine.orders] == [str(path), str(path.with_name("2.wav"))]
        assert {order.most_seconds for order in engine.orders} == {120 + OUTLIVES_SECONDS}
        with wave.open(str(path)) as opened:
            assert opened.getnframes() / 8_000 == pytest.approx((answered.talk_ms or 0) / 1_000, abs=0.01)
        assert [path.stat().st_mode & 0o777 for path in (path, *path.parents[:2])] == [0o600, 0o700, 0o700]

    before = os.umask(0)
    try:
        clock.run(main())
    finally:
        os.umask(before)


def test_nothing_is_made_for_a_task_that_does_not_record(tmp_path: Path) -> None:
    clock = VirtualClock()

    async def main() -> None:
        engine = Watched(clock)
        async with campaign(clock, engine=engine) as made:
            assert [record.recording for record in await run_task(made, record=False)] == [None, None]
        assert [order.record_to for order in engine.orders] == ["", ""]

    clock.run(main())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_breaks_no_call(tmp_path: Path) -> None:
    (tmp_path / "recordings").write_text("a file is in the way")
    clock = VirtualClock()

    async def main() -> None:
        async with campaign(clock) as made:
            answered, _ = await run_task(made, record=True)
        assert (answered.outcome, answered.recording) == ("answered", None)

    clock.run(main())


def test_a_transferred_call_says_so() -> None:
    clock = VirtualClock()
    hand_over = Template(name="over", initial_node="a", nodes={"a": [Say("One moment."), Transfer("100")]})

    async def main() -> None:
        async with campaign(clock) as made:
            async with made.store.write() as tx:
                made.template_id = await templates.add(tx, hand_over, {}, account_id=None, now_ms=clock.now_ms())
            answered, _ = await run_task(made, record=False)
        assert (answered.outcome, answered.hung_up_by, answered.reason) == ("answered", "ringback", "transferred")

    clock.run(main())


@pytest.mark.parametrize("barge_in", [True, False])
def test_speech_is_listened_for_where_it_interrupts(barge_in: bool) -> None:
    clock = VirtualClock()
    greeting = Template(
        name="greeting",
        initial_node="a",
        nodes={"a": [Say("Hello", barge_in), Tag("7")]},
    )

    async def main() -> None:
        engine = Watched(clock)
        async with campaign(clock, engine=engine) as made:
            async with made.store.write() as tx:
                made.template_id = await templates.add(tx, greeting, {}, account_id=None, now_ms=clock.now_ms())
            answered, _ = await run_task(made, record=False)
        assert [order.detect_talking for order in engine.orders] == [barge_in, barge_in]
        assert answered.intent == "7"

    clock.run(main())
