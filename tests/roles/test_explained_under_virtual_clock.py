"""Why a number waits, and what became of it, asked of a dialler that runs: under the virtual clock."""

from __future__ import annotations

import asyncio
import re

from ringback.clock import VirtualClock
from ringback.model import sandbox_numbers
from ringback.model.explanation import CallExplanation, Explanation, Rule
from ringback.model.outcome import Outcome
from ringback.model.states import CallState
from ringback.model.task import Limits
from ringback.model.windows import parse_window
from ringback.roles.control import pause_task, resume_task
from ringback.store import denials, explain, tasks
from ringback.store.database import News
from ringback.telephony.sandbox import SandboxEngine
from roles.campaign import Campaign, campaign, failed_flow

HOUR_MS = 3_600_000
BERLIN, NEW_YORK, BERLIN_BUSY = "4930000000", "12125550100", "4930000060"


async def ask(made: Campaign, task_id: int, callee: str) -> Explanation:
    async with made.store.read() as tx:
        return await explain.number(tx, made.account_id, task_id, callee, engine="sandbox", now_us=made.clock.now_us())


async def call(made: Campaign, task_id: int, callee: str, at: int = 0) -> CallExplanation:
    found = (await ask(made, task_id, callee)).rounds[at].call
    assert found is not None
    return found


def test_a_closed_window_is_explained_until_it_opens_in_every_round() -> None:
    clock = VirtualClock()  # 08:00 UTC: 09:00 in Berlin, 03:00 in New York

    async def main() -> None:
        async with campaign(clock) as made:
            limits = Limits(ring_seconds=20, windows=(parse_window("09:00", "10:00"),))
            task_id, flow_id = await made.create(
                [BERLIN_BUSY, NEW_YORK], limits=limits, flow=failed_flow(rounds=2, interval=60)
            )
            made.start()
            start = clock.now_ms()
            await clock.sleep(600)
            waits = await call(made, task_id, NEW_YORK)
            assert (waits.state, waits.not_before) == (CallState.QUEUED, start + 6 * HOUR_MS)
            assert waits.not_dialled == "outside the calling windows in America/New_York"
            busy = await ask(made, task_id, BERLIN_BUSY)
            assert busy.rounds[0].call is not None
            assert busy.rounds[0].call.outcome is Outcome.BUSY
            assert [one.rule for one in busy.rounds[1:]] == [Rule.ROUND_NOT_STARTED] * 2
            assert "starts after all calls of the one before" in busy.rounds[1].why
            await made.until_task(task_id)
            dialled = await call(made, task_id, NEW_YORK)
            assert (dialled.not_dialled, dialled.not_before) == ("", None)
            assert dialled.started_at == waits.not_before
            # The round begins when Berlin's window has been closed for hours, and says when it opens.
            await clock.sleep(2 * 3600)
            recalled = await call(made, task_id, BERLIN_BUSY, at=1)
            assert recalled.not_dialled == "outside the calling windows in Europe/Berlin"
            assert recalled.not_before == start + 24 * HOUR_MS
            await made.until_flow(flow_id)
            assert (await call(made, task_id, BERLIN_BUSY, at=1)).started_at == recalled.not_before
            rounds = (await ask(made, task_id, NEW_YORK)).rounds
            assert [one.rule for one in rounds] == [
                Rule.PARENT_LIST,
                Rule.NOT_FAILED,
                Rule.NOT_IN_PREVIOUS_ROUND,
            ]

    clock.run(main())


def test_a_shut_trunk_is_explained_while_it_is_shut() -> None:
    clock = VirtualClock()

    async def main() -> None:
        engine = SandboxEngine(clock)
        everyone = [f"4930{number:05d}00" for number in range(500)]
        async with campaign(clock, engine=engine, rate=20) as made:
            task_id, _ = await made.create(everyone)
            made.start()
            engine.outage = sandbox_numbers.SERVICE_UNAVAILABLE
            await clock.sleep(20)
            waits = await call(made, task_id, everyone[-1])
            told = r"trunk t is shut: 503 to \d+ calls in a row; next try at \d\d:\d\d:\d\d UTC"
            assert re.fullmatch(told, waits.not_dialled), waits.not_dialled
            engine.outage = None
            await made.until_task(task_id)
            ended = await call(made, task_id, everyone[-1])
            assert (ended.outcome, ended.trunk, ended.not_dialled) == (Outcome.ANSWERED, "t", "")

    clock.run(main())


def test_a_pause_and_a_denial_are_explained() -> None:
    clock = VirtualClock()

    async def main() -> None:
        everyone = [f"4930{number:05d}00" for number in range(300)]
        denied = "493000299"
        async with campaign(clock, rate=10) as made:
            task_id, _ = await made.create(everyone, flow=failed_flow())
            made.start()
            await clock.sleep(2)
            assert (await call(made, task_id, f"{denied}00")).not_dialled == "its turn has not come yet"
            await pause_task(made.store, clock, task_id)
            assert (await call(made, task_id, f"{denied}00")).not_dialled == "the task is suspended"
            async with made.store.write() as tx:
                await denials.add(tx, None, denied)
                await denials.skip_denied(tx, [task_id])
                await tasks.finish_done(tx, [task_id], clock.now_ms(), minute_seconds=60)
            made.store.announce(News.WORK)
            first, *rounds = (await ask(made, task_id, f"{denied}00")).rounds
            assert first.call is not None
            assert (first.call.state, first.call.not_dialled) == (
                CallState.SKIPPED,
                f"numbers that begin with {denied} are denied",
            )
            assert [one.rule for one in rounds] == [
                Rule.WAS_SKIPPED,
                Rule.NOT_IN_PREVIOUS_ROUND,
                Rule.NOT_IN_PREVIOUS_ROUND,
            ]
            await resume_task(made.store, clock, task_id)
            await made.until_task(task_id)
            assert made.engine.calls_to(f"{denied}00") == 0  # type: ignore[attr-defined]  # the sandbox counts

    clock.run(main())


def test_without_a_dialler_it_says_so() -> None:
    clock = VirtualClock()

    async def main() -> None:
        async with campaign(clock) as made:
            task_id, _ = await made.create([BERLIN])
            made.start_conductor()
            await asyncio.sleep(60)
            assert (await call(made, task_id, BERLIN)).not_dialled == "no dialler runs"

    clock.run(main())
