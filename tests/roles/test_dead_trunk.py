"""A dead trunk never burns the list: it costs a few calls, single probes try it, and when it is back it is dialled."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from ringback.clock import VirtualClock
from ringback.model import sandbox_numbers
from ringback.model.breaker import MOST_UNANSWERED, Breaker
from ringback.model.sandbox_numbers import Behaviour
from ringback.model.states import TaskState
from ringback.store import breakers, outlook, trunks
from ringback.store.database import News
from ringback.telephony.port import DialOrder
from ringback.telephony.sandbox import SandboxEngine, SandboxLeg
from roles.campaign import Campaign, campaign

PERSONS = [f"4930{number:05d}00" for number in range(3000)]


class Timed(SandboxEngine):
    """Notes when each INVITE left, in seconds."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.left: list[float] = []

    async def dial(self, order: DialOrder) -> SandboxLeg:
        leg = await super().dial(order)
        self.left.append(self._clock.monotonic())
        return leg


async def breaker_of(made: Campaign) -> Breaker:
    async with made.store.read() as tx:
        (found,) = (await breakers.of_trunks(tx, [1])).values()
    return found


async def why(made: Campaign, task_id: int) -> str | None:
    async with made.store.read() as tx:
        reasons = await outlook.waiting_reasons(tx, engine="sandbox", now_us=made.clock.now_us())
    return reasons.get(task_id)


@pytest.mark.parametrize(
    ("outage", "reason"),
    [
        (sandbox_numbers.SILENT, "no response"),
        (sandbox_numbers.SERVICE_UNAVAILABLE, "503"),
        (sandbox_numbers.FORBIDDEN, "403"),
    ],
)
def test_a_trunk_that_dies_costs_few_calls_and_all_others_are_dialled_later(outage: Behaviour, reason: str) -> None:
    clock = VirtualClock()

    async def main() -> None:
        engine = Timed(clock)
        async with campaign(clock, engine=engine, rate=50) as made:
            task_id, _ = await made.create(PERSONS)
            made.start()
            await clock.sleep(20)
            died = clock.monotonic()
            before = len(engine.left)
            assert before >= 20 * 49
            engine.outage = outage
            await clock.sleep(15)
            assert len(engine.left) - before < 50
            assert re.fullmatch(
                rf"trunk t is shut: {reason} to \d+ calls in a row; next try at \d\d:\d\d:\d\d UTC",
                await why(made, task_id) or "",
            )
            await clock.sleep(1800)
            spent = [at for at in engine.left if at >= died]
            assert len(spent) < 50
            breaker = await breaker_of(made)
            assert breaker.opened_at is not None
            assert breaker.openings == 1
            # Single probes, further and further apart.
            probes = [at for at in spent if at > died + 22]
            gaps = [later - earlier for earlier, later in pairwise(probes)]
            assert 6 <= len(probes) <= 12
            assert all(gap >= 19 for gap in gaps)
            assert gaps == sorted(gaps) or max(gaps) >= 300
            engine.outage = None
            task = await made.until_task(task_id)
            # Calls that were ringing when everything went silent cannot be answered any more.
            ringing = 50 if outage is sandbox_numbers.SILENT else 0
            assert len(spent) <= task.failed <= len(spent) + ringing
            assert task.answered + task.failed == len(PERSONS)
            assert all(engine.calls_to(callee) == 1 for callee in PERSONS)
            closed = await breaker_of(made)
            assert (closed.opened_at, closed.strikes, closed.openings) == (None, 0, 1)

    clock.run(main())


def test_calls_that_end_after_the_trunk_died_do_not_hide_it() -> None:
    """Whoever is being talked to when it dies hangs on to the end; that is no sign of life for new calls."""
    clock = VirtualClock()

    async def main() -> None:
        engine = Timed(clock)
        async with campaign(clock, engine=engine, rate=50) as made:
            await made.create(PERSONS)
            made.start()
            await clock.sleep(5.01)  # between two calls
            before = len(engine.left)
            engine.outage = sandbox_numbers.SILENT
            await clock.sleep(9)
            assert len(engine.left) - before <= MOST_UNANSWERED

    clock.run(main())


def test_it_never_opens_because_of_what_callees_do() -> None:
    clock = VirtualClock()

    async def main() -> None:
        engine = Timed(clock)
        async with campaign(clock, engine=engine, rate=50) as made:
            endings = ("60", "70", "80", "85", "90", "98")
            task_id, _ = await made.create([f"4930{number:05d}{endings[number % 6]}" for number in range(900)])
            made.start()
            await made.until_task(task_id)
            assert await breaker_of(made) == Breaker()
            assert max(engine.left) < 20, "nothing held them up"

    clock.run(main())


def test_a_probe_that_rings_brings_the_others_at_once() -> None:
    clock = VirtualClock()

    async def main() -> None:
        engine = Timed(clock)
        engine.outage = sandbox_numbers.FORBIDDEN
        async with campaign(clock, engine=engine, rate=20) as made:
            task_id, _ = await made.create([f"4930{number:05d}70" for number in range(200)])
            made.start()
            await clock.sleep(5)
            before = len(engine.left)
            engine.outage = None
            await clock.sleep(8)
            # Nobody has answered or ended yet: it only rings.
            assert (await breaker_of(made)).opened_at is None
            assert len(engine.left) - before > 40
            assert (await made.until_task(task_id)).failed == 200

    clock.run(main())


@pytest.mark.parametrize("by_set", [False, True])
def test_the_operator_closes_it_by_hand_and_it_dials_on(by_set: bool) -> None:
    clock = VirtualClock()

    async def main() -> None:
        engine = Timed(clock)
        engine.outage = sandbox_numbers.SILENT
        async with campaign(clock, engine=engine, rate=50) as made:
            task_id, _ = await made.create(PERSONS[:200])
            made.start()
            # In the one case all headroom is spent and it is still closed, in the other it is open.
            await clock.sleep(5 if by_set else 15)
            assert len(engine.left) == MOST_UNANSWERED
            engine.outage = None
            async with made.store.write() as tx:
                if by_set:
                    await trunks.change(tx, "t", host="b.example", now_ms=clock.now_ms())
                else:
                    assert await trunks.reset(tx, "t", clock.now_ms())
            made.store.announce(News.WORK)
            await clock.sleep(1)
            assert len(engine.left) > MOST_UNANSWERED + 20
            task = await made.until_task(task_id)
            assert (task.state, task.failed) == (TaskState.FINISHED, MOST_UNANSWERED)
            # Silence of calls that left before it was closed is not held against the new way.
            assert (await breaker_of(made)).openings == (0 if by_set else 1)

    clock.run(main())
