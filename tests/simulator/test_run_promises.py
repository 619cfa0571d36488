"""Each promise about a run, and each recall rule, is seen to be broken when it is, and only then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ringback.simulator.book import Book
from ringback.simulator.recall_rules import OF_A_FLOW, flows_of
from ringback.simulator.run_promises import OF_A_RUN
from ringback.store.census import Census
from simulator.worlds import BUSY, MINUTE_MS, PERSON, START_MS, START_US, call_row, place, story


def broken(kept: Book, census: Census) -> set[str]:
    """The promises that do not hold."""
    found = {promise for promise, check in OF_A_RUN.items() if list(check(census, kept))}
    for flow in flows_of(census):
        found |= {promise for promise, check in OF_A_FLOW.items() if list(check(flow, kept))}
    return found


def _changed(rows: list[Any], row_id: int, **values: Any) -> None:
    index = next(index for index, row in enumerate(rows) if row.id == row_id)
    rows[index] = msgspec.structs.replace(rows[index], **values)


def test_a_run_as_it_should_be_breaks_none() -> None:
    assert broken(*story()) == set()


Break = Callable[[Book, Census], Any]


@pytest.mark.parametrize(
    ("promise", "change"),
    [
        ("nothing lost", lambda _book, census: _changed(census.calls, 1, state="dialling", outcome=None)),
        ("nothing lost", lambda _book, census: census.calls.pop(1)),
        ("nothing lost", lambda kept, _census: place(kept, PERSON, ended_us=START_US)),
        ("nothing lost", lambda _book, census: _changed(census.calls, 2, state="queued", outcome=None)),
        ("nothing lost", lambda _book, census: _changed(census.tasks, 1, total=3)),
        ("results are true", lambda _book, census: _changed(census.calls, 1, outcome="answered")),
        ("results are true", lambda _book, census: _changed(census.calls, 2, outcome="busy")),
        ("results are true", lambda _book, census: _changed(census.calls, 2, outcome="unknown")),
        ("results are true", lambda _book, census: census.calls.append(call_row(9, BUSY, "busy"))),
        ("nothing stalls", lambda _book, census: _changed(census.tasks, 1, state="calling")),
        ("nothing stalls", lambda _book, census: _changed(census.flows, 1, state="in_progress")),
        ("explained", lambda _book, census: _changed(census.calls, 1, state="skipped", reason="")),
        ("explained", lambda _book, census: _changed(census.tasks, 1, state="submission_failed")),
        ("explained", lambda _book, census: _changed(census.nodes, 1, state="exception")),
        (
            "recall: never early",
            lambda _book, census: _changed(census.nodes, 1, started_at=START_MS + 10_000 + 2 * MINUTE_MS - 2),
        ),
        ("recall: never early", lambda kept, _census: setattr(kept.calls[2], "at_us", START_US + 128 * 1_000_000)),
        ("recall: never early", lambda _book, census: _changed(census.tasks, 1, finished_at=None)),
        ("recall: never early", lambda kept, _census: setattr(kept.calls[0], "ended_us", None)),
        ("recall: right audience", lambda _book, census: _changed(census.calls, 3, callee=PERSON)),
        ("recall: right audience", lambda _book, census: _changed(census.nodes, 1, qualified=2)),
        (
            "recall: right audience",
            lambda _book, census: _changed(census.nodes, 1, task_id=None, started_at=None, qualified=0),
        ),
        ("recall: right nodes", lambda _book, census: _changed(census.nodes, 1, position=2)),
        ("recall: right nodes", lambda _book, census: _changed(census.flows, 1, interval_minutes=1)),
        ("recall: right nodes", lambda kept, _census: kept.flows[1].cancelled.add(1)),
        ("recall: right nodes", lambda kept, _census: kept.flows[1].moved.append("another key")),
        ("recall: right tasks", lambda _book, census: _changed(census.tasks, 2, name="another")),
        ("recall: right tasks", lambda _book, census: _changed(census.tasks, 2, template_id=7)),
        ("recall: right tasks", lambda _book, census: _changed(census.tasks, 2, limits='{"lines":3}')),
        ("recall: right end", lambda _book, census: _changed(census.flows, 1, state="cancelled")),
        ("recall: right end", lambda _book, census: _changed(census.nodes, 1, state="pending")),
        ("recall: right end", lambda _book, census: _changed(census.tasks, 1, state="cancelled")),
        ("recall: right end", lambda _book, census: _changed(census.flows, 1, state="exception")),
    ],
)
def test_what_is_broken_is_seen(promise: str, change: Break) -> None:
    kept, census = story()
    change(kept, census)
    assert promise in broken(kept, census)


def test_a_fault_explains_an_unknown_outcome() -> None:
    kept, census = story()
    _changed(census.calls, 2, outcome="unknown")
    kept.calls[1].disturbed = "kill"
    assert "results are true" not in broken(kept, census)
