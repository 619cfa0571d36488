"""A restored database under the virtual clock: held, it dials nobody; settled, nobody twice in both of its lives."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from ringback.clock import VirtualClock
from ringback.model.audience import RecallType
from ringback.model.flow import FlowSpec
from ringback.model.states import FlowState, TaskState
from ringback.roles.conductor import Conductor
from ringback.roles.dialler import Dialler, DiallerSettings
from ringback.roles.hold import hold_everything
from ringback.roles.library import TemplateLibrary
from ringback.store import outlook, provenance, settling
from ringback.store.backup import back_up
from ringback.store.database import News
from ringback.store.witness import Witness
from ringback.telephony.port import DialOrder
from ringback.telephony.sandbox import SandboxEngine, SandboxLeg
from ringback.voice.speech import Speech
from roles.campaign import NO_POLL, Campaign, campaign, failed_flow, numbers


class Logged(SandboxEngine):
    """Keeps who was dialled: task and callee in order. ``starts`` counts."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.dialled: list[tuple[int, str]] = []
        self.starts = 0

    async def start(self) -> None:
        self.starts += 1

    async def dial(self, order: DialOrder) -> SandboxLeg:
        leg = await super().dial(order)
        self.dialled.append((order.task_id, order.callee))
        return leg


class Guarded(Campaign):
    """A campaign whose dialler has a witness, as a server's has."""

    def start(self, *, poll: float = NO_POLL) -> None:
        settings = DiallerSettings(idle_poll_seconds=poll, drain_seconds=60)
        library = TemplateLibrary(self.store, Speech(self.clock, None))
        witness = Witness.of(self.url, ".ringback")
        self.dialler = Dialler(self.store, self.engine, self.clock, library, settings, witness=witness)
        self._conductor = Conductor(self.store, self.clock, idle_poll_seconds=poll)
        self._running = [asyncio.create_task(self.dialler.run()), asyncio.create_task(self._conductor.run())]


def guarded(made: Campaign) -> Guarded:
    again = Guarded(made.store, made.clock, made.engine, made.url)
    again.account_id, again.application_id, again.template_id = made.account_id, made.application_id, made.template_id
    return again


async def rounds_of(made: Campaign) -> dict[int, str]:
    """The name of each task, which is the same in both lives: ids are not."""
    async with made.store.read() as tx:
        return {one.id: one.name for one in [*await _all_tasks(tx)]}


async def _all_tasks(tx: object) -> list[object]:
    from sqlalchemy import text

    return list(await tx.execute(text("SELECT id, name FROM task")))  # type: ignore[attr-defined]  # a transaction


def named(engine: Logged, names: dict[int, str], since: int = 0) -> Counter[tuple[str, str]]:
    return Counter((names[task_id], callee) for task_id, callee in engine.dialled[since:])


def put_back(backup: Path, url: str) -> None:
    """Over the same file, as cp does."""
    file = Path(url.removeprefix("sqlite:///"))
    file.write_bytes(backup.read_bytes())


async def settle(made: Campaign, dialled: frozenset[str] | None) -> settling.Settled:
    async with made.store.write() as tx:
        done = await settling.settle(tx, dialled, pid=1, now_ms=made.clock.now_ms(), minute_seconds=60)
        database_id = (await provenance.read(tx)).database_id
    witness = Witness.of(made.url, ".ringback")
    assert witness is not None
    witness.saw(database_id, done.leases)
    return done


def test_a_held_store_dials_nobody_until_it_is_settled(tmp_path: Path) -> None:
    """Without a restart too: where many machines dial, one settles and all go on."""
    clock = VirtualClock()

    async def main() -> None:
        engine = Logged(clock)
        async with campaign(clock, url=f"sqlite:///{tmp_path}/r.db", engine=engine) as plain:
            made = guarded(plain)
            task_id, _ = await made.create([f"4930000{group:02d}00" for group in range(20)], flow=failed_flow())
            async with made.store.write() as tx:
                await provenance.hold(tx, "a test", clock.now_ms())
            made.start(poll=1)
            await clock.sleep(120)
            assert (engine.dialled, engine.starts) == ([], 0), "not even the engine has been started"
            assert (await made.task(task_id)).state == TaskState.WAITING
            async with made.store.write() as tx:
                await settling.nothing_lost(tx, clock.now_ms())
            await made.until_task(task_id)
            assert len(engine.dialled) == 20
            await made.stop()

    clock.run(main())


def test_a_held_dialler_stops_when_it_is_asked_to(tmp_path: Path) -> None:
    clock = VirtualClock()

    async def main() -> None:
        async with campaign(clock, url=f"sqlite:///{tmp_path}/r.db", engine=Logged(clock)) as plain:
            made = guarded(plain)
            async with made.store.write() as tx:
                await provenance.hold(tx, "a test", clock.now_ms())
            made.start()
            await clock.sleep(1)
            await made.stop()
            async with made.store.read() as tx:
                assert await outlook.waiting_reasons(tx, engine="sandbox", now_us=clock.now_us()) == {}

    clock.run(main())


def test_holding_by_hand_holds_when_it_returns(tmp_path: Path) -> None:
    clock = VirtualClock()

    async def main() -> None:
        engine = Logged(clock)
        async with campaign(clock, url=f"sqlite:///{tmp_path}/r.db", engine=engine, rate=20) as plain:
            made = guarded(plain)
            task_id, _ = await made.create(numbers(200))
            made.start(poll=1)
            await clock.sleep(3)
            assert await hold_everything(made.store, clock, "a test")
            placed = len(engine.dialled)
            assert placed >= 40
            await clock.sleep(600)
            assert len(engine.dialled) == placed
            assert (await made.task(task_id)).active == 0, "calls in the air have ended and are stored"
            async with made.store.read() as tx:
                reasons = await outlook.waiting_reasons(tx, engine="sandbox", now_us=clock.now_us())
            assert "held: a test" in reasons[task_id]
            async with made.store.write() as tx:
                await settling.nothing_lost(tx, clock.now_ms())
            await made.until_task(task_id)
            assert len(engine.dialled) == 200
            assert max(Counter(engine.dialled).values()) == 1
            await made.stop()

    clock.run(main())


