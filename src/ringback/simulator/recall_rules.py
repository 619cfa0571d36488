"""The recall rules (section 2 of the design), checked on every flow when everything has come to rest."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from ringback.model.audience import RecallType, audience_of
from ringback.model.outcome import Outcome
from ringback.store.census import CallRow, FlowRow, NodeRow, TaskRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ringback.simulator.book import Book
    from ringback.store.census import Census

_MINUTE_MS = 60_000


class Flow(msgspec.Struct, frozen=True):
    """A flow with all that belongs to it. ``before`` is the task that each node chooses from, as far as there is one;
    ``calls`` are by task.
    """

    row: FlowRow
    nodes: list[NodeRow]
    parent: TaskRow
    tasks: dict[int, TaskRow]
    calls: dict[int, list[CallRow]]

    def before(self, node: NodeRow) -> TaskRow | None:
        """The task that the node chooses from: that of the node before it, or the parent."""
        if node.position == 1:
            return self.parent
        previous = next((one for one in self.nodes if one.position == node.position - 1), None)
        return None if previous is None or previous.task_id is None else self.tasks[previous.task_id]

    def wanted(self, node: NodeRow) -> set[str] | None:
        """Who must be recalled by the node, by the rules of the model; ``None`` when nobody can be."""
        before = self.before(node)
        if before is None:
            return None
        audience = audience_of(RecallType(self.row.recall_type), self.row.intents)
        return {
            call.callee
            for call in self.calls.get(before.id, [])
            if call.outcome is not None and audience.includes(Outcome(call.outcome), call.intent)
        }


def never_early(flow: Flow, book: Book) -> Iterator[str]:
    """A node starts no sooner than its interval after the previous task finished: its last call ended and was stored.

    By the store's instants, and by those of the carrier.
    """
    wait_ms = flow.row.interval_minutes * _MINUTE_MS
    slack_ms = book.tolerance_us / 1000 + 1
    for node in flow.nodes:
        before = flow.before(node)
        if node.task_id is None or before is None:
            continue
        if before.finished_at is None or node.started_at is None:
            yield f"node {node.id} has started, and the task before it has not finished"
            continue
        if node.started_at + slack_ms < before.finished_at + wait_ms:
            yield f"node {node.id} started {before.finished_at + wait_ms - node.started_at} ms early"
        ends = [call.ended_us for call in book.calls if call.task_id == before.id]
        starts = [call.at_us for call in book.calls if call.task_id == node.task_id]
        if None in ends:
            yield f"task {before.id} has finished, and a call of it is still up"
        last_us = max((end for end in ends if end is not None), default=0)
        if starts and min(starts) / 1000 + slack_ms < last_us / 1000 + wait_ms:
            yield f"node {node.id} dialled {last_us / 1000 + wait_ms - min(starts) / 1000:.0f} ms early"


def right_audience(flow: Flow, _book: Book) -> Iterator[str]:
    """A round dials exactly those of the previous task whom the flow wants, and nobody when nobody is left."""
    for node in flow.nodes:
        wanted = flow.wanted(node)
        if node.task_id is not None:
            dialled = {call.callee for call in flow.calls.get(node.task_id, [])}
            if dialled != wanted:
                yield f"node {node.id} has {sorted(dialled)} and should have {sorted(wanted or ())}"
            elif node.qualified != len(dialled):
                yield f"node {node.id} says that {node.qualified} qualified, and {len(dialled)} did"
        elif node.state == "completed" and wanted:
            yield f"node {node.id} is completed without a task, and {sorted(wanted)} should be recalled"


def right_nodes(flow: Flow, book: Book) -> Iterator[str]:
    """There are exactly as many nodes as rounds were asked for, in order, and each kept its key."""
    made = book.flows.get(flow.row.id)
    if made is None:
        return
    yield from made.moved
    positions = [node.position for node in flow.nodes]
    if positions != list(range(1, flow.row.rounds + 1)):
        yield f"flow {flow.row.id} has {flow.row.rounds} rounds and nodes at {positions}"
    spec = made.spec
    stored = (flow.row.recall_type, flow.row.intents, flow.row.interval_minutes, flow.row.rounds)
    if not made.in_doubt and stored != (int(spec.recall_type), spec.intents, spec.interval_minutes, spec.rounds):
        yield f"flow {flow.row.id} is not what was asked for: {stored}"
    for node in flow.nodes:
        if node.id in made.cancelled and (node.task_id is not None or node.state != "cancelled"):
            yield f"node {node.id} was cancelled, and is {node.state} with task {node.task_id}"


def right_tasks(flow: Flow, _book: Book) -> Iterator[str]:
    """The task of a round is named after its parent and inherits its limits; its template is the node's."""
    for node in flow.nodes:
        if node.task_id is None:
            continue
        task = flow.tasks[node.task_id]
        if not task.name.startswith(f"{flow.parent.name}-recall-{node.position}"):
            yield f"task {task.id} of node {node.id} is named {task.name!r}"
        if task.decoded_limits != flow.parent.decoded_limits:
            yield f"task {task.id} of node {node.id} has other limits than its parent"
        if task.template_id != node.template_id:
            yield f"task {task.id} of node {node.id} has another template than the node"


def right_end(flow: Flow, _book: Book) -> Iterator[str]:
    """A flow ends as its nodes do: rules 2, 7, 8 and 9."""
    states = [node.state for node in flow.nodes]
    ran = any(node.state == "completed" for node in flow.nodes)
    state = flow.row.state
    if flow.parent.state == "cancelled" and state != "cancelled":
        yield f"flow {flow.row.id} is {state}, and its parent is cancelled"
    if flow.parent.state == "submission_failed" and state not in ("exception", "cancelled"):
        yield f"flow {flow.row.id} is {state}, and its parent failed on submission"
    if state == "cancelled" and (ran or "cancelled" not in states):
        yield f"flow {flow.row.id} is cancelled, and its nodes are {states}"
    if state == "completed" and not ran:
        yield f"flow {flow.row.id} is completed, and its nodes are {states}"
    if state == "exception" and "exception" not in states:
        yield f"flow {flow.row.id} is in exception, and its nodes are {states}"
    if state in ("completed", "cancelled", "exception") and {"pending", "in_progress"} & set(states):
        yield f"flow {flow.row.id} is {state}, and its nodes are {states}"
    # Whatever ended a round before its time ends all later ones that nobody had cancelled yet.
    for earlier, later in pairwise(states):
        if earlier in ("cancelled", "exception") and later not in ("cancelled", earlier):
            yield f"flow {flow.row.id} has nodes that are {states}"


#: All of them, by the name in the report.
OF_A_FLOW: dict[str, Callable[[Flow, Book], Iterator[str]]] = {
    "recall: never early": never_early,
    "recall: right audience": right_audience,
    "recall: right nodes": right_nodes,
    "recall: right tasks": right_tasks,
    "recall: right end": right_end,
}


def flows_of(census: Census) -> Iterator[Flow]:
    """Every flow of a census."""
    tasks = {task.id: task for task in census.tasks}
    calls: dict[int, list[CallRow]] = {}
    for call in census.calls:
        calls.setdefault(call.task_id, []).append(call)
    for row in census.flows:
        nodes = sorted((node for node in census.nodes if node.flow_id == row.id), key=lambda node: node.position)
        yield Flow(row, nodes, tasks[row.parent_task_id], tasks, calls)
