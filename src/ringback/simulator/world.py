"""One run: the world of a plan, from the first call until everything has come to rest and been judged."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ringback.clock import Clock, KeptClock, VirtualClock
from ringback.simulator.alarms import instant, listening
from ringback.simulator.book import Book, Outage
from ringback.simulator.call_promises import OF_A_CALL
from ringback.simulator.carrier import Carrier
from ringback.simulator.faults import FaultyStore, Weather
from ringback.simulator.hosts import Host, HostClock, HostLoop, elsewhere, simulate
from ringback.simulator.outcome import RunResult, Violation
from ringback.simulator.plan import Ill, Knobs, draw
from ringback.simulator.recall_rules import OF_A_FLOW, flows_of
from ringback.simulator.run_promises import OF_A_RUN
from ringback.simulator.stage import Stage, set_stage
from ringback.simulator.users import Users
from ringback.simulator.worker import Worker, start_worker
from ringback.store.census import Census, census, fenced_workers, first_task, miscounted, open_work, state_of_call
from ringback.store.database import News
from ringback.store.inline import InlineDatabase, open_inline_store

if TYPE_CHECKING:
    from ringback.simulator.carrier import PlacedCall
    from ringback.simulator.plan import Fault, Plan

#: What everything may need to come to rest after the last fault, beside the intervals of its flows, seconds.
_REST_SECONDS = 4 * 86_400.0
_LOOK_SECONDS = 21_600.0
#: How long news take from host to host.
_NEWS_SECONDS = 0.002
#: A worker that was killed or stopped is started again after so many seconds, or the size of its fault.
_RESTART_SECONDS = 1.0
COUNTERS = "counters"
NOTHING_BREAKS = "nothing breaks inside"


def run_seed(seed: int, knobs: Knobs | None = None, *, trace: bool = False) -> RunResult:
    """Run a seed: always the same for the same knobs."""
    return run_plan(draw(seed, knobs or Knobs()), trace=trace)


def run_plan(plan: Plan, *, trace: bool = False) -> RunResult:
    """Run a plan."""
    clock = VirtualClock(plan.start_ms)

    alarms: list[str] = []
    story: list[str] = []

    async def main(loop: HostLoop) -> RunResult:
        world = World(plan, clock, loop, story if trace else None)
        try:
            await world.run()
        finally:
            world.database.close()
        for alarm in (*alarms, *loop.troubles):
            world.violated(NOTHING_BREAKS, alarm)
        return world.result()

    # Also when the rest is discarded: what breaks by that must not be printed.
    with listening(alarms, story if trace else None, clock):
        return simulate(clock, main)


class World:
    """Everything that there is in one run."""

    def __init__(self, plan: Plan, clock: VirtualClock, loop: HostLoop, story: list[str] | None) -> None:
        self.plan = plan
        self.clock = clock
        self.loop = loop
        self.database = InlineDatabase()
        self.weather = Weather(plan, clock)
        self.book = Book(
            plan.trunks,
            state_of=lambda call_id: state_of_call(self.database, call_id),
            root_of=lambda task_id: first_task(self.database, task_id),
        )
        self.carrier = Carrier(clock, self.weather, self._placed)
        self.violations: dict[str, Violation] = {}
        self._story = story
        self.carrier.can_be_asked = plan.can_be_asked
        self._fenced: set[str] = set()
        self._stores: list[FaultyStore] = []
        self._skews: list[int] = [0]
        self._workers: list[Worker | None] = [None] * plan.workers
        #: Also those that are gone: the garbage collector must not end in its own time what a kill left behind.
        self._hosts: list[Host] = []
        self._rounds = 0
        self.office = self.new_host("office")
        self.office_store = self.open_store(self.office)
        self.stage = Stage(0, 0, {})

    # --- what others ask of it ---

    def tell(self, what: str) -> None:
        """One line of the story."""
        if self._story is not None:
            self._story.append(f"{instant(self.clock)}  {what}")

    def violated(self, promise: str, what: str) -> None:
        """A promise is broken. The first time counts: what follows may follow from it."""
        self.tell(f"VIOLATED {promise}: {what}")
        self.violations.setdefault(promise, Violation(promise, instant(self.clock), what))

    def census(self) -> Census:
        """Everything that is stored now."""
        return census(self.database)

    def new_host(self, name: str) -> Host:
        """A machine; all have the wall clock of the first one until clocks are set apart."""
        clock = HostClock(self.clock)
        clock.skew_us = self._skews[-1]
        host = Host(name, clock, self.loop)
        self._hosts.append(host)
        return host

    def clock_of(self, host: Host) -> Clock:
        """What roles on a host are given: several workers keep the time of their database."""
        if self.plan.workers == 1:
            return host.clock
        kept = KeptClock(host.clock)
        kept.keep(self.clock.now_us(), self.clock.monotonic())
        return kept

    def open_store(self, host: Host) -> FaultyStore:
        """The database as a host sees it."""
        store = FaultyStore(
            self.database,
            host.clock,
            self.weather,
            shared=self.plan.workers > 1,
            committed=self._committed,
            announced=self._announced,
        )
        self._stores.append(store)
        return store

    # --- the run ---

    async def run(self) -> None:
        """From the beginning to the end, and the judgement."""
        calm = open_inline_store(self.office.clock, self.database)
        self.stage = await set_stage(calm, self.plan.trunks, self.office.clock.now_ms())
        users = Users(self)
        doing = [self.office.spawn(users.make(index, plan)) for index, plan in enumerate(self.plan.tasks)]
        doing += [self.office.spawn(users.do(deed)) for deed in self.plan.deeds]
        striking = [self.loop.create_task(self._strike(fault)) for fault in self.plan.faults]
        for slot in range(self.plan.workers):
            self._start(slot)
        await self.clock.sleep(self.plan.seconds)
        await self._done(striking + doing)
        await self._done([self.office.spawn(users.resume_all())])
        await self._come_to_rest()
        await self._done([self.loop.create_task(worker.stop()) for worker in self._workers if worker is not None])
        self._judge()

    async def _done(self, work: list[asyncio.Task[None]]) -> None:
        """Until all of it is done, and nothing in it broke."""
        done, late = await asyncio.wait(work, timeout=_REST_SECONDS) if work else ((), ())
        for task in done:
            task.result()
        if late:
            self.violated("nothing stalls", f"{len(late)} requests or restarts never return")

    async def _come_to_rest(self) -> None:
        bell = self.office_store.subscribe()
        longest = max((flow.spec.interval_minutes * flow.spec.rounds for flow in self.book.flows.values()), default=0)
        until = self.clock.monotonic() + longest * 60 + _REST_SECONDS
        while any(open_work(self.database)) and self.clock.monotonic() < until:
            await bell.wait(_LOOK_SECONDS)
        self.tell("everything has come to rest")

    def _judge(self) -> None:
        found = self.census()
        self._rounds = sum(node.task_id is not None for node in found.nodes)
        for promise, of_a_run in OF_A_RUN.items():
            for what in of_a_run(found, self.book):
                self.violated(promise, what)
        for flow in flows_of(found):
            for promise, of_a_flow in OF_A_FLOW.items():
                for what in of_a_flow(flow, self.book):
                    self.violated(promise, what)
        self._count()

    def result(self) -> RunResult:
        """What came of it."""
        return RunResult(
            seed=self.plan.seed,
            violations=list(self.violations.values()),
            calls=len(self.book.calls),
            rounds=self._rounds,
            tasks=len(self.book.made),
            seconds=self.clock.monotonic(),
            faults=dict(sorted(self.weather.injected.items())),
            story=list(self._story or ()),
        )

    # --- faults that strike hosts and trunks ---

    def _leave(self, slot: int, worker: Worker) -> bool:
        """The worker goes. Of several faults that strike it, only the first starts the next one: True for that one."""
        first = self._workers[slot] is worker
        if first:
            self._workers[slot] = None
        return first

    def _start(self, slot: int) -> None:
        host = self.new_host(f"worker {slot + 1}.{len(self._hosts)}")
        self.tell(f"{host.name} starts")
        for outage in self.book.outages.values():
            outage.starts += 1
        self._workers[slot] = start_worker(self, host)

    async def _strike(self, fault: Fault) -> None:
        await self.clock.sleep(fault.at)
        worker = self._workers[fault.slot]
        match fault.ill:
            case Ill.KILL if worker is not None:
                await self._kill(worker, fault)
            case Ill.FREEZE if worker is not None:
                await self._freeze(worker, fault)
            case Ill.RESTART if worker is not None:
                self._struck(fault, worker.host.name)
                self._leave(fault.slot, worker)
                await worker.stop()
                await self.clock.sleep(fault.size)
                self._start(fault.slot)
            case Ill.CLOCK_SET:
                self._set_clocks(round(fault.size * 1_000_000) * (1 if fault.steps % 2 else -1))
                self._struck(fault, f"by {fault.size:.3f} s")
            case Ill.TRUNK_DOWN:
                await self._trunk_down(fault)
            case Ill.NEWS_LOST:
                await self.clock.sleep(fault.seconds)
                for store in self._stores:
                    store.hear(*News)

    async def _kill(self, worker: Worker, fault: Fault) -> None:
        """After so many steps of the host, or, when it has nothing to do, after a while."""
        struck = asyncio.Event()
        first = False

        def kill() -> None:
            nonlocal first
            if not struck.is_set():
                struck.set()
                self._struck(fault, worker.host.name)
                self._disturb(worker, Ill.KILL)
                worker.kill()
                first = self._leave(fault.slot, worker)

        worker.host.after_steps(fault.steps, kill)
        timer = self.loop.call_later(fault.seconds, kill, context=elsewhere())
        await struck.wait()
        timer.cancel()
        await self.clock.sleep(max(_RESTART_SECONDS, fault.size))
        if first:
            self._start(fault.slot)

    async def _freeze(self, worker: Worker, fault: Fault) -> None:
        struck = asyncio.Event()

        def freeze() -> None:
            if not struck.is_set():
                struck.set()
                self._struck(fault, worker.host.name)
                worker.host.freeze()
                self._disturb(worker, Ill.FREEZE)

        worker.host.after_steps(fault.steps, freeze)
        self.loop.call_later(fault.seconds, freeze, context=elsewhere())
        await struck.wait()
        await self.clock.sleep(fault.seconds)
        self._disturb(worker, Ill.FREEZE)
        worker.host.thaw()
        self.tell(f"{worker.host.name} goes on")

    def _disturb(self, worker: Worker, ill: Ill) -> None:
        """The calls of this worker whose results are not stored yet may get other ones now."""
        for call in self.book.calls:
            if call.host == worker.host.name and state_of_call(self.database, call.call_id) != "ended":
                call.disturbed = call.disturbed or ill

    def _set_clocks(self, by_us: int) -> None:
        self._skews.append(self._skews[-1] + by_us)
        self.book.tolerance_us = max(self._skews) - min(self._skews)
        for host in self._hosts:
            host.clock.skew_us = self._skews[-1]

    async def _trunk_down(self, fault: Fault) -> None:
        name = self.plan.trunks[fault.trunk].name
        if name in self.carrier.outages:
            return
        self._struck(fault, f"{name}: {fault.outage.kind} {fault.outage.sip_code or ''}")
        self.carrier.outages[name] = fault.outage
        self.book.outages[name] = Outage(self.clock.now_us())
        await self.clock.sleep(fault.seconds)
        del self.carrier.outages[name], self.book.outages[name]
        self.tell(f"{name} is back")

    def _struck(self, fault: Fault, what: str) -> None:
        self.weather.injected[fault.ill] += 1
        self.tell(f"FAULT {fault.ill}: {what}")

    # --- what is told to it ---

    def _placed(self, call: PlacedCall) -> None:
        self.book.enter(call)
        self.tell(f"{call.host} calls {call.callee} through {call.trunk}: call {call.call_id} of task {call.task_id}")
        for promise, check in OF_A_CALL.items():
            what = check(call, self.book)
            if what is not None:
                self.violated(promise, f"{what} (call {call.call_id}, by {call.host})")

    def _committed(self) -> None:
        self._count()
        for name in fenced_workers(self.database):
            if name not in self._fenced:
                self._fenced.add(name)
                self.tell(f"{name} is taken for dead")
                self._taken_for_dead(name)

    def _taken_for_dead(self, host: str) -> None:
        """Its calls are settled now. Where the engine cannot be asked, those that are up go on, and nobody knows."""
        for call in self.book.calls:
            if call.host == host and state_of_call(self.database, call.call_id) != "ended":
                call.disturbed = call.disturbed or "fenced"
                call.unknown = not self.plan.can_be_asked

    def _count(self) -> None:
        for what in miscounted(self.database):
            self.violated(COUNTERS, what)

    def _announced(self, by: FaultyStore, news: tuple[News, ...]) -> None:
        for store in self._stores:
            if store is not by and not self.weather.strike(Ill.NEWS_LOST):
                self.loop.call_later(_NEWS_SECONDS, store.hear, *news, context=elsewhere())