def test_a_database_that_goes_back_in_time_under_a_running_dialler_is_held(tmp_path: Path) -> None:
    """As when a database server fails over to a standby that had not got the last commits."""
    clock = VirtualClock()

    async def main() -> None:
        engine = Logged(clock)
        async with campaign(clock, url=f"sqlite:///{tmp_path}/r.db", engine=engine, rate=20) as plain:
            made = guarded(plain)
            await made.create(numbers(200))
            made.start(poll=1)
            await clock.sleep(3)
            async with made.store.write() as tx:
                await tx.exec_driver_sql("UPDATE provenance SET leases = leases - 5")
            placed = len(engine.dialled)
            await clock.sleep(60)
            # A call that was leased before may still leave.
            assert len(engine.dialled) - placed <= 8
            async with made.store.read() as tx:
                assert "an older state of it has been restored" in await provenance.why_held(tx)
            await made.stop()

    clock.run(main())


def test_without_a_witness_nothing_leaves(tmp_path: Path) -> None:
    """The disk of the witness is full or gone: what would be dialled could not be known later."""
    clock = VirtualClock()

    async def main() -> None:
        engine = Logged(clock)
        async with campaign(clock, url=f"sqlite:///{tmp_path}/r.db", engine=engine, rate=20) as plain:
            made = guarded(plain)
            task_id, _ = await made.create(numbers(100))
            made.start(poll=1)
            await clock.sleep(2)
            folder = tmp_path / ".ringback"
            folder.rename(tmp_path / "gone")
            folder.write_text("no folder")
            await clock.sleep(1)
            placed = len(engine.dialled)
            await clock.sleep(60)
            assert len(engine.dialled) == placed
            folder.unlink()
            (tmp_path / "gone").rename(folder)
            await made.until_task(task_id)
            assert len(engine.dialled) == 100
            assert max(Counter(engine.dialled).values()) == 1
            await made.stop()

    clock.run(main())


@pytest.mark.parametrize("how", ["dialled", "all"])
@pytest.mark.parametrize("seed", range(6))
def test_nobody_is_dialled_twice_in_a_round_over_both_lives(tmp_path: Path, how: str, seed: int) -> None:
    """Whenever the copy was made, and however many rounds the lost hours went on."""
    clock = VirtualClock()
    chance = random.Random(seed)
    url = f"sqlite:///{tmp_path}/r.db"
    interval = chance.choice([1, 5])
    copied_after = chance.uniform(0.5, 2 * 60 * interval)
    lost_for = chance.choice([1.0, 60.0 * interval * chance.uniform(1, 4), 60.0 * interval * chance.uniform(1, 4)])
    recall_type = chance.choice([RecallType.ALL, RecallType.FAILED])
    flow = FlowSpec(recall_type=recall_type, interval_minutes=interval, rounds=chance.randint(1, 4))
    rate = chance.choice([1, 20])
    backup = tmp_path / "backup.db"

    async def first_life(engine: Logged) -> tuple[dict[int, str], int]:
        async with campaign(clock, url=url, engine=engine, rate=rate) as plain:
            made = guarded(plain)
            for name, prefix in (("a", "4930"), ("b", "4940")):
                await made.create(numbers(30, prefix), name=name, flow=flow)
            await made.create(numbers(20, "4950"), name="c", send_at=clock.now_ms() + round(copied_after * 1000) + 500)
            made.start()
            await clock.sleep(copied_after)
            back_up(str(tmp_path / "r.db"), backup, clock.now_ms())
            at_copy = len(engine.dialled)
            await clock.sleep(lost_for)
            names = await rounds_of(made)
            await made.stop()
            names |= await rounds_of(made)
        return names, at_copy

    async def second_life(engine: Logged, dialled: frozenset[str] | None) -> dict[int, str]:
        async with campaign(clock, url=url, engine=engine, rate=rate, furnish=False) as plain:
            made = guarded(plain)
            made.start()
            await clock.sleep(3 * 24 * 3600)
            assert engine.dialled == []
            await made.stop()
            await settle(made, dialled)
            made.store.announce(News.WORK)
            made.start()
            for flow_id in (1, 2):
                await made.until_flow(flow_id, FlowState.COMPLETED)
            await made.until_task(3)
            await made.stop()
            return await rounds_of(made)

    async def main() -> None:
        first, second = Logged(clock), Logged(clock)
        names, at_copy = await first_life(first)
        put_back(backup, url)
        lost = named(first, names, at_copy)
        told = frozenset(callee for _, callee in lost) if how == "dialled" else None
        if told is not None and not told:
            return
        again = await second_life(second, told)
        both = named(first, names) + named(second, again)
        assert {pair: count for pair, count in both.items() if count > 1} == {}
        if how == "dialled":
            # Nobody is forgotten either: whoever is in the first round was dialled, in this life or that.
            for name, prefix, count in (("a", "4930", 30), ("b", "4940", 30), ("c", "4950", 20)):
                assert {callee for of, callee in both if of == name} == set(numbers(count, prefix))

    clock.run(main())
    with sqlite3.connect(tmp_path / "r.db") as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
