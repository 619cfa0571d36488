"""Books and censuses by hand: small ones, to be broken in one place."""

from __future__ import annotations

from typing import Any

from ringback.model.audience import RecallType
from ringback.model.flow import FlowSpec
from ringback.model.sandbox_numbers import behaviour
from ringback.model.task import Limits
from ringback.simulator.book import Book, MadeFlow, MadeTask
from ringback.simulator.carrier import PlacedCall
from ringback.simulator.plan import TaskPlan, TrunkPlan
from ringback.store.census import CallRow, Census, FlowRow, NodeRow, TaskRow

#: 2026-01-05 08:00:00 UTC, nine o'clock in Berlin.
START_US = 1_767_600_000_000_000
START_MS = START_US // 1000
SECOND_US = 1_000_000
MINUTE_MS = 60_000
BUSY, PERSON = "493000060", "493000000"
LIMITS = '{"ring_seconds":60,"call_seconds":300,"lines":null,"windows":[],"record":false,"callout_rate":1}'


def book(numbers: tuple[str, ...] = (BUSY, PERSON), *, flow: FlowSpec | None = None, **limits: Any) -> Book:
    """A book with task 1 in it; every call is *dialling* in its store."""
    trunk = TrunkPlan(name="t1", rate=2.0, channels=2, priority=1, weight=1)
    made = Book((trunk,), state_of=lambda _call_id: "dialling", root_of=lambda _task_id: 1)
    plan = TaskPlan(
        name="task", at=0.0, send_in=None, numbers=numbers, limits=Limits(**limits), template="asking", flow=flow
    )
    made.made[1] = MadeTask(1, plan, 1)
    if flow is not None:
        made.flows[1] = MadeFlow(1, flow)
    return made


def place(in_book: Book, callee: str = PERSON, *, after_us: int = 0, task_id: int = 1, **known: Any) -> PlacedCall:
    """A call to that number, entered."""
    number = len(in_book.calls)
    call = PlacedCall(
        number=number,
        call_id=number + 1,
        task_id=task_id,
        callee=callee,
        host="worker",
        trunk="t1",
        at_us=START_US + after_us,
        behaviour=behaviour(callee, 0),
        **known,
    )
    in_book.enter(call)
    return call


def task_row(**changed: Any) -> TaskRow:
    """Task 1, which has dialled two numbers and finished; or another one."""
    values: dict[str, Any] = {
        "id": 1,
        "name": "task",
        "template_id": 1,
        "state": "finished",
        "reason": "",
        "limits": LIMITS,
        "send_at": START_MS,
        "total": 2,
        "queued": 0,
        "active": 0,
        "answered": 1,
        "failed": 1,
        "skipped": 0,
        "cancelled": 0,
        "started_at": START_MS,
        "finished_at": START_MS + 10_000,
    }
    return TaskRow(**values | changed)


def call_row(number: int, callee: str, outcome: str | None, **changed: Any) -> CallRow:
    """A call that has ended."""
    values: dict[str, Any] = {
        "id": number,
        "task_id": 1,
        "callee": callee,
        "zone": "Europe/Berlin",
        "state": "ended",
        "worker_id": 1,
        "trunk_id": 1,
        "started_at": START_MS,
        "answered_at": None,
        "ended_at": START_MS + 9_000,
        "outcome": outcome,
        "intent": None,
        "reason": "",
    }
    return CallRow(**values | changed)


def node_row(**changed: Any) -> NodeRow:
    """The first node, which has run as task 2."""
    values: dict[str, Any] = {
        "id": 1,
        "flow_id": 1,
        "position": 1,
        "state": "completed",
        "reason": "",
        "template_id": 1,
        "due_at": None,
        "task_id": 2,
        "qualified": 1,
        "started_at": START_MS + 10_000 + 2 * MINUTE_MS,
        "ended_at": START_MS + 20_000 + 2 * MINUTE_MS,
    }
    return NodeRow(**values | changed)


def flow_row(**changed: Any) -> FlowRow:
    """A flow that has recalled the failed once, two minutes later."""
    values: dict[str, Any] = {
        "id": 1,
        "parent_task_id": 1,
        "state": "completed",
        "reason": "",
        "recall_type": 1,
        "recall_intents": "[]",
        "interval_minutes": 2,
        "rounds": 1,
    }
    return FlowRow(**values | changed)


SPEC = FlowSpec(recall_type=RecallType.FAILED, interval_minutes=2, rounds=1)


def story() -> tuple[Book, Census]:
    """A task with a round, as it should be: one number was busy and is recalled."""
    kept = book(flow=SPEC)
    place(kept, BUSY, ended_us=START_US + SECOND_US)
    place(kept, PERSON, after_us=SECOND_US, answered_us=START_US + 2 * SECOND_US, ended_us=START_US + 9 * SECOND_US)
    place(kept, BUSY, after_us=131 * SECOND_US, task_id=2, ended_us=START_US + 132 * SECOND_US)
    census = Census(
        tasks=[
            task_row(),
            task_row(
                id=2, name="task-recall-1", total=1, answered=0, failed=1, finished_at=START_MS + 20_000 + 2 * MINUTE_MS
            ),
        ],
        calls=[
            call_row(1, BUSY, "busy"),
            call_row(2, PERSON, "answered", answered_at=START_MS + 2_000),
            call_row(3, BUSY, "busy", task_id=2),
        ],
        flows=[flow_row()],
        nodes=[node_row()],
    )
    return kept, census
