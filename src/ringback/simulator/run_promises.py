"""The promises about a whole run, checked when everything has come to rest.

Each takes the census of the store and the book of the witness, and yields what is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringback.model.outcome import ANSWERED_OUTCOMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ringback.simulator.book import Book
    from ringback.store.census import Census

_OVER = frozenset({"finished", "submission_failed", "cancelled"})


def nothing_lost(census: Census, book: Book) -> Iterator[str]:
    """Every number is in its task, no call is left in the air, and every call that was placed has ended."""
    rows = {row.id: row for row in census.calls}
    numbers: dict[int, list[str]] = {}
    for row in census.calls:
        numbers.setdefault(row.task_id, []).append(row.callee)
        if row.state in ("dialling", "in_progress"):
            yield f"call {row.id} is {row.state} for ever"
    for made in book.made.values():
        if sorted(numbers.get(made.id, [])) != sorted(made.plan.numbers):
            yield f"task {made.id} has not the numbers that were asked for"
    for call in book.calls:
        stored = rows.get(call.call_id)
        if stored is None or (stored.task_id, stored.callee) != (call.task_id, call.callee):
            yield f"call {call.call_id} was placed, and is not stored"
        elif stored.state != "ended":
            yield f"call {call.call_id} was placed, and is stored as {stored.state}"
    for task in census.tasks:
        if task.total != len(numbers.get(task.id, [])):
            yield f"task {task.id} has {len(numbers.get(task.id, []))} numbers and says {task.total}"


def results_are_true(census: Census, book: Book) -> Iterator[str]:
    """What is stored of a call is what happened, or *unknown* where a fault has hidden it."""
    placed = {call.call_id: call for call in book.calls}
    for row in census.calls:
        if row.state != "ended":
            continue
        call = placed.get(row.id)
        if call is None:
            if row.outcome != "unknown":
                yield f"call {row.id} was never placed, and is stored as {row.outcome}"
        elif row.outcome in ANSWERED_OUTCOMES and call.answered_us is None:
            yield f"call {row.id} was never answered, and is stored as {row.outcome}"
        elif not call.disturbed and row.outcome != call.behaviour.outcome:
            yield f"call {row.id} was {call.behaviour.outcome}, undisturbed, and is stored as {row.outcome}"


def nothing_stalls(census: Census, _book: Book) -> Iterator[str]:
    """When all faults are over, every task and every flow comes to its end."""
    for task in census.tasks:
        if task.state not in _OVER:
            yield f"task {task.id} is {task.state} for ever, with {task.queued} queued and {task.active} in the air"
    for flow in census.flows:
        if flow.state in ("pending", "in_progress"):
            yield f"flow {flow.id} is {flow.state} for ever"


def explained(census: Census, _book: Book) -> Iterator[str]:
    """Whatever was not dialled, or could not start, has a reason that can be read."""
    for call in census.calls:
        if call.state == "skipped" and not call.reason:
            yield f"call {call.id} was skipped without a reason"
    for task in census.tasks:
        if task.state == "submission_failed" and not task.reason:
            yield f"task {task.id} failed without a reason"
    for thing, rows in (("flow", census.flows), ("node", census.nodes)):
        for row in rows:
            if row.state == "exception" and not row.reason:
                yield f"{thing} {row.id} broke without a reason"


#: All of them, by the name in the report; those about recall are in :mod:`.recall_rules`.
OF_A_RUN: dict[str, Callable[[Census, Book], Iterator[str]]] = {
    "nothing lost": nothing_lost,
    "results are true": results_are_true,
    "nothing stalls": nothing_stalls,
    "explained": explained,
}
