"""The state machines against the design's own words, written a second time here."""

from __future__ import annotations

from enum import StrEnum
from itertools import product
from typing import Any

import pytest

from ringback.model.states import (
    CALL,
    FLOW,
    NODE,
    ON_THE_LINE,
    TASK,
    CallEvent,
    CallState,
    FlowEvent,
    FlowState,
    IllegalTransition,
    StateMachine,
    TaskEvent,
    TaskState,
)

MACHINES: list[tuple[StateMachine[Any, Any], type[StrEnum], type[StrEnum]]] = [
    (TASK, TaskState, TaskEvent),
    (CALL, CallState, CallEvent),
    (FLOW, FlowState, FlowEvent),
    (NODE, FlowState, FlowEvent),
]
every_machine = pytest.mark.parametrize(("machine", "states", "events"), MACHINES, ids=["task", "call", "flow", "node"])

FLOW_MOVES = {
    ("pending", "in_progress"),
    ("pending", "completed"),
    ("pending", "cancelled"),
    ("pending", "exception"),
    ("in_progress", "completed"),
    ("in_progress", "cancelled"),
    ("in_progress", "exception"),
}


@pytest.mark.parametrize(
    ("machine", "moves"),
    [
        (
            TASK,
            {
                ("waiting", "submitting"),
                ("waiting", "cancelled"),
                ("submitting", "calling"),
                ("submitting", "submission_failed"),
                ("submitting", "cancelled"),
                ("calling", "finished"),
                ("calling", "cancelled"),
                ("calling", "suspended"),
                ("suspended", "calling"),
                ("suspended", "cancelled"),
            },
        ),
        (
            CALL,
            {
                ("queued", "dialling"),
                ("queued", "skipped"),
                ("queued", "cancelled"),
                ("dialling", "queued"),
                ("dialling", "in_progress"),
                ("dialling", "ended"),
                ("in_progress", "ended"),
            },
        ),
        (FLOW, FLOW_MOVES),
        (NODE, FLOW_MOVES),
    ],
    ids=["task", "call", "flow", "node"],
)
def test_the_moves_are_those_of_the_design(machine: StateMachine[Any, Any], moves: set[tuple[str, str]]) -> None:
    assert machine.moves() == moves


def test_what_is_over_stays_over() -> None:
    assert TASK.final_states() == {TaskState.FINISHED, TaskState.SUBMISSION_FAILED, TaskState.CANCELLED}
    assert CALL.final_states() == {CallState.ENDED, CallState.SKIPPED, CallState.CANCELLED}
    assert (
        FLOW.final_states()
        == NODE.final_states()
        == {
            FlowState.COMPLETED,
            FlowState.CANCELLED,
            FlowState.EXCEPTION,
        }
    )


def test_a_call_holds_a_line_from_its_lease_to_its_end() -> None:
    assert {CallState.DIALLING, CallState.IN_PROGRESS} == ON_THE_LINE
    # It gets a line only by a lease, and keeps it until its end or until it is given back.
    entered = {(before, after) for before, after in CALL.moves() if after in ON_THE_LINE and before not in ON_THE_LINE}
    assert entered == {(CallState.QUEUED, CallState.DIALLING)}


@every_machine
def test_every_state_and_event_is_used(
    machine: StateMachine[Any, Any], states: type[StrEnum], events: type[StrEnum]
) -> None:
    reached = {machine.initial}
    while more := {after for (before, _), after in machine.table.items() if before in reached} - reached:
        reached |= more
    assert reached == set(states)
    assert {event for _, event in machine.table} == set(events)
    assert machine.final_states()


@every_machine
def test_the_table_decides_every_pair(
    machine: StateMachine[Any, Any], states: type[StrEnum], events: type[StrEnum]
) -> None:
    for state, event in product(states, events):
        allowed = state in machine.sources(event)
        assert allowed == ((state, event) in machine.table)
        if allowed:
            assert (state, machine.after(state, event)) in machine.moves()
        else:
            with pytest.raises(IllegalTransition, match=f"{machine.name} that is {state} cannot be {event}"):
                machine.after(state, event)


@every_machine
def test_an_event_leads_to_one_state(
    machine: StateMachine[Any, Any], states: type[StrEnum], events: type[StrEnum]
) -> None:
    # The store relies on it: an UPDATE for an event sets one state, whatever the row's state was.
    for event in events:
        assert len({after for (_, happened), after in machine.table.items() if happened == event}) == 1
