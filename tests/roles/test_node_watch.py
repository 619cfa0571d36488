"""The node watch under the virtual clock: nodes are reported, drained before the first call, and a drain is noted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.exc import OperationalError

from ringback.clock import VirtualClock
from ringback.model.engine_node import NodeState, SeenNode, Standing, standing, why_no_line
from ringback.roles import node_watch
from ringback.roles.node_watch import EVERY_SECONDS, NOTED_SECONDS, NodeWatch, NoSuchNode, drain_node
from ringback.store import engine_nodes, outlook
from ringback.store.database import News
from ringback.telephony.port import DialOrder, EngineUnavailable
from ringback.telephony.sandbox import SandboxEngine, SandboxLeg
from roles.campaign import Campaign, campaign

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

PERSONS = [f"4930{number:05d}00" for number in range(400)]


class TwoNodes(SandboxEngine):
    """Two nodes of 50 lines each, in memory: a call goes to the emptier one that takes calls."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.calls: dict[str, list[SandboxLeg]] = {"a:1": [], "b:1": []}
        self.draining: set[str] = set()
        self.troubles = {"a:1": "", "b:1": ""}
        self.up = False

    async def start(self) -> None:
        self.up = True

    def live(self, name: str) -> int:
        return sum(not leg._over for leg in self.calls[name])

    def node_states(self) -> list[NodeState]:
        return [
            NodeState(
                name=name,
                draining=name in self.draining,
                trouble=self.troubles[name],
                live_calls=self.live(name),
                lines=50,
                weight=1,
                placed=len(legs),
            )
            for name, legs in self.calls.items()
            if self.up
        ]

    def drain(self, name: str, *, on: bool) -> None:
        (self.draining.add if on else self.draining.discard)(name)

    def trouble(self) -> str:
        return why_no_line(self.node_states())

    def free_lines(self) -> int:
        return sum(state.free_lines for state in self.node_states())

    async def dial(self, order: DialOrder) -> SandboxLeg:
        free = [state for state in self.node_states() if state.free_lines]
        if not free:
            raise EngineUnavailable(self.trouble() or "full")
        leg = await super().dial(order)
        self.calls[min(free, key=lambda state: state.live_calls).name].append(leg)
        return leg


class Watched:
    """A campaign on two nodes with its watch."""

    def __init__(self, made: Campaign, engine: TwoNodes, clock: VirtualClock) -> None:
        self.made = made
        self.engine = engine
        self.clock = clock
        self.watch = NodeWatch(made.store, clock, lambda: (engine, 1))
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._running = asyncio.create_task(self.watch.run())

    async def stop(self) -> None:
        self.watch.stop()
        if self._running is not None:
            await self._running

    async def node(self, name: str) -> SeenNode:
        async with self.made.store.read() as tx:
            found = await engine_nodes.by_name(tx, name, self.clock.now_ms())
        assert found is not None
        return found

    async def state(self, name: str) -> Standing:
        return standing(await self.node(name), self.clock.now_ms())

    async def why(self, task_id: int) -> str | None:
        async with self.made.store.read() as tx:
            reasons = await outlook.waiting_reasons(tx, engine="sandbox", now_us=self.clock.now_us())
        return reasons.get(task_id)


def run(story: Callable[[Watched], Awaitable[None]], rate: float = 10) -> None:
    clock = VirtualClock()

    async def main() -> None:
        engine = TwoNodes(clock)
        async with campaign(clock, engine=engine, rate=rate) as made:
            watched = Watched(made, engine, clock)
            try:
                await story(watched)
            finally:
                await watched.stop()

    clock.run(main())


def test_each_node_is_reported_every_two_seconds() -> None:
    async def story(on: Watched) -> None:
        await on.made.create(PERSONS)
        on.made.start()
        on.start()
        await on.clock.sleep(20)
        node = await on.node("a:1")
        assert on.clock.now_ms() - node.seen_at <= EVERY_SECONDS * 1000
        assert node.placed > 80
        assert 0 < node.live_calls <= 50
        on.engine.troubles["a:1"] = "connection refused"
        await on.clock.sleep(EVERY_SECONDS + 0.1)
        assert (await on.node("a:1")).trouble == "connection refused"
        assert [await on.state(name) for name in ("a:1", "b:1")] == [Standing.TROUBLE, Standing.WELL]

    run(story)


def test_a_drained_node_gets_no_call_and_keeps_those_it_has() -> None:
    async def story(on: Watched) -> None:
        task_id, _ = await on.made.create(PERSONS)
        on.made.start()
        on.start()
        await on.clock.sleep(15)
        noted = await drain_node(on.made.store, on.clock, "a:1", on=True)
        held = list(on.engine.calls["a:1"])
        live = on.engine.live("a:1")
        assert noted.by_dialler
        assert noted.node.live_calls >= live > 0
        assert await on.state("a:1") is Standing.DRAINING
        while on.engine.live("a:1"):
            await on.clock.sleep(0.5)
        await on.clock.sleep(EVERY_SECONDS + 0.1)
        assert await on.state("a:1") is Standing.DRAINED
        assert on.engine.calls["a:1"] == held
        before = len(on.engine.calls["b:1"])
        assert (await drain_node(on.made.store, on.clock, "a:1", on=False)).by_dialler
        task = await on.made.until_task(task_id)
        assert task.answered == len(PERSONS), "calls of the drained node ended as all others"
        assert len(on.engine.calls["a:1"]) > len(held)
        assert len(on.engine.calls["b:1"]) > before
        assert all(on.engine.calls_to(callee) == 1 for callee in PERSONS)

    run(story)


