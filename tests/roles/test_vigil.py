"""Several diallers on one store, under the virtual clock: one dies or is cut off, the others take over what it held."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import OperationalError

from ringback.clock import VirtualClock
from ringback.model.states import TaskState
from ringback.model.task import Limits
from ringback.roles.dialler import Dialler, DiallerSettings
from ringback.roles.library import TemplateLibrary
from ringback.store import records
from ringback.telephony.sandbox import SandboxEngine
from ringback.voice.speech import Speech
from roles.campaign import Campaign, campaign, numbers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from ringback.store.database import Store, Tx

TAKEOVER_SECONDS = 10.0
#: Rings, is answered and listens to a template that lasts some seconds.
PERSONS = [f"493000{number:04}00" for number in range(600)]


class CutOff:
    """A store that one worker cannot reach while ``cut`` is set."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.cut = False

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Tx]:
        self._check()
        async with self._store.write() as tx:
            yield tx

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        self._check()
        async with self._store.read() as tx:
            yield tx

    def _check(self) -> None:
        if self.cut:
            raise OperationalError("", {}, Exception("the database cannot be reached"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Worker:
    """A dialler on its own engine."""

    def __init__(self, made: Campaign, clock: VirtualClock) -> None:
        self.store = CutOff(made.store)
        self.engine = SandboxEngine(clock)
        settings = DiallerSettings(idle_poll_seconds=5, drain_seconds=60, takeover_seconds=TAKEOVER_SECONDS)
        library = TemplateLibrary(made.store, Speech(clock, None))
        self.dialler = Dialler(self.store, self.engine, clock, library, settings)  # type: ignore[arg-type] - it stands in for a store
        self.running = asyncio.create_task(self.dialler.run())

    def kill(self) -> None:
        """It is gone in the middle of everything: nothing of it reaches the store any more, and its calls are dead."""
        self.store.cut = True
        self.running.cancel()
        self.dialler.stop()


def run(story: Callable[[Campaign, VirtualClock, list[Worker]], Awaitable[None]], workers: int = 2) -> None:
    clock = VirtualClock()

    async def main() -> None:
        async with campaign(clock, rate=20, channels=100) as made:
            made.store.shared = True
            everyone = [Worker(made, clock) for _ in range(workers)]
            made.start_conductor()
            await story(made, clock, everyone)
            for worker in everyone:
                worker.store.cut = False  # what a dead one still tries to store changes nothing
                worker.dialler.stop()
            await asyncio.gather(*(worker.running for worker in everyone), return_exceptions=True)

    clock.run(main())


def placed(workers: list[Worker], everyone: list[str]) -> Counter[str]:
    return Counter({callee: sum(worker.engine.calls_to(callee) for worker in workers) for callee in everyone})


async def outcomes(made: Campaign, task_id: int) -> dict[str, int]:
    async with made.store.read() as tx:
        return await records.count_by_end(tx, task_id)


def test_workers_share_a_task_and_its_limits() -> None:
    async def story(made: Campaign, clock: VirtualClock, workers: list[Worker]) -> None:
        everyone = numbers(300)
        task_id, _ = await made.create(everyone, limits=Limits(lines=40, ring_seconds=20))
        most = 0
        while (await made.task(task_id)).state is not TaskState.FINISHED:
            await clock.sleep(0.5)
            task = await made.task(task_id)
            up = sum(len(worker.engine._legs) for worker in workers)
            most = max(most, up)
            assert up <= task.active <= 40
        assert most >= 35
        assert set(placed(workers, everyone).values()) == {1}
        assert all(placed([worker], everyone).total() for worker in workers)

    run(story, workers=3)


def test_what_a_dead_worker_held_is_settled_in_bounded_time_and_never_dialled_again() -> None:
    async def story(made: Campaign, clock: VirtualClock, workers: list[Worker]) -> None:
        task_id, _ = await made.create(PERSONS)
        await clock.sleep(8)
        held = len(workers[0].engine._legs)
        assert held > 10
        workers[0].kill()
        died = clock.monotonic()
        while not (await outcomes(made, task_id)).get("unknown"):
            await clock.sleep(0.5)
        assert TAKEOVER_SECONDS - 2 <= clock.monotonic() - died <= TAKEOVER_SECONDS + 4
        await made.until_task(task_id)
        ends = await outcomes(made, task_id)
        # What was leased and had not left yet is unknown too.
        assert held <= ends["unknown"] <= held + 10
        assert sum(ends.values()) == len(PERSONS)
        assert max(placed(workers, PERSONS).values()) == 1

    run(story)


def test_a_worker_that_was_away_for_too_long_is_fenced_and_hangs_up() -> None:
    async def story(made: Campaign, clock: VirtualClock, workers: list[Worker]) -> None:
        task_id, _ = await made.create(PERSONS)
        await clock.sleep(8)
        lost = workers[0]
        lost.store.cut = True
        await clock.sleep(TAKEOVER_SECONDS + 4)
        assert (await outcomes(made, task_id)).get("unknown", 0) > 10
        before = placed([lost], PERSONS).total()
        lost.store.cut = False
        await lost.running
        assert lost.engine._legs == {}
        assert placed([lost], PERSONS).total() == before
        await made.until_task(task_id)
        assert max(placed(workers, PERSONS).values()) == 1

    run(story)


def test_a_database_that_is_away_for_everybody_kills_nobody() -> None:
    async def story(made: Campaign, clock: VirtualClock, workers: list[Worker]) -> None:
        task_id, _ = await made.create(PERSONS)
        await clock.sleep(8)
        for worker in workers:
            worker.store.cut = True
        await clock.sleep(10 * TAKEOVER_SECONDS)
        for worker in workers:
            worker.store.cut = False
        await made.until_task(task_id)
        assert "unknown" not in await outcomes(made, task_id)
        assert set(placed(workers, PERSONS).values()) == {1}

    run(story)


def test_the_last_worker_to_die_is_settled_by_the_next_to_start() -> None:
    async def story(made: Campaign, clock: VirtualClock, workers: list[Worker]) -> None:
        task_id, _ = await made.create(PERSONS)
        await clock.sleep(5)
        workers[0].kill()
        await clock.sleep(60)
        assert (await made.task(task_id)).active > 0
        workers.append(Worker(made, clock))
        await made.until_task(task_id)
        assert (await outcomes(made, task_id))["unknown"] > 10
        assert max(placed(workers, PERSONS).values()) == 1

    run(story, workers=1)


def test_workers_that_hold_no_call_do_not_write_every_other_second() -> None:
    async def story(made: Campaign, clock: VirtualClock, workers: list[Worker]) -> None:
        await clock.sleep(30)
        before = await beats(made)
        await clock.sleep(600)
        assert await beats(made) - before <= 2 * 600 / 5 + 2

    run(story)


async def beats(made: Campaign) -> int:
    from sqlalchemy import func, select

    from ringback.store.schema_engine import worker

    async with made.store.read() as tx:
        return int(await tx.scalar(select(func.sum(worker.c.beats))) or 0)


def test_one_worker_settles_what_a_dead_one_held_and_the_others_let_it() -> None:
    async def story(made: Campaign, clock: VirtualClock, workers: list[Worker]) -> None:
        asked: Counter[int] = Counter()

        async def slow(call_id: int, *, of: str) -> None:
            asked[call_id] += 1
            await clock.sleep(TAKEOVER_SECONDS)

        for worker in workers:
            worker.engine.settle = slow  # type: ignore[method-assign] - no server could be so slow and still tested
        task_id, _ = await made.create(PERSONS)
        await clock.sleep(8)
        held = len(workers[0].engine._legs)
        workers[0].kill()
        await made.until_task(task_id)
        assert held <= len(asked)
        assert set(asked.values()) == {1}, "whoever asks second is told that there is no such call any more"

    run(story, workers=3)


def test_when_the_settler_dies_too_another_goes_on() -> None:
    async def story(made: Campaign, clock: VirtualClock, workers: list[Worker]) -> None:
        asked: list[Worker] = []

        def slow(worker: Worker) -> Callable[..., Awaitable[None]]:
            async def settle(call_id: int, *, of: str) -> None:
                asked.append(worker)
                await clock.sleep(TAKEOVER_SECONDS)

            return settle

        for worker in workers:
            worker.engine.settle = slow(worker)  # type: ignore[method-assign] - as above
        task_id, _ = await made.create(PERSONS)
        await clock.sleep(8)
        workers[0].kill()
        while not asked:
            await clock.sleep(0.1)
        asked[0].kill()
        await made.until_task(task_id)
        assert len({id(worker) for worker in asked}) == 2
        assert sum((await outcomes(made, task_id)).values()) == len(PERSONS)

    run(story, workers=3)
