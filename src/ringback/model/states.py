"""The state machines of task, call, flow and node, as data: (state, event) -> state.

These tables are the only place where a transition is decided. The store turns them into database triggers, so a
change that they do not hold is refused by the database too, whoever makes it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


class IllegalTransition(Exception):
    """The event cannot happen in that state. The text names both."""


class StateMachine(Generic[S, E]):
    """A table of transitions over one state enum."""

    def __init__(self, name: str, initial: S, table: Mapping[tuple[S, E], S]) -> None:
        self.name = name
        self.initial = initial
        self.table = dict(table)

    def after(self, state: S, event: E) -> S:
        """The state that follows. Raises :class:`IllegalTransition` when the table has no such row."""
        try:
            return self.table[state, event]
        except KeyError:
            raise IllegalTransition(f"a {self.name} that is {state} cannot be {event}") from None

    def sources(self, event: E) -> frozenset[S]:
        """The states in which ``event`` can happen: what an UPDATE puts in its WHERE."""
        return frozenset(state for state, happened in self.table if happened == event)

    def moves(self) -> frozenset[tuple[S, S]]:
        """Every (from, to) pair the table allows: what the database enforces."""
        return frozenset((state, after) for (state, _), after in self.table.items() if state != after)

    def final_states(self) -> frozenset[S]:
        """States that nothing leaves."""
        left = {state for state, _ in self.table}
        return frozenset(state for state in type(self.initial) if state not in left)


class TaskState(StrEnum):
    """Where a task is."""

    WAITING = "waiting"  # stored; its send time has not come
    SUBMITTING = "submitting"  # being checked before the first call
    CALLING = "calling"
    SUSPENDED = "suspended"  # paused by a person; calls in the air end, no new one starts
    FINISHED = "finished"  # its last call ended and the result is stored
    SUBMISSION_FAILED = "submission_failed"  # could not start; the reason says why
    CANCELLED = "cancelled"


class TaskEvent(StrEnum):
    """What happens to a task."""

    SUBMITTED = "submitted"
    STARTED = "started"
    REFUSED = "refused"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    CANCELLED = "cancelled"
    FINISHED = "finished"


TASK = StateMachine(
    "task",
    TaskState.WAITING,
    {
        (TaskState.WAITING, TaskEvent.SUBMITTED): TaskState.SUBMITTING,
        (TaskState.WAITING, TaskEvent.CANCELLED): TaskState.CANCELLED,
        (TaskState.SUBMITTING, TaskEvent.STARTED): TaskState.CALLING,
        (TaskState.SUBMITTING, TaskEvent.REFUSED): TaskState.SUBMISSION_FAILED,
        (TaskState.SUBMITTING, TaskEvent.CANCELLED): TaskState.CANCELLED,
        (TaskState.CALLING, TaskEvent.SUSPENDED): TaskState.SUSPENDED,
        (TaskState.CALLING, TaskEvent.CANCELLED): TaskState.CANCELLED,
        (TaskState.CALLING, TaskEvent.FINISHED): TaskState.FINISHED,
        (TaskState.SUSPENDED, TaskEvent.RESUMED): TaskState.CALLING,
        (TaskState.SUSPENDED, TaskEvent.CANCELLED): TaskState.CANCELLED,
    },
)


class CallState(StrEnum):
    """Where a call is."""

    QUEUED = "queued"
    DIALLING = "dialling"  # committed before the INVITE leaves; a worker holds it
    IN_PROGRESS = "in_progress"  # answered
    ENDED = "ended"  # has an outcome
    SKIPPED = "skipped"  # never dialled; the reason says why
    CANCELLED = "cancelled"  # never dialled; its task was cancelled


class CallEvent(StrEnum):
    """What happens to a call."""

    LEASED = "leased"
    RELEASED = "released"  # given back by the worker that knows that no INVITE has left
    ANSWERED = "answered"
    ENDED = "ended"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


CALL = StateMachine(
    "call",
    CallState.QUEUED,
    {
        (CallState.QUEUED, CallEvent.LEASED): CallState.DIALLING,
        (CallState.QUEUED, CallEvent.SKIPPED): CallState.SKIPPED,
        (CallState.QUEUED, CallEvent.CANCELLED): CallState.CANCELLED,
        (CallState.DIALLING, CallEvent.RELEASED): CallState.QUEUED,
        (CallState.DIALLING, CallEvent.ANSWERED): CallState.IN_PROGRESS,
        (CallState.DIALLING, CallEvent.ENDED): CallState.ENDED,
        (CallState.IN_PROGRESS, CallEvent.ENDED): CallState.ENDED,
    },
)

#: States in which a call holds a line of its trunk.
ON_THE_LINE = frozenset({CallState.DIALLING, CallState.IN_PROGRESS})


class FlowState(StrEnum):
    """Where a recall flow, or one of its nodes, is."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXCEPTION = "exception"  # could not run; the reason says why


class FlowEvent(StrEnum):
    """What happens to a flow or a node."""

    STARTED = "started"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


_FLOW_TABLE = {
    (FlowState.PENDING, FlowEvent.STARTED): FlowState.IN_PROGRESS,
    # Nobody qualified, so there was nothing to run.
    (FlowState.PENDING, FlowEvent.COMPLETED): FlowState.COMPLETED,
    (FlowState.PENDING, FlowEvent.CANCELLED): FlowState.CANCELLED,
    (FlowState.PENDING, FlowEvent.FAILED): FlowState.EXCEPTION,
    (FlowState.IN_PROGRESS, FlowEvent.COMPLETED): FlowState.COMPLETED,
    (FlowState.IN_PROGRESS, FlowEvent.CANCELLED): FlowState.CANCELLED,
    (FlowState.IN_PROGRESS, FlowEvent.FAILED): FlowState.EXCEPTION,
}
FLOW = StateMachine("flow", FlowState.PENDING, _FLOW_TABLE)
NODE = StateMachine("node", FlowState.PENDING, _FLOW_TABLE)
