"""The rules a second time, in plain Python: what the store should hold after every step. Nothing here asks the store.

Written from the design's recall rules and state machines, not from the store's statements; the state machine test
compares the two after each step.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

MINUTE_MS = 60_000
ANSWERED = ("answered", "voicemail")


@dataclass
class Call:
    """One number of a task."""

    id: int
    callee: str
    zone: str
    state: str = "queued"
    worker: int | None = None
    outcome: str | None = None
    intent: str | None = None
    #: Leases that were not given back: dialled so many times.
    dialled: int = 0

    @property
    def on_the_line(self) -> bool:
        return self.state in ("dialling", "in_progress")


@dataclass
class Node:
    """One round of a flow."""

    id: int
    template: int
    state: str = "pending"
    due_at: int | None = None
    task: int | None = None


@dataclass
class Flow:
    """A recall flow; ``kind`` and ``intents`` say who is recalled."""

    id: int
    kind: int
    intents: tuple[str, ...]
    interval: int
    nodes: list[Node]
    state: str = "pending"


@dataclass
class Task:
    """A task with its numbers, the flow that hangs on it, and the flow and position that it is a round of."""

    id: int
    template: int
    lines: int | None
    calls: list[Call]
    send_at: int
    flow: Flow | None = None
    round_of: tuple[Flow, int] | None = None
    state: str = "waiting"
    finished_at: int | None = None

    def counters(self) -> dict[str, int]:
        found = Counter(
            "active"
            if one.on_the_line
            else ("answered" if one.outcome in ANSWERED else "failed")
            if one.state == "ended"
            else one.state
            for one in self.calls
        )
        return {name: found[name] for name in ("queued", "active", "answered", "failed", "skipped", "cancelled")}


@dataclass
class Expected:
    """Everything that the store should hold."""

    channels: int
    tasks: dict[int, Task] = field(default_factory=dict)
    retired: set[int] = field(default_factory=set)
    #: The prefixes of the routes, which all go through the one trunk.
    prefixes: set[str] = field(default_factory=lambda: {""})

    def prefix_of(self, call: Call) -> str:
        return max((one for one in self.prefixes if call.callee.startswith(one)), key=len)

    def lane_of(self, call: Call) -> tuple[str, str]:
        return call.zone, self.prefix_of(call)

    def all_calls(self) -> list[Call]:
        return [one for task in self.tasks.values() for one in task.calls]

    def all_nodes(self) -> list[Node]:
        return [node for flow in self.flows() for node in flow.nodes]

    def flows(self) -> list[Flow]:
        return [task.flow for task in self.tasks.values() if task.flow is not None]

    def busy(self) -> int:
        return sum(one.on_the_line for one in self.all_calls())

    def task_of(self, call: Call) -> Task:
        return next(task for task in self.tasks.values() if call in task.calls)

    def parent_of(self, flow: Flow) -> Task:
        return next(task for task in self.tasks.values() if task.flow is flow)

    def submit(self, now: int) -> set[int]:
        due = [task for task in self.tasks.values() if task.state == "waiting" and task.send_at <= now]
        for task in due:
            if task.template in self.retired:
                task.state = "submission_failed"
                self._refused(task)
            else:
                task.state = "calling"
        return {task.id for task in due}

    def may_lease(self, free_lines: int) -> int:
        """How many calls a lease gives when the rate is no matter."""
        wanted = 0
        for task in self.tasks.values():
            if task.state == "calling":
                counters = task.counters()
                room = counters["queued"] if task.lines is None else max(0, task.lines - counters["active"])
                wanted += min(counters["queued"], room)
        return min(wanted, free_lines, self.channels - self.busy())

    def lease(self, call: Call, worker: int) -> None:
        task = self.task_of(call)
        assert task.state == "calling"
        assert call.state == "queued"
        # The first of its lane goes first.
        lane = self.lane_of(call)
        assert call is next(one for one in task.calls if self.lane_of(one) == lane and one.state == "queued")
        call.state, call.worker = "dialling", worker
        call.dialled += 1
        assert task.lines is None or task.counters()["active"] <= task.lines
        assert self.busy() <= self.channels

    def answer(self, call: Call, worker: int) -> None:
        if call.worker == worker and call.state == "dialling":
            call.state = "in_progress"

    def end(self, call: Call, worker: int, outcome: str, intent: str | None, now: int) -> int | None:
        """Returns the task that this finished."""
        if not (call.worker == worker and call.on_the_line):
            return None
        call.state, call.outcome, call.intent = "ended", outcome, intent
        task = self.task_of(call)
        self._finish_if_done(task, now)
        return task.id if task.state == "finished" else None

    def resume(self, task: Task, now: int) -> bool:
        if task.state != "suspended":
            return False
        task.state = "calling"
        # Its last calls may have ended meanwhile: its end was held back by the pause.
        self._finish_if_done(task, now)
        return True

    def suspend(self, task: Task) -> bool:
        if task.state != "calling":
            return False
        task.state = "suspended"
        return True

    def release(self, call: Call, worker: int) -> None:
        if call.worker == worker and call.state == "dialling":
            call.worker = None
            call.dialled -= 1
            call.state = "cancelled" if self.task_of(call).state == "cancelled" else "queued"

    def cancel_task(self, task: Task) -> bool:
        if task.state not in ("waiting", "calling", "suspended"):
            return False
        task.state = "cancelled"
        for call in task.calls:
            if call.state == "queued":
                call.state = "cancelled"
        if task.flow is not None and task.flow.state == "pending":
            task.flow.state = "cancelled"
            self._close(task.flow, 0, "cancelled")
        elif task.round_of is not None:
            flow, position = task.round_of
            if flow.nodes[position].state == "in_progress":
                flow.nodes[position].state = "cancelled"
                self._close(flow, position, "cancelled")
                self._end_after_cancel(flow)
        return True

    def audience(self, flow: Flow, position: int) -> list[Call]:
        """Whom the round at ``position`` (from 0) recalls, by the recall rules 4 and 5."""
        previous = self.parent_of(flow).id if position == 0 else flow.nodes[position - 1].task
        assert previous is not None
        chosen = []
        for call in self.tasks[previous].calls:
            answered = call.outcome in ANSWERED
            failed = call.outcome is not None and not answered
            with_intent = answered and call.intent in flow.intents
            if call.outcome is None:
                continue
            if flow.kind == 0 and (with_intent or not flow.intents):
                chosen.append(call)
            if flow.kind == 1 and (failed or with_intent):
                chosen.append(call)
        return chosen

    def node_may_start(self, node: Node, now: int) -> bool:
        return node.state == "pending" and node.due_at is not None and node.due_at <= now

    def start_node(self, flow: Flow, position: int, now: int, task_id: int | None, call_ids: list[int]) -> None:
        """The node starts; the store says which ids the new task and its calls have got."""
        node = flow.nodes[position]
        chosen = self.audience(flow, position)
        if not chosen:
            assert task_id is None
            self._close(flow, position, "completed")
            flow.state = "completed"
            return
        assert task_id is not None
        calls = [Call(call_id, old.callee, old.zone) for call_id, old in zip(call_ids, chosen, strict=True)]
        parent = self.parent_of(flow)
        self.tasks[task_id] = Task(task_id, node.template, parent.lines, calls, now, round_of=(flow, position))
        node.state, node.task = "in_progress", task_id
        flow.state = "in_progress"

    def edit(self, flow: Flow, kind: int, intents: tuple[str, ...], interval: int, templates: list[int]) -> list[int]:
        """Returns the positions that need a new node; the caller fills in the ids that the store gave them."""
        flow.kind, flow.intents, flow.interval = kind, intents, interval
        kept = [node for node in flow.nodes if node.state == "pending"][: len(templates)]
        flow.nodes = kept + [Node(0, 0) for _ in templates[len(kept) :]]
        for node, template in zip(flow.nodes, templates, strict=True):
            node.template = template
        finished = self.parent_of(flow).finished_at
        if finished is not None:
            flow.nodes[0].due_at = finished + interval * MINUTE_MS
        return list(range(len(kept), len(templates)))

    def cancel_flow(self, flow: Flow) -> bool:
        if flow.state != "pending":
            return False
        flow.state = "cancelled"
        self._close(flow, 0, "cancelled")
        return True

    def cancel_from(self, flow: Flow, position: int) -> bool:
        if flow.nodes[position].state != "pending":
            return False
        self._close(flow, position, "cancelled")
        self._end_after_cancel(flow)
        return True

    def _finish_if_done(self, task: Task, now: int) -> None:
        counters = task.counters()
        if task.state != "calling" or counters["queued"] or counters["active"]:
            return
        task.state, task.finished_at = "finished", now
        if task.round_of is not None:
            flow, position = task.round_of
            flow.nodes[position].state = "completed"
            following = flow.nodes[position + 1 : position + 2]
            if following and following[0].state == "pending":
                following[0].due_at = now + flow.interval * MINUTE_MS
            else:
                flow.state = "completed"
        elif task.flow is not None and task.flow.state == "pending":
            task.flow.nodes[0].due_at = now + task.flow.interval * MINUTE_MS

    def _refused(self, task: Task) -> None:
        if task.flow is not None and task.flow.state == "pending":
            task.flow.state = "exception"
            self._close(task.flow, 0, "exception")
        elif task.round_of is not None:
            flow, position = task.round_of
            flow.nodes[position].state = "exception"
            self._close(flow, position, "exception")
            flow.state = "exception"

    def _close(self, flow: Flow, position: int, state: str) -> None:
        for node in flow.nodes[position:]:
            if node.state == "pending":
                node.state, node.due_at = state, None

    def _end_after_cancel(self, flow: Flow) -> None:
        states = {node.state for node in flow.nodes}
        if not states & {"pending", "in_progress"}:
            flow.state = "completed" if "completed" in states else "cancelled"
