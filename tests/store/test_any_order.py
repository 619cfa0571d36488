"""Everything that can happen to a store, in any order, against the rules written a second time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import tempfile
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ringback.model.audience import RecallType
from ringback.model.outcome import Outcome
from ringback.model.task import NewCall
from ringback.store import routes, templates
from ringback.store.flows import CancelBy, FlowWrongState
from ringback.store.opening import open_store
from ringback.store.tasks import TaskWrongState
from tests.store.expected import Call, Expected, Flow, Node, Task
from tests.store.rig import Rig, SetClock, recall

T = TypeVar("T")

CHANNELS = 6
ZONES = ("Europe/Berlin", "Asia/Tokyo", "")
#: Numbers begin with 490000000, and the next digit is 0 to 3. There is always a route for all.
PREFIXES = ("4", "490000000", "4900000001", "44")

indexes = st.integers(0, 30)
ends = st.tuples(
    st.sampled_from([Outcome.ANSWERED, Outcome.VOICEMAIL, Outcome.BUSY, Outcome.NO_ANSWER, Outcome.UNKNOWN]),
    st.sampled_from([None, "101", "102"]),
)
kinds = st.sampled_from(list(RecallType))
intent_lists = st.sampled_from([(), ("101",), ("101", "102")])


class AnyOrder(RuleBasedStateMachine):
    """One account and one trunk that is never short of rate; two workers, of which one may be a stranger to a call."""

    url = "sqlite://"

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.expected = Expected(CHANNELS)
        self.clock = SetClock()
        self.folder = tempfile.TemporaryDirectory()
        self.rig: Rig | None = None
        self.workers: list[int] = []
        self.templates: list[int] = []

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    @property
    def store(self) -> Rig:
        assert self.rig is not None
        return self.rig

    def teardown(self) -> None:
        if self.rig is not None:
            self.run(self.rig.store.close())
        self.runner.close()
        self.folder.cleanup()

    @initialize()
    def open(self) -> None:
        store = self.run(open_store(self.url.format(folder=self.folder.name), self.clock))
        self.rig = Rig(store, self.clock)
        self.run(self.rig.furnish(channels=CHANNELS, rate=1000.0))
        self.run(self._change_route("", add=True))
        self.workers = [self.rig.worker, self.run(self.rig.new_worker())]
        self.templates = [self.rig.template, self.run(self.rig.new_template())]

    @rule(
        zones=st.lists(st.sampled_from(ZONES), min_size=1, max_size=4),
        lines=st.sampled_from([None, None, 1, 2]),
        later=st.sampled_from([None, None, 5_000]),
        rounds=st.integers(0, 3),
        kind=kinds,
        intents=intent_lists,
        which=st.integers(0, 1),
    )
    def make_a_task(
        self,
        *,
        zones: list[str],
        lines: int | None,
        later: int | None,
        rounds: int,
        kind: RecallType,
        intents: tuple[str, ...],
        which: int,
    ) -> None:
        numbers = [NewCall(f"49{number:08}", zone, None) for number, zone in enumerate(zones)]
        spec = recall(kind, rounds=rounds, intents=intents) if rounds else None
        template = self.templates[which % len(self.templates)]
        task_id = self.run(
            self.store.new_task(numbers, send_in_ms=later, flow=spec, started=False, template=template, lines=lines)
        )
        calls = [
            Call(call_id, new.callee, new.zone) for call_id, new in zip(self._call_ids(task_id), numbers, strict=True)
        ]
        task = Task(task_id, template, lines, calls, self.clock.ms + (later or 0))
        self.expected.tasks[task_id] = task
        if spec is not None:
            flow = self.run(self.store.flow_of(task_id))
            nodes = [Node(node.id, node.template_id) for node in flow.nodes]
            assert [node.template for node in nodes] == [template] * rounds
            task.flow = Flow(flow.id, int(kind), intents, spec.interval_minutes, nodes)

    @rule()
    def submit(self) -> None:
        assert set(self.run(self.store.submit())) == self.expected.submit(self.clock.ms)

    @precondition(lambda self: self.expected.tasks)
    @rule(free_lines=st.integers(0, 8), which=indexes)
    def lease(self, free_lines: int, which: int) -> None:
        self.clock.advance(200)
        worker = self._pick(self.workers, which)
        expected = self.expected.may_lease(free_lines)
        batch = self.run(self.store.lease_batch(worker=worker, free_lines=free_lines))
        assert len(batch.leases) == expected
        calls = {one.id: one for one in self.expected.all_calls()}
        for lease in sorted(batch.leases, key=lambda lease: lease.call_id):
            call = calls[lease.call_id]
            assert lease.callee == call.callee
            self.expected.lease(call, worker)
        given = {lease.task_id for lease in batch.leases}
        for task in self.expected.tasks.values():
            if task.state == "calling" and task.counters()["queued"] and task.id not in given:
                assert batch.waiting[task.id]

    @precondition(lambda self: self.expected.all_calls())
    @rule(which=indexes, who=indexes)
    def answer(self, which: int, who: int) -> None:
        call, worker = self._call(which), self._pick(self.workers, who)
        self.run(self.store.answer(call.id, worker=worker))
        self.expected.answer(call, worker)

    @precondition(lambda self: self.expected.all_calls())
    @rule(which=st.lists(indexes, min_size=1, max_size=3, unique=True), who=indexes, how=ends)
    def end(self, which: list[int], who: int, how: tuple[Outcome, str | None]) -> None:
        calls = list({one.id: one for one in map(self._call, which)}.values())
        worker = self._pick(self.workers, who)
        finished = self.run(self.store.end(*(one.id for one in calls), outcome=how[0], intent=how[1], worker=worker))
        expected = [self.expected.end(one, worker, str(how[0]), how[1], self.clock.ms) for one in calls]
        assert sorted(finished) == sorted(task_id for task_id in expected if task_id is not None)

    @precondition(lambda self: self.expected.busy())
    @rule(how=ends)
    def end_all_that_is_in_the_air(self, how: tuple[Outcome, str | None]) -> None:
        for worker in self.workers:
            for call in [one for one in self.expected.all_calls() if one.on_the_line and one.worker == worker]:
                self.run(self.store.end(call.id, outcome=how[0], intent=how[1], worker=worker))
                self.expected.end(call, worker, str(how[0]), how[1], self.clock.ms)

    @precondition(lambda self: self.expected.tasks)
    @rule(hows=st.lists(ends, min_size=1, max_size=4))
    def dial_all_that_may_be_dialled(self, hows: list[tuple[Outcome, str | None]]) -> None:
        """Many small steps at once, or the later rounds of a flow would hardly ever be reached."""
        self.submit()
        every = itertools.cycle(hows)
        while self.expected.may_lease(8):
            self.lease(8, 0)
            self.end_all_that_is_in_the_air(next(every))

    @precondition(lambda self: self.expected.all_calls())
    @rule(which=st.lists(indexes, min_size=1, max_size=3), who=indexes)
    def give_back(self, which: list[int], who: int) -> None:
        calls, worker = [self._call(number) for number in which], self._pick(self.workers, who)
        self.run(self.store.release(*(one.id for one in calls), worker=worker))
        for call in calls:
            self.expected.release(call, worker)

    @precondition(lambda self: self.expected.tasks)
    @rule(which=indexes, change=st.sampled_from(["suspend", "resume", "resume", "cancel"]))
    def stop_or_go_on(self, which: int, change: str) -> None:
        task = self._pick(list(self.expected.tasks.values()), which)
        match change:
            case "suspend":
                expected = self.expected.suspend(task)
            case "resume":
                expected = self.expected.resume(task, self.clock.ms)
            case _:
                expected = self.expected.cancel_task(task)
        assert self._done(getattr(self.store, change)(task.id), TaskWrongState) == expected

    @precondition(lambda self: self.expected.all_nodes())
    @rule(which=indexes)
    def start_a_node(self, which: int) -> None:
        flow, position = self._node(which)
        self._start(flow, position)

    @precondition(lambda self: any(node.due_at and node.state == "pending" for node in self.expected.all_nodes()))
    @rule(early=st.sampled_from([0, 0, 1]))
    def start_the_next_node_when_it_is_due(self, early: int) -> None:
        """Or one millisecond before, when it must not start."""
        due = [
            (node.due_at, flow, position)
            for flow in self.expected.flows()
            for position, node in enumerate(flow.nodes)
            if node.due_at is not None and node.state == "pending"
        ]
        at, flow, position = min(due, key=lambda one: one[0])
        self.clock.us = max(self.clock.us, (at - early) * 1000)
        self._start(flow, position)
        self.submit()

    def _start(self, flow: Flow, position: int) -> None:
        node = flow.nodes[position]
        may = self.expected.node_may_start(node, self.clock.ms)
        assert (node.id in self.run(self.store.due_nodes())) == may
        task_id = self.run(self.store.start_node(node.id))
        if may:
            call_ids = [] if task_id is None else self._call_ids(task_id)
            self.expected.start_node(flow, position, self.clock.ms, task_id, call_ids)
        else:
            assert task_id is None

    @precondition(lambda self: self.expected.flows())
    @rule(
        which=indexes,
        kind=kinds,
        intents=intent_lists,
        interval=st.integers(1, 20),
        rounds=st.integers(1, 4),
        asked=st.lists(st.integers(0, 1), max_size=3),
    )
    def edit_a_flow(
        self,
        *,
        which: int,
        kind: RecallType,
        intents: tuple[str, ...],
        interval: int,
        rounds: int,
        asked: list[int],
    ) -> None:
        flow = self._pick(self.expected.flows(), which)
        chosen = [self.templates[number % len(self.templates)] for number in asked[:rounds]]
        spec = recall(kind, rounds=rounds, interval=interval, intents=intents, template_ids=chosen)
        edited = self._done(self.store.edit(flow.id, spec), FlowWrongState)
        assert edited == (flow.state == "pending")
        if edited:
            parent = self.expected.parent_of(flow)
            repeated = chosen or [parent.template]
            every = [repeated[min(number, len(repeated) - 1)] for number in range(rounds)]
            known = {node.id for node in self.expected.all_nodes()}
            new = self.expected.edit(flow, int(kind), intents, interval, every)
            stored = self.run(self.store.flow(flow.id)).nodes
            for position in new:
                flow.nodes[position].id = stored[position].id
                assert stored[position].id not in known

    @precondition(lambda self: self.expected.flows())
    @rule(which=indexes, by=st.sampled_from([CancelBy.FLOW, CancelBy.PARENT_TASK]))
    def cancel_a_flow(self, which: int, by: CancelBy) -> None:
        flow = self._pick(self.expected.flows(), which)
        key = flow.id if by is CancelBy.FLOW else self.expected.parent_of(flow).id
        assert self._done(self.store.cancel_flow(by, key), FlowWrongState) == self.expected.cancel_flow(flow)

    @precondition(lambda self: self.expected.all_nodes())
    @rule(which=indexes)
    def cancel_from_a_node(self, which: int) -> None:
        flow, position = self._node(which)
        cancelled = self._done(self.store.cancel_flow(CancelBy.NODE_ONWARD, flow.nodes[position].id), FlowWrongState)
        assert cancelled == self.expected.cancel_from(flow, position)

    @rule(seconds=st.sampled_from([1, 60, 299, 3600]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds * 1000)

    @rule(prefix=st.sampled_from(PREFIXES))
    def a_route_comes_or_goes(self, prefix: str) -> None:
        add = prefix not in self.expected.prefixes
        self.run(self._change_route(prefix, add=add))
        self.expected.prefixes ^= {prefix}

    async def _change_route(self, prefix: str, *, add: bool) -> None:
        async with self.store.store.write() as tx:
            if add:
                await routes.add(tx, account_id=None, prefix=prefix, trunk_id=self.store.trunk, priority=0, weight=1)
            else:
                assert await routes.remove(tx, account_id=None, prefix=prefix, trunk_id=self.store.trunk)

    @precondition(lambda self: not self.expected.retired and len(self.expected.tasks) > 2)
    @rule()
    def retire_a_template(self) -> None:
        async def retire() -> bool:
            async with self.store.store.write() as tx:
                return await templates.retire(tx, self.templates[1], self.clock.ms)

        assert self.run(retire())
        self.expected.retired.add(self.templates[1])

    @precondition(lambda self: self.expected.busy())
    @rule(which=indexes)
    def a_worker_dies_and_a_new_one_settles_its_calls(self, which: int) -> None:
        dead = self._pick(self.workers, which)
        new = self.run(self.store.new_worker())
        self.workers[self.workers.index(dead)] = new
        for call in [one for one in self.expected.all_calls() if one.on_the_line and one.worker == dead]:
            # The new one cannot pass for the old one.
            self.run(self.store.release(call.id, worker=new))
            self.run(self.store.end(call.id, worker=new))
            self.run(self.store.end(call.id, worker=dead, outcome=Outcome.UNKNOWN))
            self.expected.end(call, dead, "unknown", None, self.clock.ms)

    @invariant()
    def the_store_holds_what_it_should(self) -> None:
        if self.rig is not None:
            self.run(self._compare())

    async def _compare(self) -> None:
        expected, rows = self.expected, self.store.rows
        calls = {
            one.id: (task.id, one.callee, one.state, one.worker, one.outcome, one.intent)
            for task in expected.tasks.values()
            for one in task.calls
        }
        stored = await rows("SELECT id, task_id, callee, state, worker_id, outcome, intent FROM call")
        assert {row.id: tuple(row[1:]) for row in stored} == calls
        assert all(one.dialled <= 1 for one in expected.all_calls())
        assert len({row[:2] for row in calls.values()}) == len(calls)

        tasks = {
            task.id: {
                "state": task.state,
                "template_id": task.template,
                "finished_at": task.finished_at,
                "total": len(task.calls),
                **task.counters(),
            }
            for task in expected.tasks.values()
        }
        assert {
            row.id: {name: getattr(row, name) for name in tasks[row.id]} for row in await rows("SELECT * FROM task")
        } == tasks

        # A task that failed on submission keeps its numbers queued and never dials: its lanes follow no route.
        alive = [task for task in expected.tasks.values() if task.state != "submission_failed"]
        lanes = Counter(
            (task.id, *expected.lane_of(one)) for task in alive for one in task.calls if one.state == "queued"
        )
        stored = await rows("SELECT task_id, zone, route_prefix, queued, cursor FROM lane")
        by_lane = {(row.task_id, row.zone, row.route_prefix): row for row in stored}
        ids = {task.id for task in alive}
        assert {key: row.queued for key, row in by_lane.items() if row.queued and row.task_id in ids} == dict(lanes)
        for task in alive:
            for one in task.calls:
                if one.state == "queued":
                    assert by_lane[task.id, *expected.lane_of(one)].cursor < one.id

        assert [row.busy for row in await rows("SELECT busy FROM trunk")] == [expected.busy()]

        flows = {flow.id: (flow.state, len(flow.nodes), flow.interval) for flow in expected.flows()}
        stored = await rows("SELECT id, state, rounds, interval_minutes FROM flow")
        assert {row.id: tuple(row[1:]) for row in stored} == flows
        nodes = {
            node.id: (flow.id, position, node.state, node.template, node.task)
            for flow in expected.flows()
            for position, node in enumerate(flow.nodes, start=1)
        }
        stored = await rows("SELECT id, flow_id, position, state, template_id, task_id, due_at FROM node")
        assert {row.id: tuple(row)[1:6] for row in stored} == nodes
        due = {node.id: node.due_at for node in expected.all_nodes() if node.state == "pending"}
        assert {row.id: row.due_at for row in stored if row.state == "pending"} == due
        for flow in expected.flows():
            states = [node.state for node in flow.nodes]
            assert states.count("in_progress") <= 1
            # A flow that is over has nothing left that could run, and one that is not has.
            assert (flow.state in ("pending", "in_progress")) == bool({"pending", "in_progress"} & set(states))

    def _call_ids(self, task_id: int) -> list[int]:
        return [
            row.id for row in self.run(self.store.rows("SELECT id FROM call WHERE task_id = :t ORDER BY id", t=task_id))
        ]

    def _call(self, which: int) -> Call:
        # Rather one that is in the air than one that is over.
        calls = sorted(self.expected.all_calls(), key=lambda one: (not one.on_the_line, one.id))
        return self._pick(calls, which)

    def _node(self, which: int) -> tuple[Flow, int]:
        return self._pick(
            [(flow, position) for flow in self.expected.flows() for position in range(len(flow.nodes))], which
        )

    def _done(self, coroutine: Coroutine[Any, Any, Any], refusal: type[Exception]) -> bool:
        """Whether it was done; refused, it must have changed nothing, which the comparison sees."""
        with contextlib.suppress(refusal):
            self.run(coroutine)
            return True
        return False

    @staticmethod
    def _pick(choices: Sequence[T], which: int) -> T:
        return choices[which % len(choices)]


class AnyOrderInAFile(AnyOrder):
    """The same on a file."""

    url = "sqlite:///{folder}/ringback.db"


@pytest.mark.parametrize(
    ("machine", "examples"), [(AnyOrder, 12), (AnyOrderInAFile, 4)], ids=["sqlite-memory", "sqlite-file"]
)
def test_the_store_does_what_the_rules_say(machine: type[AnyOrder], examples: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            deadline=None,
            max_examples=examples,
            stateful_step_count=40,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        ),
    )