def test_a_drain_outlives_the_dialler_and_holds_before_its_first_call() -> None:
    async def story(on: Watched) -> None:
        on.engine.up = True
        on.start()
        await on.clock.sleep(1)
        await on.stop()
        await on.clock.sleep(60)
        assert await on.state("a:1") is Standing.UNKNOWN
        began = on.clock.monotonic()
        noted = await drain_node(on.made.store, on.clock, "a:1", on=True)
        assert not noted.by_dialler
        assert on.clock.monotonic() == began, "it does not wait for a dialler that does not run"
        await on.made.create(PERSONS[:40])
        on.made.start()
        await on.clock.sleep(10)
        assert on.engine.calls["a:1"] == []
        assert len(on.engine.calls["b:1"]) == 40

    run(story)


def test_a_dialler_that_has_just_died_is_waited_for_in_vain() -> None:
    async def story(on: Watched) -> None:
        on.engine.up = True
        on.start()
        await on.clock.sleep(1)
        await on.stop()
        began = on.clock.monotonic()
        assert not (await drain_node(on.made.store, on.clock, "b:1", on=True)).by_dialler
        assert NOTED_SECONDS <= on.clock.monotonic() - began < NOTED_SECONDS + 1

    run(story)


def test_unknown_nodes_are_named() -> None:
    async def story(on: Watched) -> None:
        with pytest.raises(NoSuchNode, match=r"there is no node 'a:1'; a dialler on Asterisk must have run first"):
            await drain_node(on.made.store, on.clock, "a:1", on=True)
        on.engine.up = True
        on.start()
        await on.clock.sleep(1)
        with pytest.raises(NoSuchNode, match=r"there is no node 'c:1'; there are a:1, b:1"):
            await drain_node(on.made.store, on.clock, "c:1", on=True)

    run(story)


def test_a_task_says_why_and_goes_on_when_a_node_is_well() -> None:
    async def story(on: Watched) -> None:
        on.engine.troubles = dict.fromkeys(on.engine.troubles, "connection refused")
        task_id, _ = await on.made.create(PERSONS[:30])
        on.made.start()
        on.start()
        await on.clock.sleep(5)
        assert await on.why(task_id) == "no Asterisk is well: a:1: connection refused; b:1: connection refused"
        assert on.made.dialler is not None
        assert on.made.dialler._waiting[task_id] == await on.why(task_id)
        await drain_node(on.made.store, on.clock, "b:1", on=True)
        on.engine.troubles["b:1"] = ""
        await on.clock.sleep(EVERY_SECONDS + 0.1)
        assert await on.why(task_id) == "no Asterisk takes calls: a:1: connection refused; b:1: is being drained"
        await drain_node(on.made.store, on.clock, "b:1", on=False)
        on.made.store.announce(News.LINES)  # this dialler does not look by itself
        await on.clock.sleep(EVERY_SECONDS + 0.1)
        assert (await on.made.task(task_id)).active > 0
        assert (await on.made.until_task(task_id)).answered == 30
        await on.stop()
        on.engine.troubles["b:1"] = "connection refused"
        later_id, _ = await on.made.create(PERSONS[30:60], name="later")
        await on.clock.sleep(60)
        assert await on.why(later_id) == "no dialler runs"

    run(story)


def test_a_database_that_refuses_for_now_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = 3

    async def refusing(*arguments: Any) -> None:
        nonlocal refusals
        refusals -= 1
        if refusals >= 0:
            raise OperationalError("", {}, Exception("database is locked"))
        await real(*arguments)

    real: Callable[..., Coroutine[Any, Any, None]] = node_watch.report_nodes
    monkeypatch.setattr(node_watch, "report_nodes", refusing)

    async def story(on: Watched) -> None:
        on.engine.up = True
        on.start()
        await on.clock.sleep(4 * EVERY_SECONDS + 0.1)
        assert await on.state("a:1") is Standing.WELL

    run(story)


def test_an_engine_without_nodes_is_left_alone() -> None:
    clock = VirtualClock()

    async def main() -> None:
        async with campaign(clock) as made:
            engine: SandboxEngine | None = None
            watch = NodeWatch(made.store, clock, lambda: None if engine is None else (engine, 1))
            running = asyncio.create_task(watch.run())
            await clock.sleep(5)
            engine = SandboxEngine(clock)
            await clock.sleep(5)
            watch.stop()
            await running
            async with made.store.read() as tx:
                assert await engine_nodes.everyone(tx, made.clock.now_ms()) == []

    clock.run(main())


def test_an_engine_that_has_stopped_takes_no_node_off_the_list() -> None:
    async def story(on: Watched) -> None:
        on.engine.up = True
        on.start()
        await on.clock.sleep(1)
        await drain_node(on.made.store, on.clock, "a:1", on=True)
        on.engine.up = False
        await on.clock.sleep(10)
        assert (await on.node("a:1")).draining

    run(story)
